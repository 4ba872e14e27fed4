"""Graphs that cannot be a network here: the message names the node and says what to do."""

from __future__ import annotations

import dataclasses

import h5py
import nir
import numpy as np
import pytest
import torch

from sandbox import LIF, build, from_nir, to_nir
from sandbox.networks.network import Residual
from tests.sandbox.nir.graphs import DT, SEVERAL, chained, full


def graph(nodes, edges, size=3):
    ends = {"input": nir.Input({"input": np.array([size])}), "output": nir.Output({"output": np.array([size])})}
    return nir.NIRGraph(ends | nodes, edges, type_check=False)


def line(*names):
    return list(zip(("input", *names), (*names, "output")))


def square(name="w"):
    return {name: nir.Linear(np.eye(3))}


def neuron(name="lif"):
    return {name: SEVERAL["LIF"]}


def refused(given, message, **how):
    with pytest.raises(ValueError, match=message):
        from_nir(given, **({"dt": DT} | how))


class TestNodes:
    def test_unknown(self):
        @dataclasses.dataclass(eq=False)
        class Resonator(nir.NIRNode):
            r: np.ndarray

            def __post_init__(self):
                self.input_type = self.output_type = {"input": np.array(self.r.shape)}

        refused(
            graph({"odd": Resonator(np.ones(3))}, line("odd")),
            "node 'odd' is a Resonator, which has no counterpart here; these have: Affine, AvgPool2d",
        )

    @pytest.mark.parametrize(
        ("kind", "key"), [("LIF", "tau"), ("CubaLIF", "tau_syn"), ("LI", "tau"), ("CubaLI", "tau_mem")]
    )
    @pytest.mark.parametrize("value", [0.0, -0.01, np.nan])
    def test_a_time_constant_that_is_not_positive(self, kind, key, value):
        old = SEVERAL[kind]
        given = {f.name: getattr(old, f.name) for f in dataclasses.fields(old) if f.init and f.name != "metadata"}
        node = type(old)(**given | {key: full(value)})
        refused(graph({"cell": node}, line("cell")), f"{key} of node 'cell' is .* s: give a positive time constant")

    def test_a_resistance_that_is_not_positive(self):
        refused(graph({"cell": nir.I(full(-1.0))}, line("cell")), "node 'cell': r=.*: give a positive number in Mohm")

    def test_parameters_of_another_shape(self):
        given = graph({"cell": nir.I(full(1.0, 4))}, line("cell"))
        refused(given, r"r of node 'cell' has shape \(4,\), and what arrives has \(3,\): give one number for each cell")

    def test_weights_of_another_shape(self):
        given = graph({"w": nir.Linear(np.ones((2, 4)))}, line("w"))
        refused(given, r"node 'w' has weights \(2, 4\), and what arrives has shape \(3,\): check the weights")

    def test_an_image_into_dense_weights(self):
        given = chained(nir.Linear(np.ones((2, 6))), shape=(2, 3))
        refused(given, r"node 'n0' has weights \(2, 6\), .* shape \(2, 3\): flatten it first, with nir.Flatten")

    def test_a_convolution_without_a_shape(self):
        conv = nir.Conv2d(None, np.ones((1, 1, 2, 2)), 1, 0, 1, 1, np.zeros(1))
        given = nir.NIRGraph(
            {"input": nir.Input({"input": None}), "conv": conv, "output": nir.Output({"output": None})},
            [("input", "conv"), ("conv", "output")],
            type_check=False,
        )
        refused(
            given, r"node 'input' has no shape, and that of a Conv \(input_shape\) may follow .* nir.Input\(input_type"
        )
        given.nodes["input"] = nir.Input({"input": np.array([1, 4, 4])})
        assert from_nir(given, dt=DT)(torch.ones(2, 1, 1, 4, 4)).output.shape == (2, 1, 1, 3, 3)

    def test_a_convolution_of_another_shape(self):
        conv = nir.Conv2d((5, 5), np.ones((1, 1, 2, 2)), 1, 0, 1, 1, np.zeros(1))
        refused(chained(conv, shape=(1, 4, 4)), r"node 'n0' has input_shape \(5, 5\), and what arrives has \(4, 4\)")
        refused(chained(conv, shape=(4,)), r"node 'n0' is nir.Conv2d, .* has shape \(4,\); wanted \(C, H, W\)")

    def test_a_convolution_of_other_channels(self):
        conv = nir.Conv2d(None, np.ones((1, 3, 2, 2)), 1, 0, 1, 1, np.zeros(1))
        refused(chained(conv, shape=(2, 4, 4)), r"what arrives at node 'n0' has shape \(2, 4, 4\), which does not fit")

    def test_a_delay_between_steps(self):
        given = chained(nir.Delay(np.array([0.0, 0.0012])))
        refused(given, "node 'n0' delays by 0 to 2.4 steps of 0.5 ms: delays are whole numbers of steps")
        refused(chained(nir.Delay(np.array([-0.001]))), "node 'n0' has delays of -2 to -2 steps: give 0 or more")

    def test_a_delay_of_another_shape(self):
        refused(
            chained(nir.Delay(np.zeros(2)), shape=(3,)), r"delay of node 'n0' has shape \(2,\), .* arrives has \(3,\)"
        )


