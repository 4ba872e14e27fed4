"""The contrastive loss against a double loop, closed forms, the published formula, and its own hand-made gradient."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.objectives.attraction import PAIRS, Features
from rules.objectives.contrast import NEGATIVES, POSITIVES, Contrast, contrastive_loss, unit

ROUND_OFF = 1e-10  # float64 over sums of a few hundred terms of order ten; measured 1e-14


def draw(steps, size, width, classes=3, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(steps, size, width, generator=rng, dtype=dtype), torch.randint(classes, (size,), generator=rng)


def double_loop(
    features,
    y,
    temperature=0.07,
    gamma=0.0,
    positives="class_any_t",
    negatives="all",
    exclude_self_time=False,
    time_weight=None,
    detach_time=False,
    log_normalised=False,
    samples=None,
    pairs="all",
):
    """The definition, one anchor, one positive and one competitor at a time."""
    steps, size, _ = features.shape
    samples = list(range(size)) if samples is None else samples.tolist()
    places = list(itertools.product(range(steps), range(size)))

    def n(t, b):
        return features[t, b] / features[t, b].norm()

    def tau(a, q):
        return temperature * (1 + gamma * abs(a[0] - q[0]))

    def attracts(a, p):
        if positives == "same_sample_other_t":
            return samples[a[1]] == samples[p[1]]
        return y[a[1]] == y[p[1]] and (positives == "class_any_t" or a[0] == p[0])

    def competes(a, q):
        if attracts(a, q):
            return True
        if negatives == "same_t_only" and a[0] != q[0]:
            return False
        return not (exclude_self_time and samples[a[1]] == samples[q[1]] and a[0] != q[0])

    losses = []
    for a in places:
        others = [q for q in places if q != a and (pairs == "all" or q[0] == a[0] or q[1] == a[1])]
        mine = [p for p in others if attracts(a, p)]
        if not mine:
            continue

        def logit(q, a=a):
            other = n(*q).detach() if detach_time and q[0] != a[0] else n(*q)
            return n(*a) @ other / tau(a, q)

        bottom = torch.stack([logit(q) for q in others if competes(a, q)]).exp().sum().log()
        weights = [1.0 if time_weight is None else math.exp(-abs(a[0] - p[0]) / time_weight) for p in mine]
        top = sum(w * (logit(p) - bottom) for w, p in zip(weights, mine))
        losses.append(-top / sum(weights))
    loss = torch.stack(losses).mean()
    met = len(places) if pairs == "all" else steps + size - 1
    return loss / math.log(met) if log_normalised else loss


SWITCHES = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.07, 0.5]),
        "gamma": st.sampled_from([0.0, 0.7]),
        "positives": st.sampled_from(list(POSITIVES)),
        "negatives": st.sampled_from(NEGATIVES),
        "exclude_self_time": st.booleans(),
        "time_weight": st.sampled_from([None, 1.5]),
        "detach_time": st.booleans(),
        "log_normalised": st.booleans(),
        "pairs": st.sampled_from(list(PAIRS)),
    }
)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(2, 6),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
    SWITCHES,
    st.integers(0, 999),
    st.sampled_from([1, 30, 1 << 22]),
)
def test_loss_and_gradient_are_those_of_the_double_loop(steps, size, width, classes, two_views, switches, seed, chunk):
    features, y = draw(steps, size, width, classes, seed)
    samples = torch.arange(size) % ((size + 1) // 2) if two_views else None
    y = y if samples is None else y[samples]
    features.requires_grad_()
    try:
        theirs = double_loop(features, y, samples=samples, **switches)
    except RuntimeError:  # torch.stack of no loss at all
        with pytest.warns(UserWarning, match="no positive pair"):
            alone = contrastive_loss(features, y, samples=samples, chunk=chunk, **switches)
        assert alone.detach() == 0
        assert not torch.autograd.grad(alone, features)[0].any()
        return
    mine = contrastive_loss(features, y, samples=samples, chunk=chunk, **switches)
    assert float(mine) == pytest.approx(float(theirs), abs=ROUND_OFF, rel=ROUND_OFF)
    if theirs.requires_grad:
        gradients = [torch.autograd.grad(loss, features, allow_unused=True)[0] for loss in (mine, theirs)]
        torch.testing.assert_close(*gradients, atol=1e-8, rtol=1e-8)  # divided by temperatures of 0.07 and norms


def test_functions_of_the_lag_stand_for_numbers():
    features, y = draw(4, 6, 5)
    by_number = contrastive_loss(features, y, 0.2, gamma=0.5, time_weight=2.0)
    by_function = contrastive_loss(
        features, y, lambda lag: 0.2 * (1 + 0.5 * lag), time_weight=lambda lag: torch.exp(-lag / 2.0)
    )
    assert float(by_number) == pytest.approx(float(by_function), abs=ROUND_OFF)


def test_identical_features_give_the_logarithm_of_the_competitors():
    loss = contrastive_loss(torch.ones(4, 6, 3, dtype=torch.float64), torch.tensor([0, 1, 2] * 2))
    assert float(loss) == pytest.approx(math.log(24 - 1), abs=1e-9)


@pytest.mark.parametrize("cosine", [0.0, -1.0, 0.5])
def test_collapsed_classes_have_a_closed_form(cosine):
    one = torch.tensor([1.0, 0.0], dtype=torch.float64)
    other = torch.tensor([cosine, math.sqrt(1 - cosine**2)], dtype=torch.float64)
    features = torch.stack([one, other] * 6).repeat(2, 1, 1)  # 12 of each class over two steps
    wanted = math.log(11 + 12 * math.exp((cosine - 1) / 0.5))
    assert float(contrastive_loss(features, torch.tensor([0, 1] * 6), 0.5)) == pytest.approx(wanted, abs=1e-9)


def test_the_number_of_positives_bounds_it_from_below():
    y = torch.tensor([0, 1] * 3)
    for seed in range(20):
        features, _ = draw(3, 6, 4, seed=seed)
        assert float(contrastive_loss(features, y, 0.3)) >= math.log(8)
    apart = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64).repeat(3, 3, 1)
    assert float(contrastive_loss(apart, y, 0.05)) == pytest.approx(math.log(8), abs=1e-9)


def test_invariances():
    features, y = draw(4, 8, 5)
    loss = contrastive_loss(features, y)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    rotation, _ = torch.linalg.qr(draw(1, 5, 5, seed=2)[0][0])
    scale = torch.rand(4, 8, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 0.1
    for changed, labels in (
        (features[:, order], y[order]),
        (features[torch.tensor([2, 0, 3, 1])], y),
        (features @ rotation, y),
        (features * scale, y),
    ):
        assert float(contrastive_loss(changed, labels)) == pytest.approx(float(loss), abs=1e-9)
    lagged = [contrastive_loss(f, y, gamma=1.0) for f in (features, features[torch.tensor([2, 0, 3, 1])])]
    assert abs(float(lagged[0] - lagged[1])) > 1e-3  # with a temperature that knows the lag, order counts


def supcon(views, y, temperature):
    """The formula of Khosla et al. 2020 as their code has it: `views [B, V, D]` of unit length, every view an anchor."""
    batch, number, _ = views.shape
    contrast = views.transpose(0, 1).reshape(batch * number, -1)
    logits = contrast @ contrast.T / temperature
    logits = logits - logits.max(1, keepdim=True).values.detach()
    others = 1 - torch.eye(batch * number, dtype=views.dtype)
    mask = (y[:, None] == y[None]).to(views.dtype).repeat(number, number) * others
    log_prob = logits - (logits.exp() * others).sum(1, keepdim=True).log()
    return -((mask * log_prob).sum(1) / mask.sum(1)).mean()


@pytest.mark.parametrize("views", [1, 2])
def test_one_step_is_supcon(views):
    features, _ = draw(1, 8 * views, 16)
    y = torch.tensor([0, 1, 2, 3] * 2)
    published = supcon(unit(features)[0].view(views, 8, 16).transpose(0, 1), y, 0.07)
    mine = contrastive_loss(features, y.repeat(views), samples=torch.arange(8).repeat(views))
    assert float(mine) == pytest.approx(float(published), abs=1e-7)


def test_per_step_supcon_is_the_mean_over_steps():
    features, _ = draw(3, 8, 5)
    y = torch.tensor([0, 1] * 4)
    each = torch.stack([contrastive_loss(features[t : t + 1], y) for t in range(3)]).mean()
    together = contrastive_loss(features, y, positives="class_same_t", negatives="same_t_only")
    assert float(together) == pytest.approx(float(each), abs=ROUND_OFF)


def test_the_gradient_of_an_anchor_by_hand():
    """`(1/tau) [sum_q p_aq n_q - mean of positives]` for each anchor, with what it does to its partners, and the norm."""
    features, y = draw(2, 5, 4, classes=2)
    features.requires_grad_()
    (found,) = torch.autograd.grad(contrastive_loss(features, y, 0.2), features)
    with torch.no_grad():
        n, labels = unit(features).flatten(0, 1), y.repeat(2)
        p = (n @ n.T / 0.2).fill_diagonal_(-math.inf).softmax(1)
        positive = ((labels[:, None] == labels) & ~torch.eye(10, dtype=torch.bool)).double()
        pull = (p - positive / positive.sum(1, keepdim=True)) / 0.2 / 10  # [anchor, other]
        slope = pull @ n + pull.T @ n
        by_hand = (slope - n * (n * slope).sum(1, keepdim=True)) / features.flatten(0, 1).norm(dim=1, keepdim=True)
    torch.testing.assert_close(found.flatten(0, 1), by_hand, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("chunk", [20, 1 << 22])
def test_gradcheck(chunk):
    features, y = draw(2, 4, 3, classes=2)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: contrastive_loss(f, y, 0.3, chunk=chunk), (features,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_a_small_temperature(dtype):
    features, y = draw(4, 16, 8, dtype=torch.float32)
    half = features.to(dtype).requires_grad_()
    loss = contrastive_loss(half, y, 0.01)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad.dtype == dtype
    assert bool(half.grad.isfinite().all())
    exact = contrastive_loss(half.detach().double(), y, 0.01)
    assert float(loss) == pytest.approx(float(exact), rel=1e-4)  # float32 logits of up to 100 carry errors of 1e-5


def test_automatic_mixed_precision_leaves_it_in_float32():
    features, y = draw(4, 16, 8, dtype=torch.float32)
    features.requires_grad_()
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses.append(contrastive_loss(features, y, 0.05))
    assert torch.equal(*losses)
    assert torch.equal(*(torch.autograd.grad(loss, features)[0] for loss in losses))


def test_a_silent_step_gives_neither_nan_nor_a_burst():
    features = torch.zeros(2, 4, 3)
    features[1] = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    features.requires_grad_()
    contrastive_loss(features, torch.tensor([0, 0, 1, 1]), 0.01).backward()
    assert float(features.grad.norm(dim=-1).max()) < 1e3


def test_a_class_with_one_sample_is_left_out_of_the_mean():
    features, _ = draw(1, 5, 4)
    y = torch.tensor([0, 0, 1, 1, 2])
    assert float(contrastive_loss(features, y)) == pytest.approx(float(double_loop(features, y)), abs=ROUND_OFF)
    assert math.isfinite(contrastive_loss(features.expand(2, -1, -1), torch.arange(5)))


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_without_a_pair_teaches_nothing_and_says_so(size):
    features = torch.rand(1, size, 4, requires_grad=True)
    with pytest.warns(UserWarning, match="no positive pair: no class occurs twice in this batch"):
        loss = contrastive_loss(features, torch.arange(size))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(features.grad, torch.zeros_like(features))


@pytest.mark.parametrize("factor", [1e-30, 1e-25, 1e-20, 1e-10, 1e10, 1e20, 1e25, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_does_not_depend_on_the_scale_of_the_features(factor, dtype):
    """loss(c f) = loss(f), and the gradient is 1/c times as large. c f rounds once and shares of 1 / 0.07 add up."""
    features, y = draw(3, 6, 5)
    want = features.detach().clone().requires_grad_()  # float64
    wanted = contrastive_loss(want, y)
    wanted.backward()
    scaled = (factor * features.detach()).to(dtype).requires_grad_()
    loss = contrastive_loss(scaled, y)
    loss.backward()
    close = 1e-5 if dtype == torch.float32 else 1e-13
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=close)
    torch.testing.assert_close(scaled.grad.double() * factor, want.grad, rtol=100 * close, atol=10 * close)


def test_rows_of_very_different_length_count_alike():
    """One row of 1e30 beside one of 1e-30: each is scaled on its own."""
    features, y = draw(1, 6, 5)
    sizes = torch.tensor([1e30, 1e-30, 1.0, 1e15, 1e-15, 3e37])[None, :, None]
    mine = contrastive_loss(features.detach().float() * sizes, y)
    assert float(mine) == pytest.approx(float(contrastive_loss(features.detach(), y)), rel=1e-5)  # as above


def test_scaling_rounds_nothing_in_the_usual_range():
    """Division by a power of two is exact: the bits are those of plain normalisation."""
    features = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unit(features), features / torch.linalg.vector_norm(features, dim=-1, keepdim=True))


def test_zeros_and_subnormal_rows_have_no_direction_and_nan_stays():
    rows = torch.tensor([[0.0, 0.0], [1e-40, 1e-40], [math.nan, 1.0]], requires_grad=True)
    unit(rows)[:2].sum().backward()
    assert torch.equal(unit(rows)[:2].detach(), torch.zeros(2, 2))
    assert torch.equal(rows.grad[:2], torch.zeros(2, 2))
    assert unit(rows)[2].isnan().any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature=0.0: give a positive number"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"gamma": -0.1}, "gamma=-0.1: give 0 or more"),
        ({"gamma": 0.1, "temperature": torch.exp}, "only beside a temperature that is a number"),
        ({"time_weight": 0.0}, "time_weight=0.0: give a positive time constant"),
        ({"chunk": 0}, "chunk=0"),
        ({"positives": "class_any"}, "unknown positives 'class_any'; nearest: 'class_any_t'"),
        ({"negatives": "same_t"}, "unknown negatives 'same_t'; nearest: 'same_t_only'"),
        ({"pairs": "cros"}, "unknown pairs 'cros'; nearest: 'cross'"),
    ],
)
def test_bad_switches(options, message):
    with pytest.raises(ValueError, match=message):
        Contrast(**options)


@pytest.mark.parametrize(("steps", "size"), [(1, 6), (5, 1)])
def test_a_cross_of_one_arm_is_the_definition(steps, size):
    """With one step, or one column, every pair is in the cross."""
    features, y = draw(steps, size, 4, classes=2)
    whole, cross = (contrastive_loss(features, y, 0.3, pairs=pairs) for pairs in ("all", "cross"))
    assert float(cross) == pytest.approx(float(whole), abs=ROUND_OFF)


def test_a_cross_has_all_pairs_of_a_contrast_within_steps():
    features, y = draw(4, 6, 5)
    within = {"positives": "class_same_t", "negatives": "same_t_only"}
    whole, cross = (contrastive_loss(features, y, 0.3, pairs=pairs, **within) for pairs in ("all", "cross"))
    assert float(cross) == pytest.approx(float(whole), abs=ROUND_OFF)


def test_a_cross_takes_a_share_of_the_similarities(monkeypatch):
    """T B (T + B) of (T B)^2, in pieces that are no larger than they may be."""
    features, y = draw(6, 50, 4)
    sizes = []
    real = Contrast._piece

    def counting(self, similarities, *places):
        sizes.append(similarities.numel())
        return real(self, similarities, *places)

    monkeypatch.setattr(Contrast, "_piece", counting)
    contrastive_loss(features, y, pairs="cross", chunk=6 * (6 + 50) * 4)
    assert sum(sizes) == 6 * 50 * (6 + 50)
    assert max(sizes) == 6 * (6 + 50) * 4


@pytest.mark.parametrize("pairs", PAIRS)
def test_processes_hold_shares_of_the_anchors(pairs):
    """Those of columns 0 to 2 and those of 2 to 6, each beside all partners, add up to all; so do their gradients."""
    features, y = draw(4, 6, 5)
    partners, look = unit(features).requires_grad_(), Contrast(0.3, gamma=0.5)._piece

    def share(first, last):
        found = Features(partners[:, first:last], partners, first, y, torch.arange(6))
        total, count, _ = PAIRS[pairs](found, look, 40)
        return total, count, torch.autograd.grad(total, partners)[0]

    whole, parts = share(0, 6), [share(0, 2), share(2, 6)]
    for all_, *some in zip(whole, *parts, strict=True):
        torch.testing.assert_close(sum(some), all_, atol=ROUND_OFF, rtol=0)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"features have shape \(3, 4\); wanted \[T, B, D\], time first"):
        contrastive_loss(torch.rand(3, 4), torch.arange(3))
    with pytest.raises(ValueError, match=r"labels have shape \(4,\); wanted one number for each of 3 samples"):
        contrastive_loss(torch.rand(2, 3, 4), torch.arange(4))


@pytest.mark.slow
def test_large_batches_stay_within_300_mb():
    """B = 256, T = 10, two views; in a process of its own, whose peak is that of nothing else."""
    import subprocess
    import sys

    code = """
import resource, torch
from rules.objectives.contrast import contrastive_loss
f = torch.randn(10, 512, 128, requires_grad=True)
y = torch.arange(512) % 10
contrastive_loss(f[:, :8], y[:8]).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
contrastive_loss(f, y).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    used = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert used < 300
