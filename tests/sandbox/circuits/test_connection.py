"""Connections: their patterns, and each thing that they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import Connection, Sparse

ONES = torch.ones(2, 3)


def csr(rows, columns, shape=(2, 3)):
    """A sparse matrix that torch does not look at."""
    counts = torch.tensor([0, *(sum(r <= row for r in rows) for row in range(shape[0]))])
    values = torch.ones(len(columns))
    return torch.sparse_csr_tensor(counts, torch.tensor(columns), values, shape, check_invariants=False)


def test_a_pattern_goes_by_presynaptic_cell_whatever_the_storage():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    weights = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]])
    for each in (Connection(weights, mask=mask), Connection(weights.to_sparse_csr())):
        found = each.pattern
        assert found.pre.tolist() == [0, 2, 2]
        assert found.post.tolist() == [0, 0, 1]
        assert found.sort(each.values).tolist() == [1.0, 2.0, 3.0]
        assert found.start.tolist() == [0, 1, 1, 3]
    assert Connection(weights).pattern is None


def test_delays_of_sparse_weights_are_in_the_order_of_their_values():
    weights = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]]).to_sparse_csr()
    found = Connection(weights, delay=torch.tensor([0.1, 0.2, 0.3])).steps(0.1, 10)
    assert found.tolist() == [1, 3, 2]  # of the synapses from cell 0 to 0, 0 to 1, and 2 to 0


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_delays_follow_the_edges_whatever_their_order(order):
    """Edges, weights and delays in another order are the same synapses."""
    pre, post = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([1, 0, 1, 0, 1, 2])
    weights, delays = torch.arange(6.0), torch.arange(1.0, 7.0)
    rows = torch.tensor(order)
    layer = Sparse.from_edges(pre[rows], post[rows], weights[rows], (3, 3))
    found = Connection(layer, delay=delays[rows]).steps(1.0, 10)
    edges = sorted(zip(pre.tolist(), post.tolist(), weights.tolist(), delays.tolist(), strict=True))
    assert found.tolist() == [int(delay) for *_, delay in edges]
    assert layer.weight.tolist() == [weight for _, _, weight, _ in edges]


def test_a_delay_in_float32_is_a_whole_number_of_steps_all_the_same():
    delays = (torch.arange(300, dtype=torch.float32) * 0.1).expand(1, 300)
    assert Connection(torch.ones(1, 300), delay=delays).steps(0.1, 300).tolist() == list(range(300))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"weights": np.ones((2, 3))},
            r"weights are a ndarray; wanted a tensor \[post, pre\]: torch.as_tensor\(weights\)",
        ),
        ({"weights": torch.ones(3)}, r"weights have shape \(3,\); wanted \[post, pre\]"),
        ({"weights": ONES.long()}, "weights have dtype torch.int64; wanted floating point: weights.double()"),
        ({"weights": ONES.to_sparse()}, "layout torch.sparse_coo; wanted dense or sparse CSR: weights.to_sparse_csr()"),
        ({"weights": csr([0, 0], [1, 1])}, r"from cell 1 to cell 0 appears twice; add up its weights: .*coalesce\(\)"),
        ({"weights": csr([0], [5])}, r"pre\[0\] is 5, and there are 3 such cells; wanted 0 to 2"),
        ({"weights": csr([1], [-1])}, r"pre\[0\] is -1, and there are 3 such cells"),
        ({"kind": "jumps"}, "unknown kind of connection 'jumps'; nearest: 'jump'; valid: current, conductance, jump"),
        ({"kind": "conductance"}, "a conductance with tau=None and reversal=None; give both: Connection"),
        ({"kind": "conductance", "tau": 1.0}, "with tau=1.0 and reversal=None; give both"),
        ({"kind": "jump", "tau": 5.0}, 'a jump with tau=5 ms; a jump has none: use kind="current"'),
        ({"reversal": 0.0}, 'a current with reversal=0 mV; only kind="conductance" has a reversal potential'),
        ({"variable": "u"}, "a current with variable='u'; only kind=\"jump\" adds to a variable of the cell"),
        ({"tau": 0.0}, "tau=0 ms; give a positive time constant, or None for a pulse of one step"),
        ({"kind": "conductance", "tau": 1.0, "reversal": math.inf}, "reversal=inf mV; give a finite potential"),
        ({"delay": -0.1}, r"a delay of -0.1 ms; wanted 0 or more: delay.clamp\(min=0\)"),
        ({"delay": torch.full((2, 3), math.nan)}, "a delay of nan ms; wanted 0 or more"),
        ({"delay": torch.zeros(3)}, r"delays have shape \(3,\), for weights of shape \(2, 3\); wanted that shape"),
        (
            {"weights": ONES.to_sparse_csr(), "delay": torch.zeros(5)},
            r"delays have shape \(5,\), for weights with values of shape \(6,\); wanted that shape, or one number",
        ),
        (
            {"mask": torch.ones(2, 3)},
            "mask is torch.float32 of shape .*; wanted booleans of that shape: mask=weights != 0",
        ),
        (
            {"mask": torch.ones(3, 2, dtype=torch.bool)},
            r"mask is torch.bool of shape \(3, 2\), for weights of shape \(2, 3\)",
        ),
        ({"weights": ONES.to_sparse_csr(), "mask": ONES > 0}, "sparse weights with a mask; .*leave out mask="),
        ({"weights": Sparse(3, 2, 0.5)}, r"a bias, which spikes do not carry: Sparse\(..., bias=False\)"),
        ({"weights": Sparse(3, 2, 0.5, bias=False), "mask": ONES > 0}, "sparse weights with a mask; .*leave out mask="),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        Connection(**{"weights": ONES, **change})