class TestEdges:
    def test_a_loop_without_a_neuron(self):
        given = graph(square("a") | square("b"), [*line("a"), ("a", "b"), ("b", "a")])
        refused(given, "the loop a -> b -> a has no neuron, and would need itself in the same step: put one in it")

    def test_a_loop_through_several_neurons(self):
        nodes = neuron("one") | neuron("two") | square()
        given = graph(nodes, [*line("one", "two"), ("two", "w"), ("w", "one")])
        refused(given, "the loop .* passes through 2 neurons: one, two; a population here hears itself alone")

    def test_a_loop_without_weights(self):
        given = graph(neuron(), [*line("lif"), ("lif", "lif")])
        refused(given, r"node 'lif' hears itself without weights: put nir.Linear\(numpy.eye\(n\)\) between")

    def test_a_loop_with_a_delay(self):
        nodes = neuron() | square() | {"late": nir.Delay(np.full(3, 0.001))}
        given = graph(nodes, [*line("lif"), ("lif", "late"), ("late", "w"), ("w", "lif")])
        refused(given, r"passes through 'w' \(Linear\), 'late' \(Delay\); one Linear or Affine .* without a Delay")

    def test_weights_of_a_loop_with_other_edges(self):
        nodes = neuron() | square()
        given = graph(nodes, [("input", "w"), ("w", "lif"), ("lif", "w"), ("lif", "output")])
        refused(given, "node 'w' leads from 'lif' back to it, and has other edges, too: copy it")

    def test_a_loop_of_images(self):
        nodes = {"if": nir.IF(np.ones((2, 3)), np.ones((2, 3))), "w": nir.Linear(np.eye(3))}
        given = graph(nodes, [*line("if"), ("if", "w"), ("w", "if")])
        given.nodes["input"] = nir.Input({"input": np.array([2, 3])})
        refused(given, r"node 'w' leads back to 'if', of shape \(2, 3\): flatten in front of it")

    def test_an_edge_to_nowhere(self):
        refused(
            graph(neuron(), [*line("lif"), ("lif", "off")]),
            "the edge 'lif' -> 'off' names 'off', which is not among its nodes",
        )

    def test_an_edge_twice(self):
        refused(graph(neuron(), [*line("lif"), ("input", "lif")]), "the edge 'input' -> 'lif' is there twice")

    def test_several_inputs_or_outputs(self):
        more = {"other": nir.Input({"input": np.array([3])})}
        refused(
            graph(neuron() | more, [*line("lif"), ("other", "lif")]), "the graph has 2 inputs: input, other; wanted one"
        )
        more = {"other": nir.Output({"output": np.array([3])})}
        refused(
            graph(neuron() | more, [*line("lif"), ("lif", "other")]), "the graph has 2 outputs: output, other; want"
        )

    def test_a_subgraph_with_several(self):
        inner = graph(neuron() | {"other": nir.Input({"input": np.array([3])})}, [*line("lif"), ("other", "lif")])
        refused(graph({"part": inner}, line("part")), "subgraph 'part' has 2 inputs and 1 outputs; wanted one each")

    def test_a_node_beside_the_way(self):
        refused(graph(neuron() | square(), line("lif")), "no way from input to output passes through 'w': connect or")
        refused(graph({}, []), "no way from input to output passes through 'output'")

    def test_nothing_between(self):
        refused(graph({}, [("input", "output")]), "the graph has no node between input and output: give it one")

    def test_three_branches(self):
        nodes = neuron() | square("a") | square("b") | square("c")
        edges = [(x, y) for one in "abc" for x, y in (("input", one), (one, "lif"))]
        refused(
            graph(nodes, [*edges, ("lif", "output")]), "3 edges leave node 'input': a, b, c; two of them can be a block"
        )

    def test_branches_that_meet_elsewhere(self):
        nodes = square("a") | square("b") | square("c")
        edges = [("input", "a"), ("input", "b"), ("a", "c"), ("b", "c"), ("c", "output")]
        refused(graph(nodes, edges), "2 edges meet at node 'c', which is a Linear: two can meet, at a neuron")

    def test_two_branches_with_neurons(self):
        nodes = neuron("a") | neuron("b") | neuron("c")
        edges = [("input", "a"), ("input", "b"), ("a", "c"), ("b", "c"), ("c", "output")]
        refused(
            graph(nodes, edges), "both ways from node 'input' to 'c' pass through neurons or delays: one of them can"
        )

    def test_a_branch_that_branches(self):
        nodes = neuron() | square("a") | square("b") | square("c")
        edges = [
            ("input", "a"),
            ("a", "b"),
            ("a", "c"),
            ("b", "lif"),
            ("c", "lif"),
            ("input", "lif"),
            ("lif", "output"),
        ]
        refused(graph(nodes, edges), "2 edges leave node 'a', which is on one of two ways from 'input': a branch of a")

    def test_blocks_that_overlap(self):
        nodes = neuron("one") | neuron("two") | square("a") | square("b")
        edges = [("input", "a"), ("a", "one"), ("input", "b"), ("b", "two"), ("one", "two"), ("two", "output")]
        given = graph(nodes | square("c"), [*edges, ("input", "c"), ("c", "one")])
        refused(given, "3 edges leave node 'input'")
        edges = [("input", "a"), ("a", "one"), ("one", "two"), ("input", "two"), ("two", "output")]
        assert isinstance(
            from_nir(graph(neuron("one") | neuron("two") | square("a"), edges), dt=DT).layers[0], Residual
        )

    def test_branches_of_other_shapes(self):
        nodes = {"a": nir.Linear(np.ones((3, 3))), "b": nir.Linear(np.ones((2, 3)))} | neuron()
        edges = [("input", "a"), ("a", "lif"), ("input", "b"), ("b", "lif"), ("lif", "output")]
        refused(graph(nodes, edges), r"signals of shapes \(3,\) and \(2,\) meet at node 'lif': make them alike")

    def test_a_delay_inside_of_a_block(self):
        nodes = neuron() | square("a") | {"late": nir.Delay(np.full(3, 0.001))}
        edges = [("input", "a"), ("a", "late"), ("late", "lif"), ("input", "lif"), ("lif", "output")]
        refused(
            graph(nodes, edges), "node 'late' is a Delay inside of a block with a shortcut: put it in front of both"
        )


