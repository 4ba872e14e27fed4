"""Bytes held: to closed forms, to autograd's own list of what it saved, and to a rule that hoards."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from rules import BPTT, Trainer, make
from rules.diagnostics.footprint import Alive, footprint
from sandbox import build

X = torch.randn(1, 16, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(16) % 4


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))


def first_step(model, rule, x=X, y=Y):
    return Trainer(model, rule).step((x, y))


def test_what_is_alive_is_counted_until_it_dies():
    with Alive() as alive:
        a = torch.zeros(1000)  # 4000 bytes
        b = a + 1  # as many
        c = b[:10]  # a view: none
        del b
        assert alive.now == 8000  # the view keeps it
        del c
        assert alive.now == 4000
        a.add_(1)  # in place: none
    assert (alive.peak, alive.held) == (8000, 0)


def test_what_waits_for_the_errors_is_what_autograd_saved():
    """The hidden signals of a chain of products, which autograd keeps for the weights: all but the loss's few bytes."""
    saved: dict[int, int] = {}
    x = torch.randn(64, 32)
    weights = [torch.randn(32, 32, requires_grad=True) for _ in range(5)]
    known = {tensor.untyped_storage()._cdata for tensor in (x, *weights)}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), Alive() as alive:
        signal = x
        for weight in weights:
            signal = (signal @ weight).sigmoid()
        loss = signal.sum()
        del signal
        torch.autograd.grad(loss, weights)
    assert sum(saved.values()) == 5 * 64 * 32 * 4
    assert 0 <= alive.held - sum(saved.values()) <= 8  # the loss, and the error it sends


def test_backpropagation_holds_its_signals_and_zero_order_none():
    through = first_step(mlp(), "bptt").footprint
    assert through.state >= 16 * 32 * 4  # the tanh of every sample
    assert through.peak > through.state
    without = first_step(mlp(), "spsa").footprint
    assert without.state == 0 < without.peak


def test_time_is_held_by_bptt_and_recomputed_from_checkpoints():
    """Of 64 steps all are held, or with a checkpoint each 8 steps the carried states alone."""
    x = torch.rand(64, 16, 8, generator=torch.Generator().manual_seed(0)) * 5
    held = {}
    for name, every in (("all", None), ("checkpoints", 8)):
        rule = replace(make("bptt"), credit=BPTT(checkpoint=every))
        held[name] = first_step(build((8,), 4, (32,), seed=0), rule, x).footprint
    assert held["checkpoints"].state < held["all"].state / 2
    assert held["checkpoints"].peak < held["all"].peak


def test_a_rule_that_hoards_is_seen():
    @dataclass(frozen=True)
    class Hoarding(BPTT):
        def assign(self, model, objective, batch, state, rng):
            return super().assign(model, objective, batch, state, rng)._replace(state=torch.zeros(10_000))

    honest = first_step(mlp(), "bptt").footprint
    hoarding = first_step(mlp(), replace(make("bptt"), credit=Hoarding())).footprint
    assert hoarding.state - honest.state == 40_000


def test_what_a_rule_keeps_of_the_pass_is_counted_once():
    with Alive() as alive:
        weight = torch.zeros(1000, requires_grad=True)  # 4000 bytes
        kept = weight.exp()  # as many, for the way back
        loss = kept.sum()
        torch.autograd.grad(loss, weight)
        later = torch.zeros(10)
    assert alive.held - 8000 <= 8  # the loss, and the error it sends
    assert footprint(alive, {"twice": [kept, kept.view(10, 100)]}).state == alive.held
    assert footprint(alive, (kept, later)).state == alive.held + 40


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 4))

    def forward(self, x):
        return torch.sparse.mm(x[0].to_sparse(), self.weight)[None]


def test_sparse_tensors_are_no_obstacle():
    assert first_step(Sparse(), "bptt").footprint.peak > 0


@pytest.mark.parametrize("inside", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_what_is_compiled_is_left_alone(inside):
    model = mlp()
    if inside:
        model.compile(backend="eager")
    else:
        model = torch.compile(model, backend="eager")
    told = first_step(model, "bptt")
    assert told.footprint is None
    assert told.work


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")  # few fire on such inputs
@pytest.mark.parametrize("rule", ["bptt", "tcl", "binary_stochastic", "hzo", "forward_gradient"])
def test_measuring_changes_nothing(rule, monkeypatch):
    def learned():
        model = build((8,), 4, (12,), seed=0)
        trainer = Trainer(model, make(rule, **({"dead_zone": 0.5} if rule == "binary_stochastic" else {})))
        for _ in range(2):
            trainer.step((X.expand(5, 16, 8).sigmoid(), Y))
        return [p.detach().clone() for p in model.parameters()]

    measured = learned()
    monkeypatch.setattr("rules.trainer.watching", lambda model: nullcontext())
    assert all(torch.equal(a, b) for a, b in zip(measured, learned(), strict=True))


def test_the_first_step_alone_is_measured_and_every_look_works():
    trainer = Trainer(mlp(), "bptt")
    told = [trainer.step((X, Y)) for _ in range(101)]
    assert [info.step for info in told if info.footprint is not None] == [1]
    assert [info.step for info in told if info.work] == [1, 101]
    assert [each.dense for each in told[0].work] == [8 * 32, 32 * 4]


def test_forward_derivatives_that_are_zero_have_no_memory_to_read():
    """A tangent of zeros without memory, as torch makes them, once ended the process within the count."""
    zero = torch._efficientzerotensor((3,))
    with Alive() as alive:
        assert torch.equal(zero * 2.0, torch.zeros(3))
        assert torch.equal(torch.mul(zero, 3.0), torch.zeros(3))
    assert alive.peak >= 12
