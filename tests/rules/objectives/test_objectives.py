"""Every loss against a double loop in numpy, and what each promises about its gradient."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import spearmanr
from torch import nn

from rules.contract import NEEDS, Batch, Objective, Run, Trace
from rules.objectives import OBJECTIVES, REGULARISERS, Sum
from rules.objectives.fitted import Fitted
from rules.objectives.readout import TET, CountError, MaxCrossEntropy, MeanCrossEntropy, RateCrossEntropy
from rules.objectives.regularisers import MembranePenalty, RateBand, RateL1, RatePenalty
from rules.objectives.spike_timing import FirstSpikeCrossEntropy, FirstSpikeError, VanRossum
from rules.spikes.surrogate import Surrogate, reset_signal

TIGHT = {"rel": 1e-12, "abs": 1e-12}  # float64 sums of at most a few thousand terms of order one, in another order
FITTED = {name: kind for name, kind in OBJECTIVES.items() if issubclass(kind, Fitted)}  # tested in test_fitted.py
READOUTS = {  # mere formulas of classes
    name: kind for name, kind in OBJECTIVES.items() if not issubclass(kind, nn.Module) and name not in FITTED
}
SPIKING = {"mse_count", "ce_ttfs", "mse_ttfs", "van_rossum", "bit_error"}
PROBABILITIES = {"bce_probabilities"}


# --- the oracles: plain loops over time, samples and classes ---


def cross_entropy(scores, y):
    return np.mean([-log_softmax(row)[label] for row, label in zip(scores, y, strict=True)])


def squared(scores, y, on, off):
    total = 0.0
    for row, label in zip(scores, y, strict=True):
        for number, value in enumerate(row):
            total += (value - (on if number == label else off)) ** 2
    return total / scores.size


def first_times(output):
    steps, samples, classes = output.shape
    times = np.full((samples, classes), float(steps))
    for b in range(samples):
        for c in range(classes):
            for t in range(steps):
                if output[t, b, c] > 0:
                    times[b, c] = t
                    break
    return times


def van_rossum(output, y, tau=10.0, dt=1.0, period=5):
    steps, samples, classes = output.shape
    total = 0.0
    for b in range(samples):
        for c in range(classes):
            trace = 0.0  # (k * s - k * target)[t], step by step
            for t in range(steps):
                target = float(c == y[b] and (t + 1) % period == 0)
                trace = trace * math.exp(-dt / tau) + output[t, b, c] - target
                total += trace**2
    return total * dt / tau / samples


def tet(output, y, lam=1e-3, phi=1.0):
    fit = np.mean([cross_entropy(o, y) for o in output])
    return (1 - lam) * fit + lam * np.mean((output - phi) ** 2)


def binary_cross_entropy(scores, y):
    total = 0.0
    for row, label in zip(scores, y, strict=True):
        for number, p in enumerate(row):
            total -= math.log(p if number == label else 1 - p)
    return total / len(y)


def goodness(scores, y, threshold=1.0):
    total = 0.0
    for row, label in zip(scores, y, strict=True):
        for number, value in enumerate(row):
            p = 1 / (1 + math.exp(threshold - value))
            total -= math.log(p) if number == label else math.log(1 - p) / (len(row) - 1)
    return total / len(y)


def divergence(o):
    """KL(softmax(mean_t o) || softmax(o[t])), mean over steps and samples."""
    total = 0.0
    for b in range(o.shape[1]):
        taught = np.exp(o[:, b].mean(0)) / np.exp(o[:, b].mean(0)).sum()
        for step in o[:, b]:
            shown = np.exp(step) / np.exp(step).sum()
            total += sum(p * math.log(p / q) for p, q in zip(taught, shown, strict=True))
    return total / o[..., 0].size


def chances(o):
    """The probabilities of every step, summed."""
    return sum(np.exp(step) / np.exp(step).sum(-1, keepdims=True) for step in o)


ORACLES = {
    "ce_mean": lambda o, y: cross_entropy(sum(o) / len(o), y),
    "ce_sum": lambda o, y: cross_entropy(sum(o), y),
    "ce_rate": lambda o, y: sum(cross_entropy(step, y) for step in o) / len(o),
    "tet": tet,
    "ce_max_mem": lambda o, y: cross_entropy(o.max(0), y),
    "ce_last": lambda o, y: cross_entropy(o[-1], y),
    "mse_count": lambda o, y: squared(sum(o), y, len(o), 0) / len(o),
    "mse_membrane": lambda o, y: sum(squared(step, y, 1, 0) for step in o) / len(o),
    "ce_ttfs": lambda o, y: cross_entropy(-first_times(o), y),
    "mse_ttfs": lambda o, y: squared(first_times(o) / len(o), y, 0, 1),
    "van_rossum": van_rossum,
    "bit_error": lambda o, y: sum(squared(s, y, 1, 0) * s.shape[1] for s in o) / len(o) / 2,
    "bce_probabilities": lambda o, y: sum(binary_cross_entropy(s, y) for s in o) / len(o),
    "goodness": lambda o, y: goodness(sum(o) / len(o), y),
    "self_ensemble": lambda o, y: cross_entropy(sum(o) / len(o), y) / 2 + divergence(o) / 2,
    "mixed": lambda o, y: cross_entropy(sum(o) / len(o), y),
    "kdcl": lambda o, y: cross_entropy(chances(o), y),
}

EVIDENCE = {  # what each takes for the scores of the classes, where it is not the mean
    "ce_sum": lambda o: o.sum(0),
    "ce_max_mem": lambda o: o.max(0),
    "ce_last": lambda o: o[-1],
    "mse_count": lambda o: o.sum(0),
    "ce_ttfs": lambda o: -first_times(o),
    "mse_ttfs": lambda o: -first_times(o),
    "kdcl": lambda o: chances(o),
}


def outputs(seed, steps, samples, classes, name=""):
    """Random outputs `[T, B, classes]` in float64 that suit an objective, and a label for each sample."""
    rng = np.random.default_rng(seed)
    shape = (steps, samples, classes)
    output = (rng.random(shape) < 0.2).astype(float) if name in SPIKING else 3 * rng.standard_normal(shape)
    output = 1 / (1 + np.exp(-output)) if name in PROBABILITIES else output
    return output, rng.integers(0, classes, samples)


def given_to(objective, output, y):
    """The loss of one run; the objectives here look at nothing of the batch but its labels."""
    output = torch.as_tensor(output)
    return objective(Run(output), Batch(torch.zeros(output.shape), torch.as_tensor(y)))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**16), st.integers(1, 9), st.integers(1, 6), st.integers(1, 5), st.sampled_from(sorted(READOUTS))
)
def test_equals_the_double_loop(seed, steps, samples, classes, name):
    classes = max(classes, 2) if name == "goodness" else classes  # which tells a right label from wrong ones
    output, y = outputs(seed, steps, samples, classes, name)
    loss = given_to(READOUTS[name](), output, y)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(ORACLES[name](output, y), **TIGHT)


@pytest.mark.parametrize("name", READOUTS)
def test_equals_the_double_loop_at_one_size(name):
    output, y = outputs(1, 11, 7, 4, name)
    assert given_to(READOUTS[name](), output, y).item() == pytest.approx(ORACLES[name](output, y), **TIGHT)


@pytest.mark.parametrize(
    ("objective", "oracle"),
    [
        (TET(lam=0.3, phi=-0.5), lambda o, y: tet(o, y, 0.3, -0.5)),
        (CountError(on=0.75, off=0.25), lambda o, y: squared(sum(o), y, 8, 2) / 11),  # floor(8.25), floor(2.75)
        (READOUTS["mse_membrane"](on=2.0, off=-1.0), lambda o, y: sum(squared(s, y, 2, -1) for s in o) / len(o)),
        (FirstSpikeError(on=0.2, off=0.9), lambda o, y: squared(first_times(o) / len(o), y, 0.2, 0.9)),
        (VanRossum(tau=4.0, dt=0.5, period=3), lambda o, y: van_rossum(o, y, 4.0, 0.5, 3)),
    ],
    ids=lambda item: type(item).__name__ if isinstance(item, Objective) else "",
)
def test_settings_mean_what_they_say(objective, oracle):
    output, y = outputs(2, 11, 7, 4, "mse_count")
    assert given_to(objective, output, y).item() == pytest.approx(oracle(output, y), **TIGHT)


@pytest.mark.parametrize("name", READOUTS)
def test_scores_are_the_evidence_that_the_loss_reads(name):
    output, _ = outputs(3, 6, 5, 3, name)
    wanted = EVIDENCE.get(name, lambda o: o.mean(0))(output)
    np.testing.assert_allclose(READOUTS[name]().scores(Run(torch.as_tensor(output))).numpy(), wanted, rtol=1e-12)


@pytest.mark.parametrize("name", READOUTS)
def test_the_right_answer_costs_less_than_a_wrong_one(name):
    """Spikes of the class at the steps van Rossum asks for, which are good for the others as well."""
    right = np.zeros((10, 1, 3))
    right[4::5, 0, 1] = 1.0
    wrong = right[:, :, [1, 0, 2]]
    objective = READOUTS[name]()
    assert given_to(objective, right, [1]) < given_to(objective, wrong, [1])
    assert objective.scores(Run(torch.as_tensor(right))).argmax(1).item() == 1


@pytest.mark.parametrize("name", sorted(set(READOUTS) - {"ce_ttfs", "mse_ttfs"}))
def test_the_gradient_is_that_of_finite_differences(name):
    output, y = outputs(4, 4, 3, 3, name)
    leaf = torch.as_tensor(output).requires_grad_()
    assert torch.autograd.gradcheck(lambda o: given_to(READOUTS[name](), o, y), (leaf,))


def test_the_first_spike_alone_gets_the_gradient():
    """By hand: t = (1, T=3); d CE / d(-t) = softmax - onehot, d t / d s = -1, so ds = softmax - onehot at step 1."""
    spikes = torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    given_to(FirstSpikeCrossEntropy(), spikes, [1]).backward()
    wanted = torch.zeros(3, 1, 2, dtype=torch.float64)
    wanted[1, 0, 0] = 1 / (1 + math.exp(-2))  # softmax of (-1, -3)
    torch.testing.assert_close(spikes.grad, wanted, rtol=1e-12, atol=1e-12)


def test_a_spike_that_comes_late_is_pulled_forward():
    """By hand: (t/T - target)^2 over 2 units, t = (2, 0), T = 4, targets 0 and 1: dL/dt = (2/4, -2)/8, ds = -dL/dt."""
    spikes = torch.zeros(4, 1, 2, dtype=torch.float64)
    spikes[2, 0, 0] = spikes[0, 0, 1] = spikes[3, 0, 1] = 1.0
    leaf = spikes.requires_grad_()
    given_to(FirstSpikeError(), leaf, [0]).backward()
    wanted = torch.zeros(4, 1, 2, dtype=torch.float64)
    wanted[2, 0, 0], wanted[0, 0, 1] = -0.125, 0.25
    torch.testing.assert_close(leaf.grad, wanted, rtol=1e-12, atol=1e-12)


def test_a_silent_output_has_no_first_spike_and_gets_no_gradient():
    silent = torch.zeros(5, 2, 3, dtype=torch.float64, requires_grad=True)
    loss = given_to(FirstSpikeCrossEntropy(), silent, [0, 2])
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3))
    assert not silent.grad.any()
    assert bool((FirstSpikeCrossEntropy().scores(Run(silent)) == -5).all())


def test_the_maximum_sends_its_gradient_to_one_step():
    output, y = outputs(5, 6, 4, 3)
    leaf = torch.as_tensor(output).requires_grad_()
    given_to(MaxCrossEntropy(), leaf, y).backward()
    assert torch.equal(leaf.grad.ne(0).sum(0), torch.ones(4, 3, dtype=torch.int64))
    assert torch.equal(leaf.grad.abs().argmax(0), leaf.argmax(0))


def test_the_target_train_costs_nothing():
    train = torch.zeros(20, 1, 2)
    train[4::5, 0, 1] = 1.0
    assert given_to(VanRossum(), train, [1]) == 0


def test_averaging_first_never_costs_more_than_averaging_last():
    """P1.8, Jensen: 1e-7 is the specified slack, far above the 1e-15 of float64."""
    for seed in range(1000):
        output, y = outputs(seed, 1 + seed % 7, 4, 5)
        assert given_to(MeanCrossEntropy(), output, y) <= given_to(TET(lam=0.0), output, y) + 1e-7


def test_averaging_first_or_last_is_one_where_nothing_changes_in_time():
    """P1.8; a shift of all classes by a number that does change leaves it so."""
    output, y = outputs(6, 1, 4, 5)
    constant = output.repeat(6, 0) + np.arange(6.0)[:, None, None]
    mean, per_step = given_to(MeanCrossEntropy(), constant, y), given_to(TET(lam=0.0), constant, y)
    assert mean.item() == pytest.approx(per_step.item(), abs=1e-7)
    assert per_step.item() == pytest.approx(given_to(RateCrossEntropy(), constant, y).item(), **TIGHT)


# --- labels ---


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (None, ValueError, r"needs labels: let the loader yield \(x, y\)"),
        (torch.tensor([0.0, 1.0]), TypeError, r"labels have dtype torch.float32; wanted class numbers as int64"),
        (torch.tensor([0, 1], dtype=torch.int32), TypeError, "labels have dtype torch.int32"),
        (torch.tensor([0, 3]), ValueError, "labels run from 0 to 3, but the output has 3 classes: 0 to 2"),
        (torch.tensor([-1, 2]), ValueError, "labels run from -1 to 2, but the output has 3 classes"),
        (torch.tensor([0, 1, 2]), ValueError, r"labels have shape \(3,\); wanted .* 2"),
        (torch.tensor([[0], [1]]), ValueError, r"labels have shape \(2, 1\); wanted .* 2"),
    ],
    ids=["missing", "float", "int32", "too large", "negative", "too many", "column"],
)
def test_bad_labels_are_described(name, y, error, message):
    with pytest.raises(error, match=message):
        READOUTS[name]()(Run(torch.zeros(4, 2, 3)), Batch(torch.zeros(4, 2, 1), y))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TET(lam=1.5), "lam=1.5: give a weight between 0 and 1"),
        (lambda: VanRossum(tau=0.0), r"tau=0.0, dt=1.0, period=5: give positive times"),
        (lambda: VanRossum(period=0), r"period=0: give positive times .* period of at least 1"),
        (lambda: RateBand(lower=3.0, upper=2.0), r"lower=3.0, upper=2.0, power=1: give lower <= upper"),
        (lambda: RateBand(power=3), r"power=3: give lower <= upper.* power 1 or 2"),
        (lambda: Sum(()), r"terms=\(\): give at least one objective"),
    ],
)
def test_bad_settings_are_described(build, message):
    with pytest.raises(ValueError, match=message):
        build()


# --- regularisers ---


def recorded(seed, *sizes, steps=6, samples=4):
    """A run whose layers have these sizes, with random spikes and membranes."""
    rng = np.random.default_rng(seed)
    traces = []
    for number, size in enumerate(sizes):
        shape = (steps, samples, *((size,) if isinstance(size, int) else size))
        post, u = (rng.random(shape) < 0.3).astype(float), rng.standard_normal(shape)
        traces.append(Trace(f"{number}.weight", *(torch.as_tensor(a) for a in (post, u, post))))
    return Run(torch.as_tensor(rng.standard_normal((steps, samples, 2))), (), tuple(traces))


def counts_of(trace):
    """Spikes of each neuron for each sample, by a loop over the steps."""
    post = trace.post.numpy()
    total = np.zeros(post.shape[1:])
    for step in post:
        total += step
    return total.reshape(len(total), -1)


def band(c, lower, upper, weight_lower, weight_upper, power):
    rho = [sum(c[:, i]) / len(c) for i in range(c.shape[1])]
    over = max(sum(rho) / len(rho) - upper, 0.0) ** power
    return weight_upper * over + weight_lower * sum(max(lower - r, 0.0) ** 2 for r in rho) / len(rho)


PENALTIES = {
    RateL1(weight=0.3): lambda t: 0.3 * counts_of(t).sum() / t.post.numel(),
    RatePenalty(l1=0.2, l2=0.7): lambda t: (
        0.2 * np.mean([sum(c) for c in counts_of(t)]) + 0.7 * np.mean([np.mean(n) ** 2 for n in counts_of(t).T])
    ),
    RateBand(1.9, 2.0, 0.5, 0.3, power=1): lambda t: band(counts_of(t), 1.9, 2.0, 0.5, 0.3, 1),
    RateBand(0.5, 1.1, 0.5, 0.3, power=2): lambda t: band(counts_of(t), 0.5, 1.1, 0.5, 0.3, 2),
    MembranePenalty(weight=0.4, centre=-0.2): lambda t: 0.4 * np.mean((t.u.numpy() + 0.2) ** 2),
}


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
@pytest.mark.parametrize("sizes", [(5, 3, 2), (5, (2, 3, 3), 2), (5, 2), (5,)], ids=str)
def test_a_penalty_equals_its_loop_over_the_hidden_layers(penalty, sizes):
    """Every trace but the last, which is the read-out; the only one where there is one."""
    run = recorded(7, *sizes)
    hidden = run.traces[:-1] if len(sizes) > 1 else run.traces
    value = penalty(run, Batch(run.output))
    assert value.shape == ()
    assert value.item() == pytest.approx(sum(PENALTIES[penalty](trace) for trace in hidden), **TIGHT)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_a_penalty_does_not_depend_on_the_batch_size(penalty):
    run = recorded(8, 5, 3)
    twice = run._replace(traces=tuple(Trace(t.weight, *(torch.cat([a, a], 1) for a in t[1:])) for t in run.traces))
    assert penalty(twice, Batch(run.output)).item() == pytest.approx(penalty(run, Batch(run.output)).item(), **TIGHT)


@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_a_penalty_needs_a_record(penalty):
    assert penalty.needs == {"layers"}
    with pytest.raises(ValueError, match=r"needs run.traces: use a model that offers layers"):
        penalty(Run(torch.zeros(3, 2, 2)), Batch(torch.zeros(3, 2, 2)))


def test_a_band_wakes_a_dead_neuron_and_leaves_the_others():
    post = torch.zeros(6, 4, 3, dtype=torch.float64)
    post[:, :, 1:] = 0.5
    leaf = post.requires_grad_()
    run = Run(post[..., :2], traces=(Trace("w", leaf, leaf, leaf),))
    RateBand(lower=1.0, upper=10.0)(run, Batch(post)).backward()
    assert bool((leaf.grad[..., 0] < 0).all())
    assert not leaf.grad[..., 1:].any()


def test_a_sum_adds_and_leaves_views_and_scores_to_its_first_term():
    run, rng = recorded(9, 5, 3), torch.Generator()
    batch = Batch(torch.zeros(6, 4, 1), torch.tensor([0, 1, 1, 0]))
    parts = (MaxCrossEntropy(), RateL1(0.1), MembranePenalty(0.2))
    whole = Sum(parts)
    assert whole(run, batch).item() == pytest.approx(sum(part(run, batch).item() for part in parts), **TIGHT)
    assert whole.needs == {"labels", "layers"}
    assert torch.equal(whole.scores(run), parts[0].scores(run))
    assert whole.views(batch, rng) is batch

    class Doubled(MeanCrossEntropy):
        def views(self, batch, rng):
            return Batch(torch.cat([batch.x, batch.x], 1), batch.y.repeat(2))

    assert Sum((Doubled(), RateL1())).views(batch, rng).x.shape == (6, 8, 1)


class Toy(nn.Module):
    """Eight leaky units that fire too much, and a linear read-out of their spikes."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.hidden = nn.Parameter(torch.randn(8, 4, generator=rng) + 0.5)
        self.out = nn.Parameter(torch.randn(2, 8, generator=rng))

    def forward(self, x):
        v, us, spikes = torch.zeros(x.shape[1], 8), [], []
        for drive in x @ self.hidden.T:
            h = 0.7 * v + drive
            us.append(h - 1)
            spikes.append(Surrogate("atan").spike(us[-1]))
            v = h - reset_signal(spikes[-1])
        post = torch.stack(spikes)
        output = post @ self.out.T
        return Run(output, v, (Trace("hidden", x, torch.stack(us), post), Trace("out", post, output, output)))