class TestOptions:
    def test_an_unknown_scheme(self):
        refused(
            graph(neuron(), line("lif")),
            "unknown scheme 'snntorc'; nearest: 'snntorch'; valid: exact",
            scheme="snntorc",
        )

    def test_an_unknown_reset(self):
        refused(graph(neuron(), line("lif")), "unknown reset 'zero'; .*valid: to_value, subtract", reset="zero")

    def test_no_time_step(self):
        refused(graph(neuron(), line("lif")), "scheme='exact' needs a time step, .*: give dt in ms", dt=None)
        refused(graph(neuron(), line("lif")), "dt=-1.0: give a positive time step in ms", dt=-1.0)

    def test_a_time_constant_below_the_step_of_euler(self):
        refused(
            graph(neuron(), line("lif")),
            "tau of node 'lif' is 4..20 ms, and forward Euler .* at least dt=5 ms: use a shorter dt, or scheme='exact'",
            dt=5.0,
            scheme="euler",
        )

    def test_a_node_that_an_exporter_does_not_write(self):
        given = graph({"li": SEVERAL["LI"]}, line("li"))
        refused(
            given,
            r"node 'li' is nir.LI, which this exporter does not write \(it writes CubaLIF, LIF\)",
            scheme="snntorch",
        )

    def test_a_read_out_behind_a_synapse_in_steps_of_euler(self):
        given = graph({"li": SEVERAL["CubaLI"]}, line("li"))
        refused(
            given, "node 'li' is nir.CubaLI, of which there is the exact step alone: use scheme='exact'", scheme="euler"
        )

    def test_a_membrane_without_memory_and_a_late_reset(self):
        node = nir.LIF(full(1e-4), full(1.0), full(0.0), full(1.0))
        given = graph({"lif": node}, line("lif"))
        refused(
            given, "node 'lif' forgets its membrane within a step, .*: use reset='subtract'", scheme="snntorch", dt=0.1
        )
        x = torch.tensor([0.5, 1.5, 0.9]).reshape(3, 1, 1).expand(3, 1, 3)
        assert from_nir(given, scheme="snntorch", dt=0.1, reset="subtract")(x).output[:, 0, 0].tolist() == [
            0.0,
            1.0,
            0.0,
        ]

    def test_another_reset_of_cells_with_several_spikes(self):
        given = graph(neuron(), line("lif"))
        refused(
            given,
            "reset='to_value' of node 'lif': cells with several spikes .*; leave reset out",
            scheme="sinabs",
            dt=None,
            reset="to_value",
        )

    def test_something_else(self):
        refused(3, "graph is a int; wanted a nir.NIRGraph or a file of nir.write")


