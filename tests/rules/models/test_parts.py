"""Modules that seem to follow one another and do not: refused, or kept together, but never run as a chain."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rules
from rules.models.calls import Seen
from rules.models.parts import Frame, linked, same
from tests.conftest import ROOT

X = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two layers, and what `between` makes of the signal behind the first and of the input."""

    def __init__(self, between):
        super().__init__()
        self.first, self.second, self.between = nn.Linear(3, 3), nn.Linear(3, 2), between

    def forward(self, x):
        return self.second(self.between(self.first(x), x))


@pytest.mark.parametrize(
    "between",
    [
        lambda h, x: h + x,
        lambda h, x: h.add_(x),  # the same memory
        lambda h, x: h.tanh(),
        lambda h, x: F.tanh(h),
        lambda h, x: h * 1.0,  # the same numbers
        lambda h, x: h.flip(0),
        lambda h, x: h.transpose(0, 1).reshape(h.shape),  # samples exchanged
        lambda h, x: F.relu(-1e9 - h.abs()) + 0 * x,  # silent
    ],
)
def test_what_no_module_does_between_two_layers_is_seen(between):
    with pytest.raises(ValueError, match="the output of 'first' is not the input of 'second'"):
        rules.adapt(Net(between)).find_layers(X)


@pytest.mark.parametrize("between", [lambda h, x: h, lambda h, x: h.view(5, 4, 3), lambda h, x: h.contiguous()])
def test_what_changes_nothing_is_no_hindrance(between):
    model = rules.adapt(Net(between))
    model.find_layers(X)
    assert [type(stage) for stage in model.layers] == [nn.Linear, nn.Linear]


def test_a_silent_shortcut_is_not_overlooked():
    """The branch gives zeros now, so that numbers alone could not tell; it will not when it has learned."""

    class Shortcut(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch, self.head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
            nn.init.zeros_(self.branch.weight)
            nn.init.zeros_(self.branch.bias)

        def forward(self, x):
            h = self.stem(x)
            return self.head(h + self.branch(h))

    with pytest.raises(ValueError, match="is not the input of 'head'"):
        rules.adapt(Shortcut()).find_layers(X)


def test_one_module_may_be_used_twice():
    """In a Sequential and in a loop over time."""
    act = nn.Tanh()

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 2))

        def forward(self, x):
            return torch.stack([self.inner(step) for step in x])

    torch.manual_seed(0)
    model, y = rules.adapt(Loop().double()), torch.arange(4) % 2
    objective, given = rules.make("bptt").objective, rules.Batch(X.double(), y)
    rng = torch.Generator().manual_seed(0)
    truth = rules.BPTT().assign(model, objective, given, (), rng).grads
    credit = rules.make("hzo", step=1e-4).credit
    mine = credit.assign(model, objective, given, credit.init(model, rng), rng).grads
    assert [trace.weight for trace in model(X.double(), record=True).traces] == [
        f"model.inner.{n}.weight" for n in (0, 2, 4)
    ]
    for name, g in truth.items():
        torch.testing.assert_close(mine[name], g, rtol=1e-5, atol=1e-7)  # the error of central differences


def test_a_shape_that_changes_between_modules_is_a_stage():
    class Flattening(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Linear(18, 2)

        def forward(self, x):
            return self.head(self.act(self.conv(x)).view(len(x), -1))

    model = rules.adapt(Flattening())
    model.find_layers(torch.rand(4, 1, 3, 3))
    assert [type(stage) for stage in model.layers] == [nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear]


def test_links_compare_memory_where_forms_are_equal_and_numbers_where_steps_are_joined():
    frame, zeros = Frame(5, 4), torch.zeros(5, 4, 3)
    assert not same(Seen(zeros, 0), Seen(zeros.clone(), 0))
    assert not same(Seen(zeros, 0), Seen(zeros, 1))
    assert same(Seen(zeros, 0), Seen(zeros.view(20, 3), 0))
    steps = [Seen(step.clone(), 0) for step in X]
    assert linked([Seen(X, 0)], steps, frame)
    assert not linked([Seen(X, 0)], steps[::-1], frame)
    assert not linked([], steps, frame)


def test_no_other_library_is_imported():
    code = "import sys, rules; rules.adapt; print({'snntorch', 'spikingjelly', 'norse', 'sinabs'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "set()\n", done.stderr
