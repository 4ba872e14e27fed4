"""Networks of every kind in Brian2: 500 steps, spikes in every population, and none of them differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sandbox import LIF, CubaLIF, Delays, LeakyIntegrator, Network, Population, build, calibrate, from_nir, to_nir
from sandbox.networks.calibration import settle
from sandbox.networks.delays import Delayed, DelayedPart, shifted
from sandbox.networks.network import Layer, Residual
from sandbox.networks.parts import Neurons, Stack, Stateless
from sandbox.neurons import ALIF, CobaLIF
from sandbox.reference import from_brian2, to_brian2
from sandbox.reference.affine import affine
from tests.sandbox.reference.test_network_to_brian2 import Delayed as Late

DOUBLE = torch.float64
STEPS = 500
NEURON = LIF(tau_mem=5.0, t_refractory=2.0)


def spikes(*shape, steps=STEPS, samples=2, share=0.3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, samples, *shape, generator=rng) < share).to(DOUBLE)


def ready(network, x, rate=0.1):
    """In float64 and evaluation, with statistics and firing rates of the input."""
    network = network.double()
    calibrate(network, x[:60], rate)
    settle(network, x[:60])
    return network.eval()


def agrees(network, x):
    """The report, in which every population that can fires."""
    report = to_brian2(network).compare(x)
    assert report.passed, str(report)
    assert report.steps == STEPS
    assert min(count for count in report.spikes if count is not None) > 50, "a silent comparison proves nothing"
    assert set(report.differing) == {0}
    return report


def layered(*synapses, shape=(2, 8, 8), neuron=NEURON, rng=0):
    """A network of these synapses, each before cells, and a dense read-out."""
    torch.manual_seed(rng)
    x, layers = torch.zeros(1, *shape), []
    for synapse in synapses:
        layers.append(Layer(synapse, Population(neuron, 1.0)))
        with torch.no_grad():
            x = synapse.eval()(x)
    readout = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 3))
    return Network([*layers, Layer(readout, Population(LeakyIntegrator(), 1.0))], shape)


WORDS = {
    "ALIF, recurrent": ((12,), ("20r", 10), ALIF()),
    "convolution and pool": ((2, 8, 8), ("4c3p2", 10), NEURON),
    "blocks": ((2, 6, 6), ("4x3", "6x3p2", 10), NEURON),
    "norms": ((2, 6, 6), ("4c3bp2", "4x3b", "10b"), NEURON),
    "recurrent, norm": ((12,), ("20rb",), NEURON),
    "sparse": ((12,), ("20s30", "10s50b"), NEURON),
    "delays": ((12,), ("20d6", "10rd4"), NEURON),
    "delays of images": ((2, 6, 6), ("4c3p2d5", "4x3d3", "10d3"), NEURON),
    "conductances, recurrent": ((12,), ("20r", "10r"), CobaLIF(t_refractory=2.0)),
    "two variables, delays": ((12,), ("20rd6",), CubaLIF()),
}
QUICK = ("ALIF, recurrent", "convolution and pool", "blocks", "norms", "delays", "delays of images")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in WORDS])
def test_what_build_makes(name):
    shape, hidden, neuron = WORDS[name]
    x = spikes(*shape)
    agrees(ready(build(shape, 3, hidden, neuron, seed=1), x), x)


SYNAPSES = {
    "stride, padding, dilation": lambda: nn.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2),
    "groups": lambda: nn.Conv2d(2, 4, 3, groups=2, bias=False),
    "other numbers along each axis": lambda: nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=(0, 1)),
    "padding that wraps": lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
    "transposed": lambda: nn.ConvTranspose2d(2, 2, 3, stride=2, padding=3),
    "average with padding": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.AvgPool2d(3, 2, padding=1, count_include_pad=False, ceil_mode=True)
    ),
    "average to a size": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Conv2d(2, 3, 3, padding=1)),
    "several weights": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(128, 16), nn.Sequential(nn.Linear(16, 10), nn.BatchNorm1d(10)), nn.Dropout(0.5)
    ),
    "norm without gain": lambda: nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.Conv2d(2, 3, 3)),
    "maximum": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3)),
    "maximum of maxima": lambda: nn.Sequential(
        nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(8, 10)
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in ("groups", "maximum"))) for n in SYNAPSES]
)
def test_synapses_of_the_input_and_between_spikes(name):
    """Once behind the input and once behind cells, which have its shape."""
    x = spikes(2, 8, 8)
    network = layered(nn.Conv2d(2, 2, 1), SYNAPSES[name]())
    agrees(ready(network, x), x)
    x = spikes(2, 8, 8, share=0.1)
    agrees(ready(layered(SYNAPSES[name]()), x), x)


@pytest.mark.slow
def test_sequences_of_channels_and_volumes():
    x = spikes(2, 12)
    agrees(
        ready(
            layered(nn.Conv1d(2, 4, 3, stride=2), nn.Sequential(nn.MaxPool1d(2), nn.Conv1d(4, 3, 2)), shape=(2, 12)), x
        ),
        x,
    )
    x = spikes(1, 4, 4, 3)
    agrees(ready(layered(nn.Sequential(nn.Conv3d(1, 2, 2), nn.AvgPool3d((1, 2, 1))), shape=(1, 4, 4, 3)), x), x)


def test_a_maximum_is_not_a_sum():
    """Where several spikes of a window come together, a sum would weigh them all: broken on purpose, it is caught."""
    x = spikes(2, 8, 8)
    network = ready(layered(nn.Conv2d(2, 2, 1), nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3))), x, rate=0.2)
    brian = to_brian2(network)
    agrees(network, x)
    summed = build((2, 8, 8), 3, (4,))
    summed.layers = nn.ModuleList(network.layers)
    pooled = network.layers[1].synapse[0]
    network.layers[1].synapse[0] = nn.Sequential(nn.AvgPool2d(2), _Times4())
    report = brian.compare(x, summed)
    network.layers[1].synapse[0] = pooled
    assert report.first.layer == "layers.1"
    assert report.differing[0] == 0


class _Times4(nn.Module):
    def forward(self, x):
        return 4 * x


@pytest.mark.parametrize("clamped", ["", pytest.param(" (unless refractory)", marks=pytest.mark.slow)])
def test_recurrent_conductances_of_compiled_neurons(clamped):
    """Weights of the input and of the cells themselves are added to a conductance, as `on_pre="ge += w"` does."""
    neuron = from_brian2(
        "dv/dt = (-60*mV - v + ge*(0*mV - v)/(10*nS)) / (20*ms) : volt (unless refractory)\n"
        f"dge/dt = -ge / (5*ms) : siemens{clamped}",
        threshold="v > -50*mV",
        reset="v = -60*mV",
        refractory="2*ms",
        method="exponential_euler",
        initial={"v": "-60*mV"},
        jumps="ge",
    )
    network = build((12,), 3, ("20r", 10), neuron, dt=0.5, seed=1)
    x = spikes(12)
    report = agrees(ready(network, x), x)
    assert report.spikes[-1] is None


COBA = """
    dv/dt = (10*nS*(-60*mV - v) + ge*(0*mV - v) + gi*(-80*mV - v)) / (200*pF) : volt (unless refractory)
    dge/dt = -ge / (5*ms) : siemens
    dgi/dt = -gi / (10*ms) : siemens
