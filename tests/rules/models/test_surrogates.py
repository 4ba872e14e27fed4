"""Spikes of other libraries, replaced by ours in a pass: the same spikes, our derivative, nothing left behind."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import rules
from rules.models.surrogates import replaced
from rules.spikes.surrogate import Surrogate, differentiating
from tests.peers.zoo import IN, jelly, norse_sequential, present, sequences, sinabs_sequential, snn_sequential


def needed(library):
    if not present(library):
        pytest.skip(f"{library} is not installed: make peers")


def single_spike():
    import sinabs.layers as sl
    from sinabs.activation import SingleSpike

    cell = lambda: sl.LIF(5.0, spike_fn=SingleSpike, norm_input=False)  # noqa: E731
    return nn.Sequential(nn.Linear(IN, 8), cell(), nn.Linear(8, 3), cell())


KINDS = {
    "snntorch": snn_sequential,
    "spikingjelly": jelly,
    "sinabs": single_spike,
}


SCALES = {"snntorch": 0.3, "spikingjelly": 2.0, "sinabs": 0.5}


@pytest.fixture(params=KINDS)
def kind(request):
    needed(request.param)
    return request.param


def built(kind):
    torch.manual_seed(0)
    model = KINDS[kind]()
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.weight.abs_().mul_(SCALES[kind])  # so that all layers fire, now and then
    return model


def test_spikes_are_the_same_and_the_derivative_is_ours(kind):
    x, y = sequences()
    theirs, ours = rules.adapt(built(kind)), rules.adapt(built(kind), surrogate="fast_sigmoid")
    assert torch.equal(theirs(x), ours(x))
    assert theirs(x).sum() > 0
    wide = rules.adapt(built(kind), surrogate=Surrogate("gaussian"))
    slopes = []
    for model in (theirs, ours, wide):
        loss = nn.functional.cross_entropy(model(x).mean(0), y)
        slopes.append(torch.autograd.grad(loss, model.model[0].weight)[0])
    assert not any(torch.allclose(a, b) for a, b in zip(slopes, slopes[1:]))


def test_a_membrane_at_the_threshold_is_theirs_to_decide(kind):
    """One neuron that is driven to its threshold exactly, in one step: silent in snnTorch, firing elsewhere."""
    neuron = next(module for module in KINDS[kind]() if not isinstance(module, nn.Linear))
    x = torch.full((1, 4, 3), 2.0 if kind == "spikingjelly" else 1.0)  # of which SpikingJelly takes one half, 1 / tau
    theirs, ours = (rules.adapt(nn.Sequential(nn.Identity(), neuron), surrogate=s)(x) for s in (None, "triangle"))
    assert torch.equal(theirs, ours)
    assert bool(theirs.any()) == (kind != "snntorch")


def test_a_rule_s_settings_reach_them(kind):
    x, _ = sequences()
    model = rules.adapt(built(kind), surrogate="atan")
    with differentiating(smooth=True) as context:
        smooth = model(x)
    assert context.used
    assert not torch.equal(smooth, smooth.round())


def test_the_model_has_its_own_again(kind):
    model = built(kind)
    before = [dict(module.__dict__) | dict(module._modules) for module in model.modules()]
    with pytest.raises(KeyError), replaced(model, Surrogate("triangle")):
        raise KeyError
    after = [dict(module.__dict__) | dict(module._modules) for module in model.modules()]
    assert [list(each) for each in before] == [list(each) for each in after]
    for old, new in zip(before, after):
        for name in ("spike_grad", "surrogate_function", "spike_fn"):
            assert old.get(name) is new.get(name)


@pytest.mark.slow
def test_forward_gradient_follows_the_surrogate(kind):
    """The mean over draws of the slope along the gradient of bptt with that surrogate, to 3 standard errors.

    snnTorch subtracts a detached reset as our rules do; the others pass gradients through it, so detached is compared.
    """
    x, y = sequences()
    model = rules.adapt(built(kind), surrogate="atan")
    given, objective = rules.Batch(x, y), rules.make("bptt").objective

    def credit(rule, seed):
        return rule.assign(model, objective, given, (), torch.Generator().manual_seed(seed)).grads

    truth = credit(rules.BPTT(), 0)
    goal = torch.cat([g.flatten() for g in truth.values()])
    rule = rules.make("forward_gradient", draws=1).credit
    found = torch.stack([torch.cat([credit(rule, n)[k].flatten() for k in truth]) for n in range(60)]) @ (
        goal / goal.norm()
    )
    assert abs(float(found.mean() - goal.norm())) < 3 * float(found.std()) / 60**0.5


def test_binary_stochastic_finds_bits(kind):
    x, y = sequences()
    model = rules.adapt(built(kind), surrogate="triangle")
    info = rules.Trainer(model, "binary_stochastic", seed=0).step((x / x.max(), y))
    assert info.cost.random_bits > 0


@pytest.mark.parametrize(
    ("library", "build", "said"),
    [
        ("norse", norse_sequential, "cannot replace the spikes of LIF of Norse: Norse chooses its function by a name"),
        ("sinabs", sinabs_sequential, "of LIF of Sinabs: they may be several in a step, and rules.Surrogate gives one; build the "
         "layer with spike_fn=SingleSpike"),
    ],
)  # fmt: skip
def test_spikes_that_ours_cannot_stand_for_are_refused(library, build, said):
    needed(library)
    with pytest.raises(ValueError, match=re.escape(said)):
        rules.adapt(build(), surrogate="triangle")


def test_forward_gradient_says_what_to_do_with_spikes_of_another_library():
    needed("snntorch")
    with pytest.raises(ValueError, match=re.escape("rules.adapt(model, surrogate='triangle')")):
        rules.Trainer(rules.adapt(snn_sequential()), "forward_gradient").step(sequences())
