"""Node perturbation with products that are not repeated and passes that are stacked, against plain passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import rules
from rules.check import toy
from rules.contract import Batch, Run
from rules.credit.zero_order.flat import nodes, shaken
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation
from rules.credit.zero_order.products import only_weighs, unhooked
from rules.credit.zero_order.sharing import seeds
from rules.forward import as_run, map_tensors
from rules.objectives import OBJECTIVES, REGULARISERS
from rules.spikes.bits import StochasticBits
from rules.spikes.surrogate import differentiating
from rules.synapses import is_synapse
from sandbox import LIF, LeakyIntegrator, build
from sandbox.synapses import EventLinear
from tests.rules.credit.zero_order.nets import QUADRATIC, assign, dice, drawn, inputs

RULE = NodePerturbation(draws=4, sigma=0.1)
X, Y = toy.batch().x, toy.batch().y


def spiking(hidden, shape=(3,)):
    return build(shape, 2, hidden, LIF(tau_mem=3.0), LeakyIntegrator(), seed=1).double().eval()


class Twice(nn.Module):
    """A weight at two places, and one beside them that sees the input alone, after noise has come in."""

    def __init__(self):
        super().__init__()
        self.entry, self.twice, self.beside = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(3, 2)

    def forward(self, x):
        return self.twice(torch.tanh(self.twice(torch.tanh(self.entry(x)))))[..., :2] * self.beside(x)


class Frozen(nn.Sequential):
    """A first layer that learns nothing, whose output the next one changes in place."""

    def __init__(self):
        super().__init__(
            nn.Linear(3, 6), nn.ReLU(inplace=True), nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)
        )
        self[0].requires_grad_(False)


class Unseen(nn.Module):
    """Changes what a layer gave behind torch's back, and hands one that does not learn the same array every time."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.out, self.room = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2), np.zeros((24, 4))
        self.two.requires_grad_(False)

    def forward(self, x):
        z = self.one(x)
        z.data.mul_(0.5)
        self.room[:] = z.detach().reshape(-1, 4).numpy()
        return self.out(torch.tanh(self.two(torch.from_numpy(self.room)))).reshape(*x.shape[:2], 2)


class Counting(nn.Linear):
    """A synapse that grows weaker with every call of a pass, and is not `W x + b`."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) / self.calls


class Steps(nn.Module):
    """A loop over time around such a synapse."""

    def __init__(self):
        super().__init__()
        self.weigh, self.out = Counting(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        self.weigh.calls, h = 0, torch.zeros(*x.shape[1:-1], 4, dtype=x.dtype)
        heard = []
        for now in x:
            h = torch.tanh(self.weigh(now + h[..., :3]))
            heard.append(h)
        return self.out(torch.stack(heard))


class OneBatch(nn.Module):
    """Takes a batch of six and nothing else."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)).reshape(4, 6, 4))


