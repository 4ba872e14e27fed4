"""A network in Brian2 fires as ours does, and a network that does not is found out, with the layer."""

from __future__ import annotations

import pytest
import torch
import yaml
from torch import nn

from sandbox import LIF, LeakyIntegrator, Network, build, calibrate
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.networks.network import Layer
from sandbox.networks.population import Population
from sandbox.neurons import ALIF, EscapeLIF, FitzHughNagumo, HodgkinHuxley, Izhikevich, learnable
from sandbox.reference import to_brian2
from sandbox.runs.preparing import prepare
from sandbox.tasks.loader import Loader
from tests.conftest import ROOT


def driven(hidden, neuron, readout=None, dt=1.0, steps=100, samples=4, seed=0, rate=0.1):
    """A calibrated network with biases, and an input that changes at every step."""
    rng = torch.Generator().manual_seed(seed)
    network = build((5,), 3, hidden, neuron, readout, dt=dt, seed=seed)
    x = torch.rand(steps, samples, 5, generator=rng)
    with torch.no_grad():
        for layer in network.layers:
            layer.synapse.bias.normal_(0, 0.1 * layer.cells.neuron.rheobase, generator=rng)
    if rate:
        calibrate(network, x, rate)
    return network, x


@pytest.mark.parametrize("t_refractory", [pytest.param(0.0, marks=pytest.mark.slow), 3.0])
@pytest.mark.parametrize(
    "reset", ["subtract", *(pytest.param(r, marks=pytest.mark.slow) for r in ("to_value", "none"))]
)
@pytest.mark.parametrize("hidden", [(20, 15), ("20r", "15r")], ids=["feed-forward", "recurrent"])
def test_lif_networks_agree(hidden, reset, t_refractory):
    neuron = LIF(
        tau_mem=10.0, v_leak=-65.0, v_threshold=-50.0, v_reset=-70.0, r=10.0, reset=reset, t_refractory=t_refractory
    )
    network, x = driven(hidden, neuron, LeakyIntegrator(v_leak=-1.0))
    report = to_brian2(network).compare(x)
    assert report.passed, str(report)
    assert min(report.spikes[:2]) > 100, "a silent comparison proves nothing"
    assert report.predictions_equal == 4
    assert (report.differing, report.first) == ((0, 0, 0), None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("neuron", "dt"),
    [
        (ALIF(), 1.0),
        (EscapeLIF(t_refractory=2.0), 1.0),
        (Izhikevich(t_refractory=2.0), 0.5),
        (FitzHughNagumo(), 0.5),
        (HodgkinHuxley(), 0.05),
    ],
    ids=["adaptive threshold", "noisy", "two variables", "no units, spikes as crossings", "exponential Euler"],
)
def test_other_neurons_agree(neuron, dt):
    network, x = driven(("12r", 12), neuron, dt=dt, steps=300, samples=2, rate=0)
    report = to_brian2(network).compare(x)
    assert report.passed, str(report)
    assert min(report.spikes[:2]) > 0


@pytest.mark.slow
def test_an_output_that_fires_and_a_hidden_layer_that_does_not():
    """Voltages reach the next layer, and their own, as analog currents."""
    network, x = driven((20,), LIF(tau_mem=5.0), readout=LIF(), rate=0)
    assert to_brian2(network).compare(x).passed
    network = build((5,), 3, ("8r", 6), LeakyIntegrator(v_leak=1.0), LIF())
    report = to_brian2(network).compare(x)
    assert report.passed, str(report)
    assert report.spikes[:2] == (None, None)
    assert report.spikes[2] > 0