class TestVersionsAndMetadata:
    def test_a_file_of_another_version(self, tmp_path):
        path = tmp_path / "old.nir"
        nir.write(path, to_nir(build((3,), 2, (4,))))
        with h5py.File(path, "r+") as file:
            del file["version"]
            file["version"] = "2.0"
        refused(path, "old.nir is of NIR 2.0, and 1.x is read here: write it anew with nir.write")

    def test_a_graph_of_another_version(self):
        given = to_nir(build((3,), 2, (4,)))
        given.metadata["version"] = "0.2"
        refused(given, "the graph says that it is of NIR 0.2, and 1.x is read here: export it anew")

    def test_metadata_that_cannot_be_read(self):
        given = to_nir(build((3,), 2, (4,)))
        given.nodes["layers_0_cells"].metadata["sandbox"] = "nonsense"
        refused(given, "the metadata 'sandbox' of node 'layers_0_cells' cannot be read: 'nonsense'; remove it")

    def test_metadata_of_a_newer_format(self):
        given = to_nir(build((3,), 2, (4,)))
        given.metadata["sandbox"] = '{"format": 9}'
        refused(given, "the metadata of the graph has format 9, and this version reads 1: update it")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            (
                '"kind": "lif"',
                '"kind": "lof"',
                "was a cell 'lof', which this version does not have: remove its metadata",
            ),
            ('"tau_mem"', '"tau_men"', "the metadata 'sandbox' of node 'layers_0_cells' does not fit this version"),
        ],
    )
    def test_metadata_of_a_cell_that_is_not_here(self, old, new, message):
        given = to_nir(build((3,), 2, (4,), neuron=LIF()))
        metadata = given.nodes["layers_0_cells"].metadata
        metadata["sandbox"] = metadata["sandbox"].replace(old, new)
        refused(given, message)


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    message = r"need the package nir, which is not installed: pip install 'learning-rule-sandbox\[nir\]'"
    with pytest.raises(ImportError, match=message):
        to_nir(build((3,), 2, (4,)))
    with pytest.raises(ImportError, match=message):
        from_nir("net.nir")


@pytest.mark.parametrize("parameter", ["v_threshold", "v_reset", "v_leak", "r"])
def test_parameters_that_are_not_numbers(parameter):
    values = {"tau": 0.01, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
    values[parameter] = np.nan
    made = {"lif": nir.LIF(**{name: np.full(3, value) for name, value in values.items()})}
    refused(graph(made, line("lif")), f"{parameter} of node 'lif' is not a number: repair the graph")