"""


@pytest.mark.parametrize("kind", ["recurrent, delays", pytest.param("images", marks=pytest.mark.slow)])
def test_two_conductances_with_weights_of_their_own(kind):
    """Each way between populations, and from a population to itself, has synapses to `ge` and others to `gi`."""
    jumps = {"excitation": "ge", "inhibition": "gi"}
    neuron = from_brian2(
        COBA, "v > -50*mV", "v = -60*mV", "5*ms", method="exponential_euler", initial={"v": "-60*mV"}, jumps=jumps
    )
    shape, hidden = ((6,), ("12r", "10rd4")) if kind != "images" else ((1, 6, 6), ("4c3p2", "4x3"))
    network = build(shape, 3, hidden, neuron, LeakyIntegrator(), dt=0.5, seed=0)
    with torch.no_grad():
        for name, p in network.named_parameters():
            if p.ndim > 1:  # a conductance is not negative
                p.abs_().mul_(3.0 if "excitation" in name else 0.2)
    x = spikes(*shape, samples=1)
    network = network.double().eval()
    agrees(network, x)
    names = {thing.name for thing in to_brian2(network).objects(x[:2]).objects}
    assert {"weights_0_excitation", "weights_0_inhibition"} <= names
    assert ("recurrent_1_inhibition" if kind != "images" else "shortcut_2_inhibition") in names


def test_parameters_and_refractory_periods_of_each_cell():
    """Also where a channel of an image shares them."""
    each = LIF(tau_mem=torch.linspace(4.0, 9.0, 20, dtype=DOUBLE), t_refractory=torch.arange(20.0, dtype=DOUBLE) % 4)
    network = build((12,), 3, (20,), each, seed=1)
    x = spikes(12)
    agrees(ready(network, x), x)
    channels = LIF(tau_mem=torch.tensor([3.0, 5.0, 8.0], dtype=DOUBLE).reshape(3, 1, 1))
    x = spikes(2, 6, 6)
    agrees(ready(layered(nn.Conv2d(2, 3, 3), shape=(2, 6, 6), neuron=channels), x), x)


@pytest.mark.parametrize("source", ["input", "membranes"])
def test_delays_of_numbers_that_are_no_spikes(source):
    """A delay line of variables in Brian2: for an input of any numbers, and behind cells that never fire."""
    x = torch.rand(STEPS, 2, 6, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    if source == "input":
        network = build((6,), 3, ("20d6", 10), NEURON, seed=1)
    else:
        network = build((6,), 3, (8, "20d6"), NEURON, seed=1)
        network.layers[0].cells.neuron = LeakyIntegrator(tau_mem=3.0)
    network = ready(network, x)
    brian = to_brian2(network)
    agrees(network, x)
    line = brian.objects(x)[f"line_weights_{int(source != 'input')}"]
    assert sorted(set(np.asarray(line.delay))) == sorted(set(network.layers[source != "input"].delays.whole.tolist()))


def test_one_delay_that_is_a_step_longer_is_caught():
    x = spikes(12)
    network = ready(build((12,), 3, ("20d6", "10d4"), NEURON, seed=1), x)
    brian = to_brian2(network)
    with torch.no_grad():
        delays = network.layers[1].delays
        later = (delays.whole + 1).clamp(max=4)
        network.layers[1].delays = Delays((20,), 4, initial=later).double().eval()
    report = brian.compare(x, network)
    assert report.first.layer == "layers.1"
    assert report.differing[0] == 0


def test_delays_are_those_of_synapses():
    x = spikes(12, steps=20)
    network = ready(build((12,), 3, ("20", "10d4"), NEURON, seed=1), x)
    synapses = to_brian2(network).objects(x)["weights_1"]
    steps = np.rint(np.asarray(synapses.delay) * 1000).astype(int).reshape(2, 10, 20)
    assert np.array_equal(steps, np.broadcast_to(network.layers[1].delays.whole.numpy(), steps.shape))


@pytest.mark.slow
def test_stacks_of_delays_neurons_and_weights():
    """Delays add up; a Flatten in front of them is allowed; and graphs of NIR become stacks."""
    torch.manual_seed(0)
    cells = lambda: Population(NEURON, 1.0)  # noqa: E731
    stack = Stack(
        [
            Layer(nn.Conv2d(2, 3, 3), cells()),
            Delayed(torch.arange(48).reshape(3, 4, 4) % 3),
            Stateless(nn.Flatten()),
            Delayed(torch.arange(48) % 5),
            Stateless(nn.Linear(48, 10)),
            Neurons(cells()),
            Layer(nn.Linear(10, 3), Population(LeakyIntegrator(), 1.0)),
        ],
        (2, 6, 6),
    ).double()
    with torch.no_grad():
        for module in stack.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.mul_(12.0)
    x = spikes(2, 6, 6)
    agrees(stack, x)
    agrees(from_nir(to_nir(stack)), x)


def test_delays_in_front_of_a_maximum():
    x = spikes(2, 8, 8, share=0.1)
    plain = layered(nn.Conv2d(2, 2, 1), nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3)))
    for number, shape in ((0, (2, 1, 1)), (1, (2, 8, 8))):
        steps = torch.arange(float(np.prod(shape))).reshape(shape) % 4
        plain.layers[number] = DelayedPart(Delays(shape, 4, initial=steps), plain.layers[number])
    agrees(ready(plain, x), x)


def test_a_late_part_is_caught_inside_of_a_block():
    x = spikes(2, 6, 6)
    network = ready(build((2, 6, 6), 3, ("4x3",), NEURON, seed=1), x)
    brian = to_brian2(network)
    block = network.layers[0]
    block.layers[0] = Late(block.layers[0].synapse, block.layers[0].cells)
    assert brian.compare(x, network).first.layer == "layers.0.layers.1"


def test_the_shortcut_is_a_way_of_its_own():
    x = spikes(2, 6, 6, steps=5)
    brian = to_brian2(ready(build((2, 6, 6), 3, ("4x3",), NEURON, seed=1), x))
    names = {thing.name for thing in brian.objects(x).objects}
    assert {"cells_0", "cells_1", "weights_0", "weights_1", "shortcut_1"} <= names
    assert [layer.name for layer in brian.layers] == ["layers.0.layers.0", "layers.0.layers.1", "layers.1"]


def test_a_matrix_is_what_its_modules_do():
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2), nn.AvgPool2d(2), nn.BatchNorm2d(3)).double()
    chain(torch.rand(8, 2, 9, 9, dtype=DOUBLE))
    x = torch.rand(1, 2, 9, 9, dtype=DOUBLE)
    found = affine("it", chain.eval(), (2, 9, 9))
    dense = np.zeros((len(found.bias), 162))
    dense[found.edges.post, found.edges.pre] = found.edges.weight
    wanted = chain(x).detach().flatten().numpy()
    np.testing.assert_allclose(dense @ x.flatten().numpy() + found.bias, wanted, rtol=1e-12, atol=1e-12)
    assert (found.edges.weight != 0).all()


class Halved(nn.Module):
    """Linear, and says so."""

    linear = True

    def forward(self, x):
        return x / 2


def test_a_class_of_ones_own_that_says_that_it_is_linear():
    x = spikes(6)
    network = ready(layered(nn.Sequential(Halved(), nn.Linear(6, 10)), shape=(6,)), x)
    agrees(network, x)


def test_a_block_of_one_layer_and_the_identity():
    """The input reaches the only population twice, and its two ways are summed apart."""
    torch.manual_seed(0)
    block = Residual([Layer(nn.Linear(8, 8), Population(NEURON, 1.0))])
    network = Network([block, Layer(nn.Linear(8, 3), Population(LeakyIntegrator(), 1.0))], (8,))
    x = 3 * torch.rand(STEPS, 2, 8, dtype=DOUBLE)
    agrees(ready(network, x), x)
    late, _ = shifted(x, torch.tensor(1), 1)
    assert not to_brian2(network).compare(late, network).differing[0]


def test_a_bias_of_recurrent_weights_is_there_in_every_step():
    torch.manual_seed(0)
    cells = Population(NEURON, 1.0, nn.Linear(10, 10))
    with torch.no_grad():
        cells.recurrent.bias.fill_(0.3)
    network = Network(
        [Layer(nn.Linear(6, 10), cells), Layer(nn.Linear(10, 3), Population(LeakyIntegrator(), 1.0))], (6,)
    )
    x = spikes(6)
    agrees(ready(network, x), x)
