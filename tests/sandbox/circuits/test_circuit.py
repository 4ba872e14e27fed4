"""Circuits: ports that connections share, and each thing that a circuit refuses."""

from __future__ import annotations

import pytest
import torch

from sandbox import LIF, Circuit, Connection, CubaLIF, LeakyIntegrator

SQUARE = torch.ones(3, 3)


def test_connections_that_do_the_same_share_a_variable():
    taus = [5.0, 10.0, 5.0, None]
    circuit = Circuit(LIF(), 3, [Connection(SQUARE, tau=tau) for tau in taus])
    assert [port.tau for port in circuit.ports] == [5.0, 10.0, None]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"neuron": [LIF()]}, r"the neuron is a list; wanted one neuron for all cells, such as LIF\(\)"),
        ({"connections": Connection(SQUARE)}, r"a single Connection; wanted a list: connections=\[connection\]"),
        (
            {"neuron": LIF(tau_mem=torch.ones(2))},
            r"LIF.tau_mem has shape \(2,\), and the cells have \(3,\); wanted one",
        ),
        ({"neuron": LeakyIntegrator()}, r"LeakyIntegrator never fires, .* use LIF\(\) instead"),
        ({"groups": {"e": [0, 1]}}, r"group 'e' is \[0, 1\] of 3 cells; wanted a range: \{'e': slice\(0, 3\)\}"),
        ({"groups": {"e": slice(0, 4)}}, r"group 'e' is slice\(0, 4, None\) of 3 cells; wanted a range"),
        ({"groups": {"e": slice(0, 3, 2)}}, "wanted a range"),
        ({"connections": [Connection(SQUARE, source="x")]}, "unknown group 'x'; there are none"),
        (
            {"connections": [Connection(torch.ones(3, 2))]},
            r"shape \(3, 2\); from the 3 cells of the circuit to the 3 of the circuit it wants .* of shape \(3, 3\)",
        ),
        (
            {"connections": [Connection(SQUARE, source="e")], "groups": {"e": slice(0, 2)}},
            r"from the 2 cells of e to the 3 of the circuit it wants weights \[post, pre\] of shape \(3, 2\)",
        ),
        (
            {"connections": [Connection(SQUARE), Connection(SQUARE, kind="jump", variable="u")]},
            r"connections\[1\] needs the variable 'u'; LIF has: v: Connection\(weights, kind='jump', variable='v'\)",
        ),
    ],
)
def test_bad_input(given, message):
    with pytest.raises(ValueError, match=message):
        Circuit(**{"neuron": LIF(), "n": 3, **given})


def test_a_cell_s_own_synapse_can_be_reached():
    jump = Connection(SQUARE, kind="jump", variable="i_syn")
    assert Circuit(CubaLIF(), 3, [jump]).ports[0].variable == "i_syn"
