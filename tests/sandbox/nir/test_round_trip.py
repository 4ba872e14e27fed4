"""A network, written as a graph and read again, is the same network, bit for bit."""

from __future__ import annotations

import warnings

import nir
import numpy as np
import pytest
import torch

from sandbox import LIF, build, from_nir, to_nir
from sandbox.networks.network import Network
from sandbox.networks.population import Population
from sandbox.neurons import ALIF
from tests.sandbox.nir.graphs import DT, NETWORKS, SEVERAL, chained


def written(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return to_nir(net)


def same(a, b):
    """Parts, weights, cells, and outputs for noise that makes most cells fire."""
    assert type(a) is type(b)
    one, two = a.state_dict(), b.state_dict()
    floating = {k: v for k, v in one.items() if v.is_floating_point()}
    assert {k.split(".")[-1] for k in one} == {k.split(".")[-1] for k in two}
    for (key, p), q in zip(floating.items(), (v for v in two.values() if v.is_floating_point()), strict=True):
        assert p.dtype == q.dtype, key
        assert torch.equal(p, q), key
    cells = [[m for m in net.modules() if isinstance(m, Population)] for net in (a, b)]
    for p, q in zip(*cells, strict=True):
        assert type(p.neuron) is type(q.neuron)
        assert p.dt == q.dt
        for key, value in vars(p.present()).items():
            other = getattr(q.present(), key)
            assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, key
    x = 20 * torch.rand(40, 2, *a.shape, generator=torch.Generator().manual_seed(0), dtype=next(a.parameters()).dtype)
    with torch.no_grad():
        out = a(x).output
        assert torch.equal(out, b(x).output)
    assert out.abs().sum() > 0


@pytest.mark.parametrize("name", NETWORKS)
def test_network_to_graph_to_network(name):
    net = NETWORKS[name]()
    same(net, from_nir(written(net)))


@pytest.mark.parametrize("name", NETWORKS)
def test_through_a_file(name, tmp_path):
    net = NETWORKS[name]()
    nir.write(tmp_path / "net.nir", written(net))
    same(net, from_nir(tmp_path / "net.nir"))
    same(net, from_nir(nir.read(tmp_path / "net.nir")))


@pytest.mark.parametrize("kind", SEVERAL)
def test_graph_to_network_to_graph(kind):
    """The resistance has w_in in it, and units may round."""
    node = SEVERAL[kind]
    net = from_nir(chained(node), dt=DT)
    (again,) = [n for n in written(net).nodes.values() if type(n) is type(node)]
    for name in ("tau", "tau_mem", "tau_syn", "v_leak", "v_threshold", "v_reset"):
        if hasattr(node, name):
            np.testing.assert_allclose(getattr(again, name), getattr(node, name), rtol=1e-7)  # of float32
    gain = node.r * getattr(node, "w_in", 1.0)
    np.testing.assert_allclose(again.r * getattr(again, "w_in", 1.0), gain, rtol=1e-7)


def test_a_node_that_was_changed_counts_and_keeps_what_nir_cannot_say():
    graph = written(build((4,), 3, (6,), neuron=LIF(reset="subtract", strict=True)))
    graph.nodes["layers_0_cells"].tau = np.full(6, 0.005)
    cells = from_nir(graph).layers[0].cells.neuron
    assert cells == LIF(tau_mem=5.0, reset="subtract", strict=True)


def test_learned_constants_are_learned_again():
    net = NETWORKS["learned"]()
    with torch.no_grad():
        net.layers[0].cells.learned.raw["tau_mem"].fill_(0.3)
    again = from_nir(written(net))
    assert float(again.layers[0].cells.present().tau_mem) == float(net.layers[0].cells.present().tau_mem)
    assert set(again.layers[0].cells.learned.raw) == {"tau_mem"}


def test_learned_delays_are_learned_again_and_whole_for_others():
    """Other programs read the whole steps of evaluation; ours the numbers that are learned, bit for bit."""
    net = NETWORKS["learned delays of channels"]()
    graph = written(net)
    again = from_nir(graph)
    for part, same_part in zip(net.layers[:-1], again.layers[:-1], strict=True):
        assert torch.equal(part.delays.learned["raw"], same_part.delays.learned["raw"])
        assert same_part.delays.learned["raw"].requires_grad
    shape = (2, 6, 6)
    steps = np.asarray(graph.nodes["layers_0_delays"].delay) / (DT / 1000)
    np.testing.assert_allclose(steps, net.layers[0].delays.whole.expand(shape), atol=1e-9)
    x = torch.rand(9, 2, *shape)
    assert torch.equal(net.eval()(x).output, again.eval()(x).output)
    for node in graph.nodes.values():
        node.metadata.clear()  # as of another program
    bare = from_nir(graph, dt=DT)
    assert "Delayed" in [type(part).__name__ for part in bare.layers]
    assert not [name for name, _ in bare.named_parameters() if "raw" in name]


def test_what_nir_cannot_say_is_warned_of():
    net = build((4,), 3, (6,), neuron=LIF(reset="subtract", t_refractory=2.0))
    with pytest.warns(
        UserWarning, match="node 'layers_0_cells': reset='subtract', t_refractory=2 cannot be said in NIR"
    ):
        to_nir(net)


def test_a_plain_network_is_written_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = to_nir(build((4,), 3, (6,)))
    lif = graph.nodes["layers_0_cells"]
    assert (lif.tau == 0.02).all()
    assert lif.tau.shape == (6,)


def test_other_schemes_take_another_step_and_keep_the_reset():
    graph = written(build((4,), 3, (6,), neuron=LIF(reset="subtract", t_refractory=3.0), dt=1.0))
    cells = from_nir(graph, scheme="euler").layers[0].cells.neuron
    assert (cells.reset, cells.t_refractory) == ("subtract", 3.0)
    assert np.exp(-1.0 / cells.tau_mem) == pytest.approx(1 - 1 / 20)


class TestRefused:
    def test_a_neuron_without_a_node(self):
        with pytest.raises(
            ValueError, match="layers_0_cells is made of ALIF, for which NIR has no node: build the net"
        ):
            to_nir(build((4,), 3, (6,), neuron=ALIF()))

    def test_a_module_without_a_node(self):
        message = "layers_0_synapse_1 is a BatchNorm1d, for which NIR has no node: build the network without b"
        with pytest.raises(ValueError, match=message):
            to_nir(build((4,), 3, ("6b",)))

    def test_another_module_without_a_node(self):
        net = build((4,), 3, (6,))
        net.layers[0].synapse = torch.nn.Tanh()
        with pytest.raises(ValueError, match="layers_0_synapse is a Tanh, .* replace it by one of AvgPool2d, Conv1d"):
            to_nir(net)

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            (torch.nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), "pads with 'circular', and NIR with zeros"),
            (torch.nn.AvgPool2d(2, ceil_mode=True), "averages with ceil_mode"),
            (torch.nn.AvgPool2d(2, divisor_override=1), "averages with .*divisor_override"),
            (torch.nn.AvgPool2d(2, padding=1, count_include_pad=False), "averages with .*without its padding"),
            (torch.nn.Flatten(0), "flattens from axis 0, the batch among them: start_dim=1"),
        ],
    )
    def test_an_option_that_no_node_has(self, module, message):
        from sandbox.networks.parts import Stack, Stateless

        with pytest.raises(ValueError, match=message):
            to_nir(Stack([Stateless(module)], (2, 8, 8)))

    def test_a_model_that_is_no_network(self):
        with pytest.raises(ValueError, match=r"the network is a Linear; wanted one of sandbox.build"):
            to_nir(torch.nn.Linear(2, 3))

    def test_a_part_of_another_kind(self):
        from sandbox.networks.parts import Stack, Whole

        class Mean(Whole):
            def forward(self, x):
                return x

        with pytest.raises(ValueError, match="layers_0 is a Mean, for which NIR has no node"):
            to_nir(Stack([Mean(None)], (4,)))

    def test_several_time_steps(self):
        a, b = build((4,), 3, (6,), dt=1.0), build((6,), 3, (6,), dt=2.0)
        with pytest.raises(ValueError, match="populations have time steps of 1, 2 ms: give them one"):
            to_nir(Network([a.layers[0], b.layers[0]], (4,)))

    def test_a_delay_without_neurons(self):
        from sandbox.networks.delays import Delayed
        from sandbox.networks.parts import Stack

        with pytest.raises(ValueError, match="layers_0 delays by steps, and without neurons nobody knows how long"):
            to_nir(Stack([Delayed(torch.tensor(2))], (4,)))

    def test_a_block_without_weights(self):
        from sandbox.networks.network import Layer, Residual

        block = Residual([Layer(torch.nn.Identity(), Population(LIF(), 1.0))])
        with pytest.raises(ValueError, match="layers_0 has no weights beside its shortcut"):
            to_nir(Network([block], (4,)))
