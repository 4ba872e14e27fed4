"""Spike-aware distillation: each term against a loop in NumPy, zero where it must be, and teachers that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import nn

import rules
from rules import Batch, LearningRule, Run, Trainer
from rules.objectives.distillation import RateCode, SpikeAwareDistillation
from rules.objectives.distillation.spad import Terms
from sandbox import scan
from sandbox.networks.language import Size
from sandbox.networks.models.bispikclm import bispikclm, lif_with_late_reset
from sandbox.networks.models.transformer import transformer
from sandbox.neurons import IF

L, B, V, D, H = 5, 3, 7, 6, 2
TOKENS = torch.randint(V, (L, B), generator=torch.Generator().manual_seed(9))
BATCH = Batch(TOKENS, targets=TOKENS.roll(-1, 0))
ONLY = {name: dict.fromkeys(set(Terms._fields) - {name}, 0.0) | {name: 1.0} for name in Terms._fields}


def drawn(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def floors(current, steps=4):
    """The rate of an integrator without leak."""
    return torch.floor(steps * current.clamp(0, 1)) / steps


def told(seed, layers=2, width=D, heads=H):
    internals = {"embedding": drawn(seed, L, B, width), "code": RateCode(floors, 1.0)}
    for k in range(layers):
        internals[f"hidden.{k}"] = drawn(seed + 10 * k + 1, L, B, width)
        internals[f"rate.{k}"] = drawn(seed + 10 * k + 2, L, B, width).sigmoid()
        internals[f"attention.{k}"] = drawn(seed + 10 * k + 3, L, B, heads, L).sigmoid()
    return Run(drawn(seed + 99, L, B, V), internals=internals)


def without(*names):
    run = told(0)
    return run._replace(internals={name: part for name, part in run.internals.items() if name not in names})


class Says(nn.Module):
    """A teacher that tells the same to everything."""

    def __init__(self, run):
        super().__init__()
        self.said = run
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.said


def loops(run, taught, share=0.5, tau=2.0, pairs=((0, 0), (1, 1))):
    """The five terms, by loops over tokens, samples, layers and heads."""
    mine = {name: part.numpy() for name, part in run.internals.items() if name != "code"}
    theirs = {name: part.numpy() for name, part in taught.internals.items() if name != "code"}
    rate = lambda x: np.floor(4 * np.clip(x, 0, 1)) / 4  # noqa: E731
    squares = lambda a, b: np.mean([(x - y) ** 2 for x, y in zip(a.ravel(), b.ravel(), strict=True)])  # noqa: E731
    attention, hidden = [], []
    for k, j in pairs:
        a, b = mine[f"attention.{k}"], theirs[f"attention.{j}"]
        rows = []
        for t in range(L):
            for s in range(B):
                for h in range(a.shape[2]):
                    one, other = a[t, s, h], b[t, s, h]
                    as_rates = np.mean((one - rate(other / other.max())) ** 2)
                    as_numbers = np.sum((one / one.sum() - other / other.sum()) ** 2)
                    rows.append(share * as_rates + (1 - share) * as_numbers)
        attention.append(np.mean(rows))
        driving = theirs[f"hidden.{j}"]
        as_numbers = squares(mine[f"hidden.{k}"], driving)
        hidden.append(share * squares(mine[f"rate.{k}"], rate(driving)) + (1 - share) * as_numbers)
    soft, hard = [], []
    for t in range(L):
        for s in range(B):
            p, q = (log_softmax(each.output[t, s].numpy() / tau) for each in (taught, run))
            soft.append(tau**2 * np.sum(np.exp(p) * (p - q)))
            hard.append(-log_softmax(run.output[t, s].numpy())[BATCH.targets[t, s]])
    embedding = squares(mine["embedding"], theirs["embedding"])
    return Terms(embedding, np.mean(attention), np.mean(hidden), np.mean(soft), np.mean(hard))


def numbers(terms):
    return [float(each.detach()) for each in terms]


@pytest.mark.parametrize(("share", "tau"), [(0.5, 2.0), (0.2, 1.0), (1.0, 3.0), (0.0, 2.0)])
def test_the_terms_are_those_of_the_loops(share, tau):
    run, taught = told(0), told(1000)
    loss = SpikeAwareDistillation(Says(taught), share=share, temperature=tau)
    wanted = loops(run, taught, share, tau)
    np.testing.assert_allclose(numbers(loss.terms(run, BATCH)), wanted, rtol=1e-12)  # sums of float64
    total = sum(w * x for w, x in zip((0.2, 0.1, 0.1, 0.3, 0.3), wanted, strict=True))
    np.testing.assert_allclose(float(loss(run, BATCH)), total, rtol=1e-12)
    np.testing.assert_allclose(float(loss.reported(run, BATCH)), wanted.hard, rtol=1e-12)


@pytest.mark.parametrize("name", Terms._fields)
def test_a_term_alone(name):
    run, taught = told(0), told(1000)
    loss = SpikeAwareDistillation(Says(taught), ONLY[name])
    np.testing.assert_allclose(float(loss(run, BATCH)), getattr(loops(run, taught), name), rtol=1e-12)
    assert [float(each) > 0 for each in loss.terms(run, BATCH)] == [field == name for field in Terms._fields]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_term_is_ever_negative(seed, other):
    terms = SpikeAwareDistillation(Says(told(other))).terms(told(seed), BATCH)
    assert min(numbers(terms)) >= -1e-12  # rounding of probabilities around 1


def test_nothing_is_left_where_student_and_teacher_tell_the_same():
    taught = told(0)
    same = {name: part.clone() if isinstance(part, torch.Tensor) else part for name, part in taught.internals.items()}
    for k in range(2):  # rates that are those of the code, and attention that is its own rate code
        attention = torch.zeros(L, B, H, L, dtype=torch.float64)
        attention[..., k] = 1.0
        taught.internals[f"attention.{k}"] = attention
        same |= {f"attention.{k}": attention.clone(), f"rate.{k}": floors(taught.internals[f"hidden.{k}"])}
    terms = SpikeAwareDistillation(Says(taught)).terms(Run(taught.output.clone(), internals=same), BATCH)
    np.testing.assert_allclose(numbers(terms)[:4], 0, atol=1e-14)  # rounding of log-probabilities
    assert terms.hard > 0


def test_layers_are_compared_at_the_same_relative_depth():
    run, taught = told(0, layers=2), told(1000, layers=4)
    loss = SpikeAwareDistillation(Says(taught))
    np.testing.assert_allclose(numbers(loss.terms(run, BATCH)), loops(run, taught, pairs=((0, 0), (1, 3))), rtol=1e-12)


def test_where_heads_differ_their_means_are_compared():
    run, taught = told(0, heads=2), told(1000, heads=3)
    mean = {name: part.mean(2, keepdim=True) for name, part in taught.internals.items() if "attention" in name}
    own = {name: part.mean(2, keepdim=True) for name, part in run.internals.items() if "attention" in name}
    wanted = loops(
        run._replace(internals={**run.internals, **own}), taught._replace(internals={**taught.internals, **mean})
    )
    terms = SpikeAwareDistillation(Says(taught)).terms(run, BATCH)
    np.testing.assert_allclose(float(terms.attention), wanted.attention, rtol=1e-12)


def test_a_projector_brings_the_student_to_the_width_of_its_teacher_and_learns():
    run, taught = told(0), told(1000, width=8)
    loss = SpikeAwareDistillation(Says(taught), widths=(D, 8), seed=3).double()
    first = loss.project.path
    seen = first[3](first[2](nn.functional.gelu(first[0](run.internals["embedding"]))))
    wanted = (seen - taught.internals["embedding"]).square().mean()
    torch.testing.assert_close(loss.terms(run, BATCH).embedding, wanted)
    loss(run, BATCH).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in loss.parameters())
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            loss.parameters(),
            SpikeAwareDistillation(Says(taught), widths=(D, 8), seed=3).double().parameters(),
            strict=True,
        )
    )


def test_tokens_that_do_not_count_change_nothing():
    lengths = torch.tensor([L, 2, 3])
    run, taught = told(0), told(1000)
    loss, batch = SpikeAwareDistillation(Says(taught)), BATCH._replace(lengths=lengths)
    before = loss(run, batch)
    behind = torch.arange(L)[:, None] >= lengths
    for each in (run, taught):
        for part in (each.output, *(p for name, p in each.internals.items() if name != "code")):
            part[behind] = 0.7
    torch.testing.assert_close(loss(run, batch), before)
    left = BATCH.targets.clone()
    left[behind] = -100
    assert loss.amount(batch._replace(lengths=None, targets=left)) == loss.amount(batch) == float(lengths.sum())
    torch.testing.assert_close(
        loss.terms(run, batch._replace(lengths=None, targets=left)).soft, loss.terms(run, batch).soft
    )


def only(rows, batch, *runs):
    """The same with some samples alone."""
    cut = [
        run._replace(
            output=run.output[:, rows],
            internals={n: p[:, rows] if torch.is_tensor(p) else p for n, p in run.internals.items()},
        )
        for run in runs
    ]
    lengths = None if batch.lengths is None else batch.lengths[rows]
    return Batch(batch.x[:, rows], targets=batch.targets[:, rows], lengths=lengths), *cut


@pytest.mark.parametrize("lengths", [None, torch.tensor([L, 2, 3])])
def test_batches_in_parts_are_one_batch(lengths):
    """In every term the mean over parts, each with its amount, is that of the whole; -100 counts in none."""
    left = BATCH.targets.clone()
    left[1:, 0] = -100
    left[0, 2] = -100
    batch, run, taught = BATCH._replace(targets=left, lengths=lengths), told(0), told(1000)
    whole = SpikeAwareDistillation(Says(taught))
    parts = [only(rows, batch, run, taught) for rows in (slice(0, 1), slice(1, B))]
    amounts = [whole.amount(part) for part, _, _ in parts]
    found = [SpikeAwareDistillation(Says(theirs)).terms(mine, part) for part, mine, theirs in parts]
    for name in Terms._fields:
        mean = sum(n * getattr(each, name) for n, each in zip(amounts, found, strict=True)) / sum(amounts)
        torch.testing.assert_close(mean, getattr(whole.terms(run, batch), name), msg=name)


def test_padding_changes_no_term():
    """A text alone, and the same with padding behind it, of a causal student and teacher."""
    teacher, pupil = transformer((), V, Size(2, 8, 2, 2, 16), seed=1), student()
    text = torch.randint(V, (6, 2), generator=torch.Generator().manual_seed(0))
    padded = torch.cat([text, torch.zeros(6, 2, dtype=torch.int64)])
    loss = SpikeAwareDistillation(teacher)
    alone = loss.terms(pupil(text), Batch(text, targets=text))
    longer = Batch(padded, targets=padded, lengths=torch.tensor([6, 6]))
    for one, other in zip(alone, loss.terms(pupil(padded), longer), strict=True):
        torch.testing.assert_close(one, other)


def test_a_single_layer_is_compared_with_the_last():
    run, taught = told(0, layers=1), told(1000, layers=3)
    found = SpikeAwareDistillation(Says(taught)).terms(run, BATCH)
    np.testing.assert_allclose(numbers(found), loops(run, taught, pairs=((0, 2),)), rtol=1e-12)


# --- rates ---


@settings(deadline=None, max_examples=50)
@given(st.floats(-0.5, 1.5), st.integers(1, 12), st.floats(0.2, 3.0))
def test_the_rate_of_an_integrator_is_its_current(level, steps, threshold):
    neuron = IF(v_threshold=threshold, reset="subtract")
    spikes, _ = scan(neuron, torch.full((steps, 1), level * threshold, dtype=torch.float64))
    assert abs(float(spikes.mean()) - min(1.0, max(0.0, level))) <= 1 / steps + 1e-12


@settings(deadline=None, max_examples=30)
@given(st.floats(0.3, 0.95), st.integers(1, 12))
def test_rates_do_not_fall_with_the_current(beta, steps):
    currents = torch.linspace(-1, 2, 200, dtype=torch.float64).expand(steps, 200)
    rates = scan(lif_with_late_reset(beta), currents)[0].mean(0)
    assert bool((rates.diff() >= 0).all())


# --- with a network ---


def student(seed=0, **options):
    return bispikclm((), V, Size(2, 8, 2, 2, 16), seed=seed, **options)


def rule(loss, **options):
    return LearningRule(loss, rules.BPTT(), rules.make("bptt", **options).plasticity)


def test_the_code_of_the_network_is_its_own_neurons():
    code = student()(TOKENS).internals["code"]
    currents = drawn(0, 20).float()
    wanted = scan(lif_with_late_reset(), currents.expand(4, 20))[0].mean(0)
    assert torch.equal(code.rate(currents), wanted)
    assert 0 < float(wanted.mean()) < 1
    levels = torch.tensor([0.99, 1.0]) * code.threshold  # of a single step
    assert scan(lif_with_late_reset(), levels[None])[0].tolist() == [[0.0, 1.0]]


def test_a_student_learns_all_terms_and_the_teacher_none():
    teacher, pupil = transformer((), V, Size(3, 12, 3, 2, 16)), student()
    loss = SpikeAwareDistillation(teacher, widths=(8, 12))
    before = [p.clone() for p in teacher.parameters()]
    trainer = Trainer(pupil, rule(loss, lr=0.01), health=None, seed=0)
    first = numbers(loss.terms(pupil(TOKENS), BATCH))
    list(trainer.fit([BATCH], 60))
    after = numbers(loss.terms(pupil(TOKENS), BATCH))
    assert sum(after) < sum(first)
    assert after[-1] < 0.7 * first[-1]
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.parameters(), strict=True))
    assert not any("teacher" in name or "blocks" in name for name in loss.state_dict())
    assert set(trainer.evaluate([BATCH])) >= {"loss", "accuracy"}


def test_the_work_of_the_teacher_is_counted():
    costs = []
    for known in (transformer((), V, Size(2, 8, 2, 2, 16)), None):
        trainer = Trainer(student(), rule(SpikeAwareDistillation(known)), health=None)
        costs.append(trainer.step(BATCH).cost.synaptic_operations)
    width, inside = 8, 16
    tokens = L * B
    dense = 2 * tokens * (4 * width * width + 2 * width * inside) + tokens * width * V
    assert costs[0] - costs[1] == dense + 2 * 2 * B * L * L * width


@pytest.mark.parametrize("name", ["spsa", "fa"])
def test_other_credits_take_it(name):
    made, teacher = rules.make(name), transformer((), V, Size(2, 8, 2, 2, 16))
    loss = SpikeAwareDistillation(teacher)
    model = student(tied=False)
    trainer = Trainer(model, LearningRule(loss, made.credit, made.plasticity), health=None)
    wanted = float(loss(model(TOKENS), BATCH).detach())
    assert trainer.step(BATCH).loss == pytest.approx(wanted, rel=0.2)  # of perturbed passes


class Telling(nn.Module):
    """A plain network that tells its hidden layer."""

    offers = frozenset({"gradient", "internals"})

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, V)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        return Run(self.last(hidden), internals={"embedding": hidden})


def test_perturbed_nodes_are_judged_by_what_they_tell():
    """The direction is that of autograd, where errors go to every node, those that are told included."""
    batch = Batch(drawn(3, L, B, 4).float(), targets=BATCH.targets)
    loss = SpikeAwareDistillation(Telling(), {"embedding": 1.0, "attention": 0.0, "hidden": 0.0})
    model = Telling()
    wanted = torch.autograd.grad(loss(model(batch.x), batch), list(model.parameters()))
    credit = rules.make("node_perturbation", draws=100).credit
    found = credit.assign(model, loss, batch, credit.init(model, rules.seeds.seeded(0)), rules.seeds.seeded(1)).grads
    flat = [
        torch.cat([g.flatten() for g in each]) for each in (wanted, [found[n] for n, _ in model.named_parameters()])
    ]
    assert float(torch.cosine_similarity(*flat, dim=0)) > 0.5  # of 105 perturbed outputs, 100 draws


def test_a_run_is_resumed_to_the_bit_with_its_projector():
    def made():
        loss = SpikeAwareDistillation(transformer((), V, Size(2, 12, 3, 2, 16)), widths=(8, 12))
        return Trainer(student(), rule(loss, lr=0.01), health=None, seed=0)

    whole, half = made(), made()
    list(whole.fit([BATCH], 4))
    list(half.fit([BATCH], 2))
    again = made()
    again.load_state_dict(half.state_dict())
    list(again.fit([BATCH], 2))
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


# --- mistakes ---


def turned(run):
    """Internals with samples first."""
    internals = {n: p.transpose(0, 1) if torch.is_tensor(p) else p for n, p in run.internals.items()}
    return run._replace(internals=internals)


def renamed(run, old, new):
    """One internal under another name."""
    return run._replace(internals={new if name == old else name: part for name, part in run.internals.items()})


def changed(run, name, less):
    """One internal with a number added."""
    return run._replace(internals={**run.internals, name: run.internals[name] * 0 + less})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpikeAwareDistillation(weights={"atention": 1.0}), "unknown term 'atention'; nearest: 'attention'"),
        (
            lambda: SpikeAwareDistillation(weights={"soft": -1.0}),
            r"weights\['soft'\]=-1.0: give a finite weight of at l",
        ),
        (lambda: SpikeAwareDistillation(weights=dict.fromkeys(Terms._fields, 0)), "all weights are 0: leave one above"),
        (lambda: SpikeAwareDistillation(share=2.0), "share=2.0: give the share of rates, from 0 to 1"),
        (lambda: SpikeAwareDistillation(temperature=0.0), "temperature=0.0: give a number above 0"),
        (
            lambda: SpikeAwareDistillation(Says(told(1, width=8)))(told(0), BATCH),
            r"the network has 6 channels and the teacher 8: give widths=\(6, 8\)",
        ),
        (lambda: SpikeAwareDistillation(temperature=np.inf), "temperature=inf: give a number above 0"),
        (lambda: SpikeAwareDistillation(weights={"soft": np.inf}), r"weights\['soft'\]=inf: give a finite weight"),
        (
            lambda: SpikeAwareDistillation(Says(Run(told(1).output[-1:])), ONLY["soft"])(told(0), BATCH),
            "the teacher answers at 1 of 5 tokens, and SpAD compares every token",
        ),
        (
            lambda: SpikeAwareDistillation(Says(turned(told(1))))(told(0), BATCH),
            r"embedding of the teacher is \[3, 5, 6\]; wanted time and samples first, as in its output, \[5, 3, chan",
        ),
        (
            lambda: SpikeAwareDistillation(Says(renamed(told(1), "hidden.0", "hidden.2")))(told(0), BATCH),
            "internals are hidden.1, hidden.2; wanted one a layer, from the first on: hidden.0, hidden.1",
        ),
        (
            lambda: SpikeAwareDistillation(Says(renamed(told(1, layers=1), "hidden.0", "hidden")))(told(0), BATCH),
            "internals are hidden; wanted one a layer, from the first on",
        ),
        (
            lambda: SpikeAwareDistillation(Says(changed(told(1), "attention.1", -0.1)))(told(0), BATCH),
            "attention.1 of the teacher has entries below 0 or infinite: tell weights of keys, not scores",
        ),
        (
            lambda: SpikeAwareDistillation(Says(told(1, width=8)), widths=(8, 6)).double()(told(0), BATCH),
            "the network has 6 channels, and widths say 8: give its own first",
        ),
        (
            lambda: SpikeAwareDistillation(Says(Run(drawn(0, L, B, V))))(told(0), BATCH),
            "the teacher does not tell 'attention', which SpAD compares: .*, or leave the term out",
        ),
        (
            lambda: SpikeAwareDistillation(Says(told(1)))(Run(drawn(0, L, B, V)), BATCH),
            "the network does not tell 'attention', which SpAD compares",
        ),
        (
            lambda: SpikeAwareDistillation(Says(told(1)))(without("code"), BATCH),
            "the network does not tell 'code', .* or compare numbers alone: share=0",
        ),
        (
            lambda: SpikeAwareDistillation(Says(told(1)), share=0.0, weights={"attention": 0.0})(
                without("hidden.0", "hidden.1"), BATCH
            ),
            r"the network does not tell 'hidden', .* or leave the term out: weights={'hidden': 0}",
        ),
        (
            lambda: SpikeAwareDistillation(Says(told(1)._replace(output=drawn(0, L, B, V + 1))))(told(0), BATCH),
            "the teacher knows 8 classes, and the network 7",
        ),
    ],
)
def test_what_cannot_be_distilled_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_model_that_tells_nothing_is_refused_before_the_first_step():
    model = nn.Sequential(nn.Embedding(V, 8), nn.Linear(8, V))
    with pytest.raises(ValueError, match="internals: `run.internals`, what the model tells of its inside"):
        Trainer(model, rule(SpikeAwareDistillation(transformer((), V, Size(2, 8, 2)))), health=None).step(BATCH)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpikeAwareDistillation("runs/teacher"), "teacher='runs/teacher': give an nn.Module"),
        (lambda: SpikeAwareDistillation(weights=[1.0]), r"weights=\[1.0\]: give a dict, such as"),
    ],
)
def test_what_is_no_teacher_and_what_are_no_weights(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_teacher_that_changes_is_heard_as_it_is_now():
    """An objective with parameters is copied by the trainer, its teacher is not: a mean teacher stays one."""
    teacher, pupil = transformer((), V, Size(2, 8, 2, 2, 16), seed=1), student()
    trainer = Trainer(pupil, rule(SpikeAwareDistillation(teacher)), health=None)
    assert trainer.rule.objective.teacher is teacher
    before = float(trainer.rule.objective(pupil(TOKENS), BATCH))
    with torch.no_grad():
        teacher.tokens.weight.zero_()
    assert float(trainer.rule.objective(pupil(TOKENS), BATCH)) != before
