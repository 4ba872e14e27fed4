"""State goes to plain data and back, and what is not plain is named before it is written."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
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


class Narrow(Inner):
    """A subclass with an attribute that its fields do not hold."""


def attributed():
    tensor = torch.zeros(1)
    tensor.note = "mine"
    return tensor


def with_versions(value):
    state = OrderedDict(a=1)
    state._metadata = value
    return state


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": [0, {1}]}, r"it\['a'\]\[1\] is of class builtins.set: a checkpoint holds plain data"),
        (Inner(1, 2), "it is of class tests.rules.test_state.Inner"),
        (Narrow(1, 2), "it is of class tests.rules.test_state.Narrow"),
        ({"f": len}, r"it\['f'\] is of class builtins.builtin_function_or_method"),
        (torch.Generator(), "it is of class torch._C.Generator"),
        ({np.int64(3): 1.0}, "it has the key .*3.*of class numpy.int64"),
        ({Inner(1, 2): 1.0}, "it has the key Inner"),
        (np.float32(0.1), "it is of class numpy.float32"),  # a Python float would go on with other bits
        (np.longdouble(0.1), "it is of class numpy.longdouble"),
        (np.zeros(2), "it is of class numpy.ndarray"),
        (b"bytes", "it is of class builtins.bytes"),
        (attributed(), r"it is a tensor with attributes \(note\), which would be lost"),
        (with_versions(nn.ReLU()), r"it.__dict__\['_metadata'\] is of class torch.nn.modules.activation.ReLU"),
        ({"NamedTuple": 1, "fields": 2}, "which stand for a NamedTuple: rename one"),
        (nn.LazyLinear(2).state_dict(), "it.*is not initialised yet: run one batch through the model first"),
    ],
)
def test_what_is_not_plain_is_named(tree, message):
    with pytest.raises(TypeError, match=message):
        to_plain(tree, "it")


def test_named_tuples_are_restored_wherever_they_are():
    """Inside an OrderedDict, in a list that has grown since `init`, under keys that `init` did not have."""
    like = Outer(Inner(0, 0), "")
    state = OrderedDict(a=[Inner(1, 2)] * 3, b={"c": Outer(Inner(3, 4), "x")})
    again = from_plain(to_plain(state, "it", like), like)
    assert again == state
    assert kinds(again) == kinds(state)
    assert type(again) is OrderedDict


@pytest.mark.parametrize("scalar", [np.float64(0.1), np.int64(3), np.bool_(True)])
def test_scalars_that_python_holds_exactly_are_converted(scalar):
    plain = to_plain(scalar, "it")
    assert plain == scalar
    assert type(plain) in (float, int, bool)


@dataclass(frozen=True)
class Counting(CreditRule):
    """BPTT that counts its steps in a state with classes."""

    claim = "exact"

    def init(self, model, rng):
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
