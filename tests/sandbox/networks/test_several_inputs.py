"""Networks of neurons with several inputs: shapes, initial weights, gradients, what rules are told."""

import math

import pytest
import torch
from torch import nn

import rules
import sandbox
from sandbox.networks.kinds import kind_of
from sandbox.networks.network import Layer, Network
from sandbox.networks.population import Population
from sandbox.neurons import LIF
from sandbox.synapses.by_input import ByInput

b2 = pytest.importorskip("brian2")
COBA = """
dv/dt = (10*nS*(-60*mV - v) + ge*(0*mV - v) + gi*(-80*mV - v)) / (200*pF) : volt (unless refractory)
dge/dt = -ge / (5*ms) : siemens
dgi/dt = -gi / (10*ms) : siemens
"""


@pytest.fixture(scope="module")
def cell():
    return sandbox.from_brian2(
        COBA,
        "v > -50*mV",
        "v = -60*mV",
        "5*ms",
        method="exponential_euler",
        initial={"v": "-60*mV"},
        jumps={"excitation": "ge", "inhibition": "gi"},
    )


X = torch.rand(40, 8, 6, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("hidden", [(12,), ("12r", "12b"), ("12s50",)])
def test_a_network_learns_weights_of_each_input(cell, hidden):
    net = sandbox.build((6,), 3, hidden, cell, seed=0).double()
    assert isinstance(net.layers[0].synapse, ByInput)
    run = net(X)
    assert run.output.shape == (40, 8, 3)
    (run.output - 1).square().sum().backward()
    for name, p in net.named_parameters():
        if "inputs.excitation" in name and not name.endswith("bias"):
            assert p.grad is not None, name
            assert p.grad.abs().sum() > 0, name


def test_initial_weights_have_the_scale_of_their_input(cell):
    net = sandbox.build((400,), 3, (300,), cell, seed=0)
    for name, rheobase in zip(cell.inputs, cell.rheobase.tolist(), strict=True):
        found = float(net.layers[0].synapse.inputs[name].weight.std())
        assert found == pytest.approx(3 * rheobase / math.sqrt(400), rel=0.02)


def test_images_and_residual_blocks(cell):
    net = sandbox.build((1, 8, 8), 3, ("4c3p2", "4x3"), cell, seed=0).double()
    assert net(torch.rand(5, 2, 1, 8, 8).double()).output.shape == (5, 2, 3)


def test_currents_add_up_per_input(cell):
    """A layer of two synapses is the cell driven by their currents, recurrent weights included."""
    torch.manual_seed(0)
    synapse = ByInput({name: nn.Linear(6, 4, bias=False) for name in cell.inputs}).double()
    recurrent = ByInput({name: nn.Linear(4, 4, bias=False) for name in cell.inputs}).double()
    for p in (*synapse.parameters(), *recurrent.parameters()):
        p.data = p.data.abs() * 0.01
    layer = Layer(synapse, Population(cell, 0.5, recurrent))
    found = layer(X)
    state, shown = cell.initial_state((8, 4), X), X.new_zeros(8, 4)
    for x, expected in zip(X, found, strict=True):
        current = torch.stack(
            [x @ synapse.inputs[n].weight.T + shown @ recurrent.inputs[n].weight.T for n in cell.inputs], -1
        )
        shown, state = cell.step(current, state, 0.5)
        assert torch.equal(shown, expected)
    assert found.sum() > 20


def test_rules_that_need_one_weight_for_each_cell_refuse(cell):
    net = sandbox.build((6,), 3, (12,), cell)
    assert net.offers == {"gradient", "bits", "carry"}
    with pytest.raises(ValueError, match="has several inputs \\(excitation, inhibition\\), so that no single weight"):
        rules.Trainer(net, "eprop")
    trained = rules.Trainer(net, "bptt", seed=0, health=None)
    before = [p.clone() for p in net.parameters()]
    trained.step((X.float(), torch.arange(8) % 3))
    assert any(not torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))


def test_synapses_of_other_inputs_are_refused(cell):
    lines = {"inhibition": nn.Linear(6, 4), "excitation": nn.Linear(6, 4)}
    with pytest.raises(ValueError, match="synapses are inhibition, excitation, and CompiledNeuron has the inputs exc"):
        Layer(ByInput(lines), Population(cell, 0.5))
    with pytest.raises(ValueError, match="and LIF has one input"):
        Layer(ByInput(lines), Population(LIF(), 0.5))
    with pytest.raises(ValueError, match="there are no synapses"):
        ByInput({})
    with pytest.raises(ValueError, match=r"return shapes \[\(2, 4\), \(2, 5\)\]: they drive the same cells"):
        ByInput({"a": nn.Linear(6, 4), "b": nn.Linear(6, 5)})(torch.zeros(2, 6))
    with pytest.raises(ValueError, match="end in an axis of 4; CompiledNeuron has 2 inputs"):
        Network([Layer(nn.Linear(6, 4), Population(cell, 0.5))], (6,))(torch.zeros(3, 2, 6))
    with pytest.raises(ValueError, match="has several inputs .* the cells of this model have one each"):
        kind_of(cell, LIF())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": "30"}, r"hidden='30': give the layers as a sequence, \('30',\)"),
        ({"hidden": 30}, r"hidden=30: give the layers as a sequence, \(30,\)"),
        ({"neuron": "lif"}, r"neuron='lif': give a neuron, such as sandbox.LIF\(\)"),
        ({"neuron": LIF}, "neuron=<class .*: give a neuron"),
        ({"readout": "lif"}, "readout='lif': give a neuron"),
        ({"dt": 0.1 * b2.ms}, "dt="),
    ],
)
def test_what_build_is_given(options, message):
    with pytest.raises(ValueError, match=message):
        sandbox.build((4,), 3, **options)


def test_times_and_inputs_of_other_kinds():
    with pytest.raises(ValueError, match=r"dt=100. us: give a positive time step in ms, as a plain number"):
        sandbox.scan(LIF(), torch.zeros(5, 2), dt=0.1 * b2.ms)
    found = sandbox.reference.to_brian2(sandbox.build((4,), 3, (5,)))
    with pytest.raises(ValueError, match=r"input has shape \(5, 2, 5\); wanted \[T, B, 4\]"):
        found.compare(torch.zeros(5, 2, 5))
    with pytest.raises(ValueError, match="input is a ndarray; wanted a tensor"):
        found.compare(torch.zeros(5, 2, 4).numpy())


def test_cells_of_another_number_than_their_constants():
    net = sandbox.build((4,), 3, (7,), neuron=LIF(tau_mem=torch.linspace(5.0, 15.0, 5)))
    with pytest.raises(ValueError, match=r"LIF.tau_mem has shape \(5,\), and the cells have \(2, 7\)"):
        net(torch.rand(10, 2, 4))
