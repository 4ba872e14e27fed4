"""Steps in units of each matrix and signal: what they are, that they follow its size, and their defaults."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules.check import toy
from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.zero_order import SPSA, CoordinateWise, EvolutionStrategy, ForwardGradient, NodePerturbation
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.relative import ACROSS_SPIKES, LEAST, SMOOTH, scales_of
from rules.objectives.temporal_contrast import TemporalContrast
from rules.synapses import Changes, Constants
from tests.rules.credit.zero_order.nets import QUADRATIC, assign, dice, drawn, flat, inputs, mlp, rms_of

RULES = {
    "spsa": SPSA(draws=2),
    "spsa, thin": SPSA(draws=2, rank=1),
    "evolution": EvolutionStrategy(4, shaping="none"),
    "forward gradient": ForwardGradient(draws=2),
    "nodes": NodePerturbation(draws=2),
    "coordinates": CoordinateWise(step=0.1),
}


def scales(model):
    return scales_of(dict(model.named_parameters()), model.modules())


@given(st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3), st.booleans())
@settings(deadline=None, max_examples=30)
def test_a_scale_is_the_rms_and_no_less_than_a_thousandth_of_all(sizes, zero):
    """A bias has that of its weights, whatever it is itself."""
    model = mlp([3, 4, 5, 2])
    with torch.no_grad():
        for layer, size in zip([s for s in model if isinstance(s, nn.Linear)], sizes, strict=True):
            layer.weight.mul_(size)
            layer.bias.mul_(0.0 if zero else 1e3)
    every = float(torch.cat([p.flatten() for p in model.parameters()]).detach().square().mean().sqrt())
    for name, wanted in rms_of(model, dict(model.named_parameters())).items():
        assert scales(model)[name] == pytest.approx(max(wanted, LEAST * every), rel=1e-12)


def test_what_has_no_size_of_its_own():
    """A matrix of zeros takes a thousandth of all; a model of zeros takes steps of one; a lone parameter is a matrix."""
    model = mlp([3, 4, 2])
    nn.init.zeros_(model[2].weight)
    every = float(torch.cat([p.flatten() for p in model.parameters()]).detach().square().mean().sqrt())
    assert scales(model)["2.weight"] == scales(model)["2.bias"] == pytest.approx(LEAST * every)
    for p in model.parameters():
        nn.init.zeros_(p)
    assert set(scales(model).values()) == {1.0}
    lone = nn.Module()
    lone.bias = nn.Parameter(torch.full((4,), 2.0))
    assert scales(lone) == {"bias": 2.0}
    assert scales_of({}, []) == {}
    rnn = nn.RNN(2, 3)
    both = torch.cat([p.flatten() for n, p in rnn.named_parameters() if n.startswith("weight")])
    assert scales(rnn)["bias_hh_l0"] == pytest.approx(float(both.detach().square().mean().sqrt()))


def test_changes_of_constants_have_the_unit_one_at_every_size():
    """Stored from 0 on, they would have the smallest scale of all, and the largest noise."""
    model = mlp([3, 4, 2])
    before = scales(model)
    model.raw = Changes({"tau": nn.Parameter(torch.zeros(()))})
    model.values = Constants({"filter": nn.Parameter(torch.full((4,), 0.5))})
    assert scales(model) == before | {"raw.tau": 1.0, "values.filter": 0.5}
    with torch.no_grad():
        model.raw["tau"].fill_(30.0)
    assert scales(model)["raw.tau"] == 1.0


def larger(model, factors):
    """The same function of x: the first layer's numbers times a factor, what follows it divided by the same."""
    found = copy.deepcopy(model)
    with torch.no_grad():
        found[0].weight.mul_(factors)
        found[0].bias.mul_(factors)
        found[2].weight.div_(factors)
    return found


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("factor", [0.2, 10.0])
def test_the_loss_is_probed_alike_in_other_units(rule, factor):
    """ReLUs pass a factor on: probes see the same losses, so each gradient is divided by its factor. 1e-9: rounding.

    Biases of the last layer have another scale, because that of its weights changes with the units: there are none.
    """
    parts = nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2, bias=False)
    model, x = drawn(nn.Sequential(*parts)), inputs(5, 3)
    other = larger(model, factor)
    one, two = (assign(rule, each, x).grads for each in (model, other))
    for name, size in (("0.weight", factor), ("0.bias", factor), ("2.weight", 1 / factor)):
        torch.testing.assert_close(two[name] * size, one[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "make",
    [lambda d: ForwardGradient(8, relative=d), lambda d: SPSA(8, step=1e-3, relative=d)],
    ids=["tangents", "spsa"],
)
def test_matrices_of_unlike_sizes_are_estimated_better(make):
    """Weights of 10 in front of weights of 0.1, the mean cosine over 20 steps in the first layer."""
    model, x = larger(mlp([3, 6, 2], nn.ReLU), 10.0), inputs(5, 3)
    true = assign(BPTT(), model, x).grads["0.weight"].flatten()
    found = {
        relative: sum(
            float(
                torch.cosine_similarity(assign(make(relative), model, x, seed=s).grads["0.weight"].flatten(), true, 0)
            )
            for s in range(20)
        )
        / 20
        for relative in (True, False)
    }
    assert found[True] > 2 * found[False]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_precisions_agree(rule):
    """Single precision: 1e-7 of the loss over steps of 0.01, times directions."""
    model, x = mlp([3, 6, 2]), inputs(5, 3)
    wanted = flat(assign(rule, model, x).grads)
    found = flat(assign(rule, copy.deepcopy(model).float(), x.float()).grads).double()
    assert float((found - wanted).norm() / wanted.norm()) < 2e-3


@pytest.mark.parametrize(
    ("rule", "smooth"), [(SPSA(), SMOOTH), (EvolutionStrategy(4), 0.1), (NodePerturbation(1), SMOOTH)], ids=str
)
def test_the_default_depends_on_spikes(rule, smooth):
    """The same bits as with the step by name."""
    name = "step" if isinstance(rule, SPSA) else "sigma"
    for spiking, size in ((True, ACROSS_SPIKES), (False, smooth)):
        named = type(rule)(**{**vars(rule), name: size})
        one, two = (flat(assign(r, toy.leaky(spiking), toy.batch().x).grads) for r in (rule, named))
        assert torch.equal(one, two)


class Quiet(nn.Module):
    """Cells that spike and do not say so."""

    def __init__(self):
        super().__init__()
        self.inner = toy.leaky(spiking=True)

    def forward(self, x):
        return self.inner(x).output


@pytest.mark.parametrize("rule", [SPSA(diff="forward"), NodePerturbation(1), CoordinateWise()], ids=str)
def test_spikes_are_seen_in_the_unperturbed_pass(rule):
    name = "sigma" if isinstance(rule, NodePerturbation) else "step"
    named = type(rule)(**{**vars(rule), name: ACROSS_SPIKES})
    one, two = (flat(assign(r, Quiet(), toy.batch().x).grads) for r in (rule, named))
    assert torch.equal(one, two)


def test_the_objectives_own_parameters_have_a_scale():
    model, batch = toy.leaky(spiking=False), toy.batch()
    asking = Asking(SPSA(), model, TemporalContrast(feature="logits_t", width=3), batch, dice())
    found, held = asking.scales(True), asking.own["objective.head.weight0"].detach()
    assert found.keys() == asking.parameters.keys()
    assert found["objective.head.weight0"] == pytest.approx(float(held.square().mean().sqrt()), rel=1e-6)


def test_silent_uses_have_the_noise_of_their_module():
    """A recurrent weight sees nothing before the first step, and gets the noise of the later ones."""
    from rules.credit.zero_order.flat.nodes import Nodes

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.inward, self.again = nn.Linear(3, 4, bias=False), nn.Linear(4, 4, bias=False)

        def forward(self, x):
            h = torch.zeros(x.shape[1], 4, dtype=x.dtype)
            for now in x:
                h = torch.tanh(self.inward(now) + self.again(h))
            return h

    model = drawn(Loop())
    asking = Asking(NodePerturbation(), model, QUADRATIC, Batch(inputs(3, 5, 3)), dice())
    nodes = Nodes(asking, dict(model.named_parameters()), 0.5, True, torch.float64)
    again = [n for n, call in nodes.calls.items() if call.module is model.again]
    together = torch.cat([nodes.calls[n].z.flatten() for n in again]).square().mean().sqrt()
    assert nodes.sigmas[again[0]] == pytest.approx(0.5 * float(together))
    asking = Asking(NodePerturbation(), model, QUADRATIC, Batch(torch.zeros(3, 5, 3).double()), dice())
    silent = Nodes(asking, dict(model.named_parameters()), 0.5, True, torch.float64)
    assert set(silent.sigmas.values()) == {0.5}