def test_images_are_flattened():
    network = build((1, 4, 4), 3, (10,), LIF(tau_mem=5.0))
    x = torch.rand(30, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    report = to_brian2(network).compare(x)
    assert report.passed, str(report)
    assert report.spikes[0] > 0


@pytest.mark.slow
def test_learned_parameters_are_taken_as_they_are_now():
    neuron = LIF(tau_mem=learnable(10.0, shape=(20,)), v_threshold=learnable(1.0))
    network, x = driven((20,), neuron)
    initial = to_brian2(network)
    with torch.no_grad():
        for raw in network.layers[0].cells.learned.parameters():
            raw.copy_(torch.linspace(-0.3, 0.3, 20) if raw.ndim else torch.tensor(0.2))
    report = to_brian2(network).compare(x)
    assert report.passed, str(report)
    assert report.spikes[0] > 100
    assert initial.compare(x).passed
    assert initial.compare(x, network).first.layer == "layers.0"


def test_the_objects_are_brian2s():
    network, x = driven(("20r",), LIF(tau_mem=10.0))
    run = to_brian2(network).run(x)
    assert run.output.shape == (100, 4, 3)
    assert [tuple(layer.shape) for layer in run.layers] == [(100, 4, 20), (100, 4, 3)]
    assert len(run.objects["cells_0"]) == 4 * 20
    weights = torch.from_numpy(run.objects["weights_0"].weight[:] * 1e9).reshape(4, 20, 5)
    assert torch.allclose(weights, network.layers[0].synapse.weight.detach().double().expand(4, -1, -1), rtol=1e-12)
    assert int(run.layers[0].sum()) == run.objects["outputs_0"].num_spikes


class Delayed(Layer):
    """Its output comes a step late."""

    def run(self, x, carry=None, record=False, lengths=None):
        run = super().run(x, carry, record)
        return run._replace(output=torch.cat([torch.zeros_like(run.output[:1]), run.output[:-1]]))


def delayed(network, number):
    broken = Network(list(network.layers), network.shape)
    layer = network.layers[number]
    broken.layers[number] = Delayed(layer.synapse, layer.cells)
    return broken


@pytest.mark.parametrize("number", [pytest.param(number, marks=pytest.mark.slow) for number in (0, 1, 2)])
def test_a_delayed_layer_is_caught_and_named(number):
    network, x = driven((20, "15r"), LIF(tau_mem=10.0))
    report = to_brian2(delayed(network, number)).compare(x)
    assert not report.passed
    assert report.first.layer == f"layers.{number}"
    assert f"first difference in layers.{number} at step" in str(report)
    assert "DOES NOT AGREE" in str(report)


@pytest.mark.parametrize(
    "name",
    [
        "layers.1.cells.recurrent.weight",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("layers.0.synapse.weight", "layers.2.synapse.bias")),
    ],
)
def test_one_changed_number_is_caught_and_its_layer_named(name):
    """The largest weight with the other sign, or a bias that moved by 1 pA."""
    network, x = driven((20, "15r"), LIF(tau_mem=10.0))
    brian = to_brian2(network)
    parameter = dict(network.named_parameters())[name].data
    if name.endswith("bias"):
        parameter[0] += 1e-3
    else:
        parameter.view(-1)[parameter.abs().argmax()] *= -1
    report = brian.compare(x, network)
    assert not report.passed
    assert name.startswith(report.first.layer + ".")


class HardOfHearing(Population):
    """Hears its own spikes of two steps ago."""

    def forward(self, currents, carry=None, record=False):
        state, heard = self.rest(currents)
        outputs = [heard, heard]
        for current in currents:
            output, state = self.neuron.step(current + self.recurrent(outputs[-2]), state, self.dt)
            outputs.append(output)
        return torch.stack(outputs[2:]), None, None


@pytest.mark.slow
def test_recurrent_spikes_that_come_late_are_caught():
    network, x = driven((20, "15r"), LIF(tau_mem=10.0))
    cells = network.layers[1].cells
    network.layers[1].cells = HardOfHearing(cells.neuron, cells.dt, cells.recurrent)
    report = to_brian2(network).compare(x)
    assert report.first.layer == "layers.1"
    assert report.differing[0] == 0


def trained(epochs):
    """Yin-Yang with 30 spiking cells, as in experiments/yinyang.yaml, and all its test samples."""
    plan = yaml.safe_load((ROOT / "experiments" / "yinyang.yaml").read_text())["experiment"]
    experiment = from_dict(Experiment, {**plan, "epochs": epochs, "rule": {"name": "bptt", "options": {"lr": 0.04}}})
    data = experiment.make_task().load()
    trainer, train = prepare(experiment, data)
    list(trainer.fit(train, epochs))
    (x, y, *_), *rest = Loader(data.test, experiment.encoder.make("encoder"), 1000, shuffle=False)
    assert not rest
    return trainer.model, x, y


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
@pytest.mark.slow
def test_a_trained_yinyang_network_gives_the_same_predictions():
    network, x, y = trained(epochs=3)
    report = to_brian2(network).compare(x)
    print(report)
    assert report.passed, str(report)
    assert report.samples == report.predictions_equal == 1000
    output = to_brian2(network).run(x).output
    assert (output.mean(0).argmax(-1) == y).double().mean() > 0.8, "an untrained comparison proves less"


def test_what_brian2_does_not_get_is_named():
    network = build((5,), 3, (4,))
    network.layers.append(Layer(nn.Linear(3, 3), Population(LeakyIntegrator(), dt=2.0)))
    with pytest.raises(ValueError, match="same dt"):
        to_brian2(network)
    with pytest.raises(ValueError, match=r"\[T, B, 5\]"):
        to_brian2(build((5,), 3)).run(torch.zeros(3, 2, 4))