class Place(nn.Module):
    """Gives each of its first six samples a constant of its own, and all others nothing: it never complains."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        shift = torch.arange(x.shape[1], dtype=x.dtype)
        return self.two(torch.tanh(self.one(x) + (shift / len(shift))[:, None]))


class Parts(nn.Module):
    """A model of two inputs by name."""

    def __init__(self):
        super().__init__()
        self.seen, self.known, self.out = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.seen(x["seen"]) + self.known(x["known"])))


class Memory(nn.Module):
    """A recurrent network of another library between synapses."""

    def __init__(self):
        super().__init__()
        self.entry, self.memory, self.out = nn.Linear(3, 4), nn.GRU(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.memory(self.entry(x))[0])


class BatchFirst(nn.Module):
    """Works on `[B, T, ...]`."""

    def __init__(self):
        super().__init__()
        self.entry, self.memory, self.out = nn.Linear(3, 4), nn.GRU(4, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.memory(self.entry(x))[0])


def hooked():
    model = drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    model[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    model[2].register_forward_hook(lambda module, inputs, z: z * 3)
    return model


def noisy():
    return drawn(nn.Sequential(nn.Linear(3, 4), StochasticBits(), nn.Linear(4, 2)))


def tied():
    return drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))))


def turned():
    return rules.adapt(drawn(BatchFirst()), batch_first=True)


MODELS = {  # and whether passes can be stacked
    "smooth": (toy.smooth, X, True),
    "static": (toy.smooth, X[0], True),
    "leaky": (lambda: toy.leaky(spiking=False), X, True),
    "loops": (lambda: toy.leaky(spiking=True), X, True),
    "network": (lambda: spiking((5, 4)), 3 * X, True),
    "constant": (lambda: spiking((5, 4)), (3 * X[:1]).expand(4, 6, 3), True),
    "recurrent": (lambda: spiking(("5r", 4)), 3 * X, True),
    "residual": (lambda: spiking(("2x3", 4), (1, 4, 4)), inputs(4, 6, 1, 4, 4).abs(), True),
    "convolution": (
        lambda: drawn(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(32, 2))),
        inputs(6, 1, 4, 4),
        True,
    ),
    "twice": (lambda: drawn(Twice()), X, True),
    "frozen": (lambda: drawn(Frozen()), X, True),
    "behind torch's back": (lambda: drawn(Unseen()), X, False),
    "counting": (lambda: drawn(Steps()), X, True),
    "one batch": (lambda: drawn(OneBatch()), X, False),
    "place": (lambda: drawn(Place()), X, False),
    "parts": (lambda: drawn(Parts()), {"seen": X, "known": inputs(4, 6, 2)}, True),
    "memory": (lambda: drawn(Memory()), X, True),
    "batch first": (turned, X, True),
    "hooked": (hooked, X, False),
    "noisy": (noisy, X, False),
    "noisy, static": (noisy, X[0], False),
    "parametrised": (tied, X, True),
}


def brute(rule, model, batch, objective, seed=0):
    """Plain passes, one for each sign of each draw, the loss of each sample, and autograd for each call of a weight."""
    rng = dice(seed)
    common, _ = seeds(2, rng)
    numbers, calls = seeds(rule.draws, rng), []
    record = bool({"layers", "features"} & objective.needs)

    def passing(change):
        handles = [m.register_forward_hook(change) for m in model.modules() if is_synapse(m)]
        with torch.no_grad(), differentiating(generator=dice(common)):
            run = as_run(model(batch.x, record=True) if record else model(batch.x))
        for handle in handles:
            handle.remove()
        return run

    def alone(run, b):
        shown = [
            t._replace(pre=t.pre[:, b : b + 1], u=t.u[:, b : b + 1], post=t.post[:, b : b + 1]) for t in run.traces
        ]
        answers = {n: None if (p := getattr(batch, n)) is None else p[b : b + 1] for n in ("y", "lengths")}
        targets = None if batch.targets is None else batch.targets[:, b : b + 1]
        x = map_tensors(
            lambda leaf: leaf[:, b : b + 1] if leaf.ndim > 2 and leaf.shape[1] == 6 else leaf[b : b + 1], batch.x
        )
        return float(objective(Run(run.output[:, b : b + 1], None, tuple(shown)), Batch(x, targets=targets, **answers)))

    clean = passing(lambda module, given, z: calls.append((module, given[0].clone(), z.clone())))
    samples = clean.output.shape[1]
    errors = [torch.zeros_like(z) for _, _, z in calls]
    learns = [any(p.requires_grad for p in module.parameters(recurse=False)) for module, _, _ in calls]
    sigmas = [rule.sigma] * len(calls)
    if rule.relative:
        modules = {id(module): torch.cat([z.flatten() for m, _, z in calls if m is module]) for module, _, _ in calls}
        sigmas = [rule.sigma * max(rms(z), rms(modules[id(module)])) for module, _, z in calls]
    for number in numbers:
        each = dice(number)
        noise = [
            s * torch.randn(z.shape, generator=each, dtype=z.dtype) if on else 0
            for (_, _, z), on, s in zip(calls, learns, sigmas)
        ]
        ends = []
        for sign in (1, -1):
            rest = iter(noise)
            ends.append(passing(lambda module, given, z, rest=rest, sign=sign: z + sign * next(rest)))
        slope = torch.tensor([(alone(ends[0], b) - alone(ends[1], b)) / 2 for b in range(samples)], dtype=torch.float64)
        for error, xi, s in zip(errors, noise, sigmas):
            if isinstance(xi, torch.Tensor):
                axis = next(a for a, size in enumerate(error.shape) if size % samples == 0)
                many = slope.repeat(error.shape[axis] // samples)  # time and batch folded: the batch runs faster
                error += xi * many.reshape(-1, *[1] * (error.ndim - axis - 1)) / (rule.draws * s**2 * samples)
    grads = {}
    names = {id(p): name for name, p in model.named_parameters()}
    for (module, pre, _), error, on in zip(calls, errors, learns):
        if on:
            own = [p for p in module.parameters() if p.requires_grad]
            module.calls = 0
            with torch.enable_grad():
                z = (
                    nn.functional.linear(pre, module.weight, module.bias)
                    if isinstance(module, nn.Linear)
                    else module(pre)
                )
                found = torch.autograd.grad((error * z).sum(), own)
            for p, g in zip(own, found):
                grads[names[id(p)]] = grads.get(names[id(p)], 0) + g
    return grads


def rms(signal):
    return float(signal.square().mean().sqrt())


def compared(make, batch, objective, rule=RULE):
    wanted = brute(rule, make(), batch, objective)
    mine = rule.assign(make(), objective, batch, (), dice()).grads
    assert mine.keys() <= wanted.keys()
    assert sum(float(g.norm()) for g in mine.values()) > 0
    for name, g in mine.items():
        torch.testing.assert_close(g, wanted[name], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("make", "x", "stacks"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("light", [0, 2**40], ids=["each alone", "stacked"])
def test_the_gradient_of_plain_passes(make, x, stacks, light, monkeypatch):
    """1e-12 in float64, of gradients of order 1: rounding of 1e-16 over a sigma of 0.1."""
    seen, together = [], shaken.Shaken.together
    monkeypatch.setattr(shaken, "LIGHT", light)
    monkeypatch.setattr(shaken.Shaken, "together", lambda *given: seen.append(together(*given)) or seen[-1])
    compared(make, Batch(x), QUADRATIC)
    assert any(run is not None for run in seen) == (stacks and light > 0)


@pytest.mark.parametrize("light", [0, 2**40], ids=["each alone", "stacked"])
@pytest.mark.parametrize("name", ["ce_mean", "ce_rate", "tet", "mse_count", "rate_l1", "membrane", "mse"])
def test_objectives_of_any_kind(name, light, monkeypatch):
    """Labels, targets, lengths, and traces of hidden layers."""
    monkeypatch.setattr(shaken, "LIGHT", light)
    objective = {**OBJECTIVES, **REGULARISERS}[name]()
    batch = Batch(3 * X, Y)
    if name == "ce_mean":
        batch = batch._replace(lengths=torch.tensor([1, 2, 3, 4, 4, 2]))
    if name == "mse":
        batch = Batch(3 * X, targets=inputs(4, 6, 2))
    compared(lambda: spiking((5, "4r")), batch, objective)


def test_a_weighted_mean_and_samples_that_are_left_out_have_no_short_cut():
    run, batch = Run(inputs(4, 6, 2)), Batch(X, Y)
    assert OBJECTIVES["ce_mean"](weight=(1.0, 2.0)).each(run, batch) is None
    assert OBJECTIVES["ce_mean"]().each(run, batch._replace(y=torch.tensor([0, 1, -100, 0, 1, 1]))) is None
    assert OBJECTIVES["ce_mean"]().each(run, batch).shape == (6,)


@pytest.mark.parametrize("given", ["y", "targets", "some targets", "lengths"])
def test_the_loss_at_every_step_of_each_sample(given):
    """1e-6: what the loss of a batch of this sample alone is in float32."""
    run, objective = Run(inputs(4, 6, 2).float()), OBJECTIVES["ce_rate"]()
    targets = torch.randint(0, 2, (4, 6), generator=torch.Generator().manual_seed(0))
    batch = Batch(X, Y) if given in ("y", "lengths") else Batch(X, targets=targets)
    if given == "some targets":
        batch.targets[:3, ::2] = -100
    if given == "lengths":
        batch = batch._replace(lengths=torch.tensor([1, 2, 3, 4, 4, 2]))
    found = objective.each(run, batch)
    for n in range(6):
        one = {name: part[n : n + 1] for name in ("y", "lengths") if (part := getattr(batch, name)) is not None}
        one |= {} if batch.targets is None else {"targets": batch.targets[:, n : n + 1]}
        alone = objective(Run(run.output[:, n : n + 1]), Batch(X[:, n : n + 1], **one))
        torch.testing.assert_close(found[n], alone, rtol=1e-6, atol=1e-6)


def test_the_loss_at_every_step_has_no_short_cut_for_samples_without_a_step():
    targets = torch.zeros(4, 6, dtype=torch.int64)
    targets[:, 2] = -100
    run = Run(inputs(4, 6, 2))
    assert OBJECTIVES["ce_rate"]().each(run, Batch(X, targets=targets)) is None
    assert OBJECTIVES["ce_rate"](weight=(1.0, 2.0)).each(run, Batch(X, Y)) is None


def test_a_short_cut_is_not_inherited_by_another_loss():
    class Doubled(type(OBJECTIVES["ce_mean"]())):
        def __call__(self, run, batch):
            return 2 * super().__call__(run, batch)

    compared(lambda: toy.leaky(spiking=False), Batch(X, Y), Doubled())


@pytest.mark.parametrize("held", [0, 2**12], ids=["nothing", "some"])
def test_noise_that_is_not_kept_is_the_same(held, monkeypatch):
    monkeypatch.setattr(nodes, "HELD", held)
    compared(lambda: toy.leaky(spiking=False), Batch(X), QUADRATIC)


@pytest.mark.parametrize("memory", [2**10, 2**13])
def test_stacks_of_any_size(memory, monkeypatch):
    monkeypatch.setattr(shaken, "WORKING_SET", memory)
    compared(lambda: toy.leaky(spiking=False), Batch(X), QUADRATIC)


def test_the_first_product_is_made_once(monkeypatch):
    """Of a pass of two layers the first is known, of a recurrent one also what the silent cells hear of each other."""
    made, linear = [], nn.functional.linear
    monkeypatch.setattr(shaken, "LIGHT", 0)
    monkeypatch.setattr(nn.functional, "linear", lambda x, w, b=None: made.append(w.shape) or linear(x, w, b))
    model = drawn(nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2)))
    assign(RULE, model, X)
    assert [made.count(size) for size in ((7, 3), (2, 7))] == [1, 9]


def test_what_was_saved(monkeypatch):
    """Alone, the first of two layers in all passes but the first; stacked, nothing, and one pass is made to compare."""
    model = drawn(nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2)))
    for light, done in ((0, 10), (2**40, 20)):
        monkeypatch.setattr(shaken, "LIGHT", light)
        cost = assign(RULE, model, X).cost
        assert (cost.layer_evaluations, cost.layer_evaluations_done) == (18, done)
        assert (cost.forwards, cost.synaptic_operations) == (9, 9 * 24 * (21 + 14))
    monkeypatch.setattr(shaken, "LIGHT", 0)
    cost = assign(RULE, toy.leaky(spiking=False), X).cost  # a call for each step; of three layers again the first
    assert (cost.layer_evaluations, cost.layer_evaluations_done) == (27, 19)


class Own(nn.Linear):
    def forward(self, x):
        return super().forward(x)


def test_what_only_weighs():
    patched = nn.Linear(1, 1)
    patched.forward = lambda x: x
    assert all(map(only_weighs, (nn.Linear(1, 1), nn.Conv2d(1, 1, 1), nn.ConvTranspose1d(1, 1, 1), EventLinear(1, 1))))
    assert only_weighs(type("Named", (EventLinear,), {})(1, 1))
    others = [
        Own(1, 1),
        type("Declared above", (EventLinear,), {"forward": Own.forward})(1, 1),
        type("Padded", (nn.Conv1d,), {"_conv_forward": lambda *given: None})(1, 1, 1),
        nn.utils.parametrizations.weight_norm(nn.Linear(1, 1)),
        nn.utils.spectral_norm(nn.Linear(1, 1)),
        torch.compile(nn.Linear(1, 1)),
        patched,
        nn.GRU(1, 1),
    ]
    assert not any(map(only_weighs, others))


def test_hooks_that_count_change_nothing():
    module = nn.Linear(1, 1)
    assert unhooked(module)
    with rules.metering.Meter(module):
        assert unhooked(module)
    module.register_forward_hook(lambda *given: None)
    assert not unhooked(module)


@pytest.mark.parametrize("light", [0, 2**40], ids=["each alone", "stacked"])
@pytest.mark.parametrize("name", ["loops", "network", "twice"])
def test_noise_in_units_of_the_signals(name, light, monkeypatch):
    make, x, _ = MODELS[name]
    monkeypatch.setattr(shaken, "LIGHT", light)
    compared(make, Batch(x), QUADRATIC, replace(RULE, relative=False))


def test_noise_may_be_drawn_in_single_precision():
    model, x = drawn(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))), inputs(6, 3)
    single = NodePerturbation(draws=2, sigma=0.1, noise="float32", relative=False)
    found = [assign(rule, model, x).grads for rule in (single, single, replace(single, noise="float64"))]
    for name, g in found[0].items():
        assert torch.equal(g, found[1][name])
        assert not torch.allclose(g, found[2][name])
    rng = dice()
    seeds(2, rng)
    total = 0.0
    for seed in seeds(2, rng):  # the estimate of the last layer's bias, whose noise is drawn behind that of the first
        draw = dice(seed)
        one, two = (0.1 * torch.randn(6, size, generator=draw).double() for size in (4, 2))
        ends = [(model[2](torch.tanh(model[0](x) + s * one)) + s * two - 0.3).square() for s in (1, -1)]
        change = (ends[0] - ends[1]).detach().sum(1) / 2
        total = total + (change[:, None] * two).mean(0) / (2 * 0.01)
    ratio = found[0]["2.bias"] / total
    assert torch.allclose(
        ratio, ratio[:1].expand(2), rtol=1e-6
    )  # the toy loss has a factor of its own; sigma is float32


def test_the_precision_of_noise_is_named():
    with pytest.raises(ValueError, match="float16.*float64.*float32"):
        NodePerturbation(noise="float16")
