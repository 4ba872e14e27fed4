"""Rules on models of other libraries as they come and adapted: they train, are refused, or a warning is given."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

import rules
from rules.models.admission import ModelWarning, UnfitModel
from tests.peers.zoo import ZOO, jelly_convolutional, lazy, perceptron, present, snn_sequential, static

BY_NAME = {entry.name: entry for entry in ZOO}
STATEFUL = {  # as they come, with the library that the message names
    "snnTorch Sequential, init_hidden, output=False": "snnTorch",
    "snnTorch loop, reset forgotten": "snnTorch",
    "SpikingJelly Sequential, step mode m": "SpikingJelly",
    "SpikingJelly convolutional, step mode m": "SpikingJelly",
    "Sinabs Sequential, B = T": "Sinabs",
}
UNCALLABLE = {
    "snnTorch Sequential, init_hidden, output=True": "snnTorch",
    "Norse SequentialState": "Norse",
    "Sinabs convolutional, squeezed": "Sinabs",
}


def built(name):
    entry = BY_NAME[name]
    if not present(entry.library):
        pytest.skip(f"{entry.library} is not installed: make peers")
    torch.manual_seed(0)
    return entry.build(), entry.data()


@pytest.mark.parametrize("name", STATEFUL)
def test_a_model_that_keeps_state_is_refused_with_the_line_that_adapts_it(name):
    """Also where its neurons are silent at first, so that its output shows nothing of the state."""
    model, data = built(name)
    for rule in ("spsa", "node_perturbation"):
        with pytest.raises(UnfitModel, match=rf"neurons of {STATEFUL[name]}, .*: model = rules.adapt\(model\)\."):
            rules.Trainer(model, rule).step(data)
    with pytest.warns(ModelWarning, match=rf"neurons of {STATEFUL[name]}, keeps state"):
        rules.Trainer(model, "bptt", health=rules.Health(every=0)).step(data)


@pytest.mark.parametrize("name", UNCALLABLE)
def test_a_model_that_cannot_be_called_is_refused_with_the_line_that_adapts_it(name):
    model, data = built(name)
    for rule in ("bptt", "spsa", "forward_gradient"):
        with pytest.raises(
            UnfitModel, match=rf"of {UNCALLABLE[name]}, cannot be called .*model = rules.adapt\(model\)"
        ):
            rules.Trainer(model, rule).step(data)


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
@pytest.mark.parametrize(
    "name",
    [
        "SpikingJelly convolutional, step mode m",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("SEW-ResNet18", "Spikformer-ti")),
    ],
)
def test_large_models_of_several_steps_train(name):
    model, data = built(name)
    trainer = rules.Trainer(rules.adapt(model), "bptt")
    infos = [trainer.step(data) for _ in range(12)]
    assert min(info.loss for info in infos[6:]) < 0.97 * infos[0].loss
    assert infos[0].work
    assert not any(each.note for each in infos[0].work)


def test_one_bit_signals_are_read_from_images_with_time_in_an_axis_of_its_own():
    """As many reads as the same images folded into one axis."""
    from spikingjelly.activation_based import layer

    from rules.credit.binary_stochastic.wires import reads, reads_back

    rng = torch.Generator().manual_seed(0)
    conv = layer.Conv2d(2, 4, 3, padding=1, groups=2, step_mode="m")
    x = (torch.rand(3, 5, 2, 6, 6, generator=rng) < 0.4).float()
    error = torch.randint(-1, 2, (3, 5, 4, 6, 6), generator=rng).float()
    folded = nn.Conv2d(2, 4, 3, padding=1, groups=2)
    assert reads(conv, x) == reads(folded, x.flatten(0, 1))
    assert reads_back(conv, error, x.shape) == reads_back(folded, error.flatten(0, 1), x.flatten(0, 1).shape)


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
@pytest.mark.parametrize("rule", rules.RULES)
def test_lazy_layers_under_every_rule(rule):
    """In the shape that the first batch gives them; refused in words by rules of bits or cells, and by views of sequences."""
    torch.manual_seed(0)
    trainer = rules.Trainer
    if rule.startswith("binary_stochastic"):
        with pytest.raises(rules.contract.MissingNeed, match="bits: hidden layers that put out zeros and ones"):
            trainer(lazy(), rule)
        return
    if "cells" in rules.make(rule).needs:
        with pytest.raises(rules.contract.MissingNeed, match="cells: layers made of `synapse` and `cells`"):
            trainer(lazy(), rule)
        return
    if "carry" in rules.make(rule).needs:
        with pytest.raises(rules.contract.MissingNeed, match="carry: `forward"):
            trainer(lazy(), rule)
        return
    model = lazy()
    assert trainer(model, rule).step(static()).loss > 0
    assert not any(isinstance(p, nn.UninitializedParameter) for p in model.parameters())


@pytest.mark.skipif(not present("snntorch"), reason="snntorch is not installed: make peers")
def test_a_copy_that_the_library_cannot_reset_is_refused():
    """snnTorch's `utils.reset` goes through a list of the neurons that were made, and a copy was not made."""
    model = copy.deepcopy(snn_sequential(output=False))
    x, y = torch.full((6, 9, 5), 4.0), torch.arange(9) % 3
    with pytest.raises(UnfitModel, match="neurons of snnTorch, keeps state"):
        rules.Trainer(model, "spsa").step((x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        rules.Trainer(rules.adapt(model), "spsa", health=rules.Health(every=0)).step((x, y))


@pytest.mark.skipif(not present("spikingjelly"), reason="spikingjelly is not installed: make peers")
def test_silent_neurons_with_a_state_are_seen():
    x, y = torch.full((4, 9, 1, 6, 6), 0.01), torch.arange(9) % 3
    model = jelly_convolutional()
    assert rules.models.questions.ask(model, rules.Batch(x, y)).stateless is False
    assert rules.models.questions.ask(rules.adapt(model), rules.Batch(x, y)).stateless


@pytest.mark.skipif(not present("snntorch"), reason="snntorch is not installed: make peers")
@pytest.mark.parametrize("rule", ["forward_gradient", "bptt"])
def test_how_a_model_is_called_does_not_depend_on_the_rule_that_calls_it_first(rule):
    """Whose pass may carry directions of forward mode, which the look at the model's calls is not to see."""
    entry = BY_NAME["snnTorch loop, utils.reset first"]
    model = rules.adapt(entry.build(), surrogate="triangle")
    rules.Trainer(model, rule, health=rules.Health(every=0), confirm=False).step(entry.data())
    assert "loops over time by itself: a neuron was called 6 times in a pass" in repr(model)


@pytest.mark.parametrize("wrap", [lambda model: torch.compile(model, backend="eager"), nn.DataParallel])
def test_nodes_of_a_wrapped_model_are_those_of_the_model(wrap):
    """In a compiled graph no hook would fire, and there would be no node."""
    found = []
    for around in (wrap, lambda model: model):
        torch.manual_seed(0)
        trainer = rules.Trainer(around(perceptron()), "node_perturbation", health=rules.Health(every=0))
        found.append([trainer.step(static()).loss for _ in range(3)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 3
