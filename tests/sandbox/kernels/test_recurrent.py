"""Recurrent layers in one loop: the plain loop's spikes bit for bit, its gradients, its counts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sandbox.synapses as synapses
from rules import Trainer
from rules.contract import Batch
from rules.metering import Meter
from rules.spikes.surrogate import Surrogate, differentiating
from sandbox import build
from sandbox.kernels import recurrent, using
from sandbox.kernels.launch import recurrent_ops
from sandbox.networks.population import Population
from sandbox.neurons import ALIF, IN_BRIAN2, LIF, EscapeLIF
from sandbox.neurons.learnable import learnable
from sandbox.synapses import EventLinear

from .conftest import DOUBLE, driven

QUICK = ("lif",)
SPIKING = [
    pytest.param(cls(), id=name, marks=[pytest.mark.slow] * (name not in QUICK))
    for name, cls in IN_BRIAN2.items()
    if cls.differentiable and name != "qif"  # whose upstroke takes longer
]
DT = 0.25


def population(neuron, width=5, bias=True, kind=nn.Linear, dtype=DOUBLE, dt=DT):
    """Cells whose spikes move their neighbours by about the rheobase."""
    rng = torch.Generator().manual_seed(3)
    synapse = kind(width, width, bias=bias, dtype=dtype)
    with torch.no_grad():
        for p in synapse.parameters():
            p.copy_(float(torch.as_tensor(neuron.rheobase).detach().mean()) * torch.randn(p.shape, generator=rng))
    return Population(neuron, dt, synapse)


def answer(mode, cells, currents, record=False, start=None):
    """Everything that comes out, and the gradients of a loss of all of it."""
    x = currents.detach().clone().requires_grad_()
    with using(mode):
        generator = torch.Generator().manual_seed(7)
        with differentiating(generator=generator):
            state, heard = cells.rest(x) if start is None else start
        heard = heard.detach().clone().requires_grad_()
        output, carry, u = cells(x, (state, heard), record)
    weights = torch.linspace(0.5, 1.5, output.numel(), dtype=x.dtype).view_as(output)
    loss = (weights * output).sum() + (carry[1] * weights[0]).sum()
    loss = loss + torch.tanh(getattr(carry[0], "v", output[0]) / 50).sum()
    if u is not None:
        loss = loss + (weights * torch.tanh(u / 50)).sum()
    wanted = [x, heard, *cells.parameters()]
    return output.detach(), carry, u, torch.autograd.grad(loss, wanted)


def same_output(a, b):
    """Spikes are equal; a product of graded outputs is rounded as their place in memory has it."""
    if set(a.unique().tolist()) <= {0.0, 1.0}:
        assert torch.equal(a, b)
    torch.testing.assert_close(b, a, rtol=1e-11, atol=1e-11)


def held(cells, currents, record=False, rtol=1e-10):
    plain, ours = (answer(mode, cells, currents, record) for mode in ("plain", "numba"))
    same_output(plain[0], ours[0])
    assert plain[0].any()
    for name, value in plain[1][0]._asdict().items():
        if value is not None:
            torch.testing.assert_close(getattr(ours[1][0], name), value, rtol=1e-11, atol=1e-11, msg=name)
    same_output(plain[1][1], ours[1][1])
    if record:
        torch.testing.assert_close(ours[2], plain[2], rtol=1e-11, atol=1e-11)
    for a, b in zip(ours[3], plain[3], strict=True):
        assert b.any()
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * float(b.abs().max()))
    return ours


@pytest.mark.parametrize("neuron", SPIKING)
def test_every_neuron(neuron):
    held(population(neuron), driven(neuron, (3, 5)), record=True)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 5), (1, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_shapes(shape, bias):
    held(population(LIF(), bias=bias), driven(LIF(), shape, steps=20))


def test_one_step_and_one_cell():
    for width, steps in ((5, 1), (1, 30)):
        cells = population(LIF(), width)
        plain, ours = (answer(mode, cells, driven(LIF(), (2, width), steps)) for mode in ("plain", "numba"))
        assert torch.equal(plain[0], ours[0])
        for a, b in zip(ours[3], plain[3], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_currents_that_are_not_in_a_row_or_stand_still():
    across = driven(LIF(), (5, 3)).transpose(1, 2)
    held(population(LIF()), across)
    x = torch.full((1, 3, 5), 3.0, dtype=DOUBLE).expand(30, 3, 5)
    cells = population(LIF())
    with using("plain"):
        want = cells(x)[0]
    with using("numba"):
        assert torch.equal(cells(x)[0], want)
    assert want.any()


@pytest.mark.slow
def test_resets_that_are_differentiated_and_another_surrogate():
    with differentiating(Surrogate("triangle"), detach_reset=False):
        held(population(ALIF(reset="subtract")), driven(ALIF(), (3, 5)))


@pytest.mark.slow
def test_learned_parameters_of_all_cells_and_of_each():
    for shape in ((), (5,)):
        neuron = ALIF(tau_mem=learnable(10.0, shape), v_threshold=learnable(1.0))
        held(population(neuron).double(), driven(ALIF(), (3, 5)))


def test_single_precision():
    """Weights sum up errors over steps and samples in another order: 1e-4 of the largest, as for kernels alone."""
    neuron = LIF()
    held(population(neuron, dtype=torch.float32), driven(neuron, (3, 5), dtype=torch.float32), rtol=1e-4)


def test_a_carry_continues_exactly():
    cells, x = population(ALIF()), driven(ALIF(), (3, 5))
    with using("numba"), torch.no_grad():
        whole, _, _ = cells(x)
        first, carry, _ = cells(x[:20])
        second, _, _ = cells(x[20:], carry)
    assert torch.equal(torch.cat([first, second]), whole)


def test_by_events_as_the_plain_loop_by_events():
    with synapses.using("events"):
        cells = population(LIF(), kind=EventLinear)
        held(cells, driven(LIF(), (3, 5)))


def test_events_and_products_agree():
    """The same sums in another order, at membranes that no rounding takes across the threshold."""
    cells, x = population(LIF(), kind=EventLinear), driven(LIF(), (3, 5))
    found = []
    for way in ("dense", "events"):
        with synapses.using(way):
            found.append(answer("numba", cells, x))
    assert torch.equal(found[0][0], found[1][0])
    for a, b in zip(found[0][3], found[1][3], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10 * float(b.abs().max()))


@pytest.mark.parametrize("few", [0.0, 1.0])
def test_by_density_either_way(few, monkeypatch):
    monkeypatch.setattr("sandbox.synapses.linear.WORTH_A_LOOK", 0)
    monkeypatch.setattr("sandbox.kernels.recurrent.WORTH_A_LOOK_IN_A_LOOP", 0)
    monkeypatch.setattr("sandbox.synapses.product.crossover", lambda *shape, **loop: few)
    with synapses.using("auto"):
        held(population(LIF(), kind=EventLinear), driven(LIF(), (3, 5)))


def test_a_density_decides_each_step_as_in_the_plain_loop(monkeypatch):
    monkeypatch.setattr("sandbox.synapses.linear.WORTH_A_LOOK", 0)
    x, ways = driven(LIF(), (3, 5)), []
    true = recurrent_ops.heard
    monkeypatch.setattr(recurrent_ops, "heard", lambda *given: ways.append(1) or true(*given))
    with synapses.using(0.2):
        held(population(LIF(), kind=EventLinear), x)
    assert 0 < len(ways) < len(x)  # some steps each way


@pytest.mark.parametrize(("width", "looked_at"), [(600, True), (100, False)])
def test_one_sample_goes_by_events_where_a_step_is_worth_it(width, looked_at, monkeypatch):
    """Not the weight of one product decides, which transposes it, but that of a step in a loop, which did already."""
    asked, by_events = [], []
    heard = recurrent_ops.heard
    monkeypatch.setattr("sandbox.synapses.product.crossover", lambda *shape, loop=False: asked.append(loop) or 0.2)
    monkeypatch.setattr(recurrent_ops, "heard", lambda *given: by_events.append(1) or heard(*given))
    cells = population(LIF(), width, kind=EventLinear)
    with synapses.using("auto"), using("numba"), torch.no_grad():
        cells(driven(LIF(), (1, width), steps=600, strength=1.0))
    assert all(asked)
    assert len(asked) == looked_at
    assert bool(by_events) == looked_at


def test_threads_change_nothing():
    """By events; how torch's product shares out its sums is torch's."""
    cells, x = population(LIF(), 200, kind=EventLinear), driven(LIF(), (9, 200))
    found = []
    with synapses.using("events"):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with using("numba"), torch.no_grad():
                found.append(cells(x)[0])
    assert torch.equal(*found)


def test_noise_is_that_of_the_plain_loop():
    neuron = EscapeLIF()
    ours = held(population(neuron), driven(neuron, (3, 5)))
    assert 0 < ours[0].mean() < 1


def network():
    return build((4,), 3, ("40r",), LIF(tau_mem=10.0))


def spikes(steps=30, samples=8):
    rng = torch.Generator().manual_seed(0)
    x = (torch.rand(steps, samples, 4, generator=rng) < 0.5).float()
    return Batch(x, torch.arange(samples) % 3)


def test_training_is_counted_as_in_the_plain_loop():
    told = []
    for mode in ("plain", "numba"):
        with using(mode):
            told.append(Trainer(network(), "bptt").step(spikes()))
    assert told[0].cost == told[1].cost
    assert told[0].work == told[1].work
    assert told[0].cost.synaptic_operations > 0 < told[0].work[-1].accumulated


def test_a_meter_sees_every_step(monkeypatch):
    ran = []
    original = recurrent.recurrence
    monkeypatch.setattr(recurrent, "recurrence", lambda *args: ran.append(1) or original(*args))
    model, counted = network(), []
    for mode in ("plain", "numba"):
        with using(mode), Meter(model) as meter:
            model(spikes().x)
        counted.append((meter.operations, meter.conversions, meter.reverse))
    assert counted[0] == counted[1]
    assert ran == [1]


def test_a_hook_that_looks_has_every_step_to_itself():
    cells, x, seen = population(LIF()), driven(LIF(), (3, 5), steps=20), []
    cells.recurrent.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with using("auto"):
        cells(x.expand(20, 3, 5))
    assert len(seen) == 20
    with using("numba"), pytest.raises(RuntimeError, match="a hook reads the recurrent synapse in every step"):
        cells(x)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_another_synapse_runs_in_the_plain_loop(caplog):
    cells, x = population(LIF(), kind=Doubled), driven(LIF(), (40, 5), steps=200)
    with using("plain"):
        want = cells(x)[0]
    with using("auto"):
        assert torch.equal(cells(x)[0], want)
    assert "recurrent synapses of type Doubled" in caplog.text


def test_transforms_of_torch_run_in_the_plain_loop():
    cells, x = population(LIF()), driven(LIF(), (2, 3, 5), steps=20)
    with using("plain"):
        want = cells(x)[0]
    with using("auto"):
        found = torch.func.vmap(lambda x: cells(x)[0], in_dims=1, out_dims=1)(x)
    assert torch.equal(found, want)


def test_errors_in_a_batch():
    cells, x = population(LIF()), driven(LIF(), (3, 5), steps=20)
    errors = torch.randn(4, 20, 3, 5, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    with using("numba"):
        output, weight = cells(x)[0], cells.recurrent.weight

        def of(error):
            return torch.autograd.grad(output, weight, error, retain_graph=True)[0]

        together, alone = torch.func.vmap(of)(errors), [of(error) for error in errors]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=1e-12)