@pytest.mark.parametrize("penalty", [RateL1, lambda weight: RatePenalty(weight / 80, weight / 80)], ids=["l1", "pair"])
def test_a_dearer_spike_is_a_rarer_spike(penalty):
    """P1.11: the mean rate after training never rises with the weight of the penalty, but for one spike in a hundred."""
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(10, 40, 4, generator=rng)
    batch = Batch(x, (x.mean(0)[:, 0] > x.mean(0)[:, 1]).long())
    weights, rates = [0.0, 0.3, 1.0, 3.0, 10.0], []
    for weight in weights:
        model = Toy()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        objective = Sum((MeanCrossEntropy(), penalty(weight)))
        for _ in range(60):
            optimizer.zero_grad()
            objective(model(batch.x), batch).backward()
            optimizer.step()
        rates.append(model(batch.x).traces[0].post.mean().item())
    assert all(later <= earlier + 0.01 for earlier, later in zip(rates, rates[1:], strict=False)), rates
    assert spearmanr(weights, rates).statistic <= -0.9, rates


# --- plain data ---


@pytest.mark.parametrize(
    "kind", [*READOUTS.values(), *FITTED.values(), *REGULARISERS.values()], ids=lambda kind: kind.__name__
)
def test_an_objective_is_plain_frozen_data(kind):
    objective = kind()
    for again in (copy.deepcopy(objective), pickle.loads(pickle.dumps(objective)), kind()):
        assert again == objective
        assert hash(again) == hash(objective)
    assert eval(repr(objective), {kind.__name__: kind}) == objective
    assert objective.needs <= NEEDS.keys()
    with pytest.raises(AttributeError):
        objective.weight = 3.0


def test_the_registry_is_what_the_specification_names():
    assert list(READOUTS) == list(ORACLES)
    assert all("labels" in kind().needs for kind in READOUTS.values())
