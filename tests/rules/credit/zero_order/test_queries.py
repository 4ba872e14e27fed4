"""How many layer evaluations each rule takes: counted while it runs, against the recurrence (P4.1, P4.2)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules.credit.zero_order import HZO, LayerwiseZO, SequentialLocal
from tests.rules.credit.zero_order.nets import assign, deep, inputs, mlp

COSTS = {"central": 2, "forward": 1}


def recurrence(widths, i, j, c):
    """Layer evaluations for layers i + 1 to j, `widths[k]` units behind layer k."""
    if j - i <= 1:
        return 0
    k = (i + j) // 2
    return c * widths[k] * (j - k) + recurrence(widths, i, k, c) + recurrence(widths, k, j, c)


@settings(max_examples=25, deadline=None)
@given(
    widths=st.lists(st.integers(1, 5), min_size=2, max_size=12),
    diff=st.sampled_from(["central", "forward"]),
    cut=st.sampled_from(["pre", "post"]),
)
def test_any_depths_and_widths(widths, diff, cut):
    model, depth, c = mlp(widths), len(widths) - 1, COSTS[diff]
    wanted = {
        HZO: recurrence(widths, 0, depth, c),
        SequentialLocal: c * sum(widths[1:-1]),
        LayerwiseZO: c * sum(widths[k] * (depth - k) for k in range(1, depth)),
    }
    for rule, probes in wanted.items():
        credit = assign(rule(diff=diff, cut=cut), model, inputs(2, widths[0]))
        assert credit.cost.layer_evaluations == depth + probes
        assert credit.cost.forwards == 1


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 7, 8, 12, 16, 24, 32, 48, 64])
@pytest.mark.parametrize("diff", COSTS)
def test_every_depth(depth, diff):
    credit = assign(HZO(diff=diff), deep(depth, width=3), inputs(1, 3))
    assert credit.cost.layer_evaluations == depth + recurrence([3] * (depth + 1), 0, depth, COSTS[diff])


def counted(rule, depth, width=4):
    model = deep(depth, width)
    return assign(rule, model, inputs(1, width)).cost.layer_evaluations - depth


def slope(counts):
    """Of the logarithm of counts against that of depths, by least squares."""
    x, y = (torch.tensor([math.log(v) for v in values], dtype=torch.float64) for values in zip(*counts.items()))
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def test_orders_in_depth():
    """M L/2 log2 L, M L (L - 1) / 2 and M (L - 1), for central differences; the slopes of L (L - 1) and L - 1 only
    approach 2 and 1, and are off by 1 / (L ln 2) or so between 16 and 64."""
    depths = [2, 4, 8, 16, 32, 64]
    hierarchical = {depth: counted(HZO(), depth) for depth in depths}
    assert hierarchical == {depth: 2 * 4 * depth // 2 * int(math.log2(depth)) for depth in depths}
    assert slope({depth: n / math.log2(depth) for depth, n in hierarchical.items()}) == pytest.approx(1, abs=0.01)
    to_the_loss = {depth: counted(LayerwiseZO(), depth) for depth in depths[3:]}
    assert to_the_loss == {depth: 2 * 4 * depth * (depth - 1) // 2 for depth in depths[3:]}
    assert slope(to_the_loss) == pytest.approx(2, abs=0.04)
    sequential = {depth: counted(SequentialLocal(), depth) for depth in depths[3:]}
    assert sequential == {depth: 2 * 4 * (depth - 1) for depth in depths[3:]}
    assert slope(sequential) == pytest.approx(1, abs=0.04)


def test_prototype_counts():
    """Layer evaluations measured by an independent prototype with M = 16 and forward differences (specification 4.3)."""
    known = {2: 16, 4: 64, 8: 192, 12: 384, 16: 512}
    assert {depth: counted(HZO(diff="forward"), depth, width=16) for depth in known} == known


def test_branches_and_leaves():
    """Cut into as many parts as there are layers it is sequential; never cut it goes to the loss."""
    assert list(HZO(branching=6).plan(6)) == list(SequentialLocal().plan(6))
    assert sorted(HZO(min_segment=6).plan(6)) == sorted(LayerwiseZO().plan(6))
    assert list(HZO(min_segment=2).plan(4)) == [(2, 4), (1, 2), (3, 4)]
    for branching in (2, 3, 5):
        for segment in (1, 2, 3):
            plan = list(HZO(branching=branching, min_segment=segment).plan(11))
            known = {11}
            for k, j in plan:
                assert j in known, "an error is used before it is known"
                assert k not in known, "an error is estimated twice"
                known.add(k)
            assert known == set(range(1, 12))


def test_probes_are_counted():
    model = mlp([3, 4, 5, 2])
    assert assign(SequentialLocal(), model, inputs(2, 3)).info["probes"] == 4 + 5
    assert assign(SequentialLocal(repeats=3), model, inputs(2, 3)).info["probes"] == 3 * (4 + 5)
    assert assign(SequentialLocal(probes="random", q=7), model, inputs(2, 3)).info["probes"] == 2 * 7
    assert assign(SequentialLocal(repeats=3), model, inputs(2, 3)).cost.layer_evaluations == 3 + 2 * 3 * (4 + 5)


def test_frozen_layers_cost_nothing():
    model = mlp([3, 4, 5, 2])
    for p in model[0].parameters():
        p.requires_grad_(False)
    credit = assign(SequentialLocal(), model, inputs(2, 3))
    assert credit.grads.keys() == {"2.weight", "2.bias", "4.weight", "4.bias"}
    assert credit.cost.layer_evaluations == 3 + 2 * 5


def test_synaptic_operations_are_those_of_the_passes():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    credit = assign(HZO(), model, inputs(5, 3))
    assert credit.cost.synaptic_operations == 5 * (3 * 4 + 4 * 2) + 2 * 4 * 5 * (4 * 2)
