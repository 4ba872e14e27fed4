"""State goes to plain data and back, and what is not plain is named before it is written."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rules import BPTT, Credit, LearningRule, Trainer
from rules.contract import CreditRule
from rules.objectives import OBJECTIVES
from rules.plasticity import SGD
from rules.state import from_plain, to_plain


class Inner(NamedTuple):
    trace: object
    count: object


class Outer(NamedTuple):
    inner: object
    name: object


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
        st.builds(Inner, inner, inner),
        st.builds(Outer, inner, inner),
    ),
    max_leaves=12,
)


def kinds(tree):
    """The classes of a tree, in its shape."""
    if isinstance(tree, dict):
        return {key: kinds(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree), [kinds(value) for value in tree]
    return type(tree)


@given(TREES)
def test_there_and_back(tree):
    """Equal, class by class, after a file that is read without running anything."""
    file = io.BytesIO()
    torch.save(to_plain(tree, "it", tree), file)
    file.seek(0)
    again = from_plain(torch.load(file, weights_only=True), tree)
    assert again == tree
    assert kinds(again) == kinds(tree)


def test_module_state_keeps_its_versions():
    state = nn.Sequential(nn.BatchNorm1d(2)).state_dict()
    again = to_plain(state, "it")
    assert type(again) is OrderedDict
    assert again._metadata == state._metadata
    assert again._metadata["0"] == {"version": 2}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": [0, {1}]}, r"it\['a'\]\[1\] is of class builtins.set: a checkpoint holds plain data"),
        (Inner(1, 2), "it is of class tests.rules.test_state.Inner"),
        ({"f": len}, r"it\['f'\] is of class builtins.builtin_function_or_method"),
        (torch.Generator(), "it is of class torch._C.Generator"),
    ],
)
def test_what_is_not_plain_is_named(tree, message):
    with pytest.raises(TypeError, match=message):
        to_plain(tree, "it")


@dataclass(frozen=True)
class Counting(CreditRule):
    """BPTT that counts its steps in a state with classes."""

    claim = "exact"

    def init(self, model):
        return Outer(Inner(torch.zeros(2), 0), "counted")

    def assign(self, model, objective, batch, state, rng):
        credit: Credit = BPTT().assign(model, objective, batch, (), rng)
        return credit._replace(state=state._replace(inner=Inner(state.inner.trace + 1, state.inner.count + 1)))


def test_a_rule_gets_its_named_tuples_back():
    batch = (torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))
    made = [Trainer(nn.Linear(3, 2), LearningRule(OBJECTIVES["ce_mean"](), Counting(), SGD(0.1))) for _ in range(2)]
    made[0].step(batch)
    file = io.BytesIO()
    torch.save(made[0].state_dict(), file)
    file.seek(0)
    made[1].load_state_dict(torch.load(file, weights_only=True))
    made[1].step(batch)
    assert made[1].state.inner.count == 2
    assert made[1].state.inner.trace.tolist() == [2.0, 2.0]
