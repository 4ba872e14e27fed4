"""The read-out of any model: found right by a pass, or refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules import Batch, Trainer
from rules.models.readout import NotFound, evident, find
from sandbox import build

X = torch.rand(6, 5, 4)
Y = torch.arange(5) % 3


class Shuffled(nn.Module):
    """Three layers that are registered in some order, and run in another; what it runs last is its read-out."""

    def __init__(self, registered, kind, norm, decoy, tied):
        super().__init__()
        middle = {"linear": nn.Linear, "gru": nn.GRU, "conv": lambda a, b: nn.Conv1d(a, b, 1)}[kind](8, 8)
        parts = {"first": nn.Linear(4, 8), "middle": middle, "last": nn.Linear(8, 8 if tied else 3)}
        if decoy:
            parts["decoy"] = nn.Linear(8, 3)
        if norm:
            parts["norm"] = nn.LayerNorm(8 if tied else 3)
        for name in registered:
            if name in parts:
                self.add_module(name, parts[name])
        if tied and kind == "linear":
            self.last.weight = self.middle.weight
        self.register_buffer("unused", torch.ones(3))
        self.kind = kind

    def forward(self, x):
        h = torch.relu(self.first(x))
        if self.kind == "conv":
            h = self.middle(h.flatten(0, 1)[..., None])[..., 0].unflatten(0, x.shape[:2])
        else:
            h = self.middle(h)
        h = h[0] if isinstance(h, tuple) else h
        y = self.last(h)
        if hasattr(self, "decoy"):
            self.kept = self.decoy(y[..., :3] if y.shape[-1] == 8 else h)  # called last, and not shown
        return self.norm(y) if hasattr(self, "norm") else y


@settings(deadline=None, max_examples=60)
@given(
    registered=st.permutations(["first", "middle", "last", "norm", "decoy"]),
    kind=st.sampled_from(["linear", "gru", "conv"]),
    norm=st.booleans(),
    tied=st.booleans(),
)
def test_whatever_the_order_of_registration(registered, kind, norm, tied):
    model = Shuffled(registered, kind, norm, False, tied)
    if tied and kind == "linear":
        with pytest.raises(NotFound, match=r"is used before that as well, as a tied weight is\. Untie it"):
            find(model, Batch(X))
    else:
        assert set(find(model, Batch(X))) == {"last.weight", "last.bias"}


def test_a_module_that_is_called_last_and_not_shown_is_not_it():
    model = Shuffled(["decoy", "last", "first", "middle"], "linear", False, True, False)
    assert set(find(model, Batch(X))) == {"last.weight", "last.bias"}


class Two(nn.Module):
    """Two heads side by side."""

    def __init__(self):
        super().__init__()
        self.body, self.left, self.right = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x):
        h = torch.relu(self.body(x))
        return self.left(h) + self.right(h)


class Own(nn.Module):
    """A weight of its own beside a head."""

    def __init__(self, past):
        super().__init__()
        self.w, self.head, self.past = nn.Parameter(torch.rand(4, 4)), nn.Linear(4, 3), past

    def forward(self, x):
        h = x @ self.w
        return self.head(h) + (h[..., :3] if self.past else 0)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2)

    def forward(self, x):
        return self.attend(x, x, x, need_weights=False)[0]


def test_what_reaches_the_output_past_the_last_weight_is_refused():
    with pytest.raises(NotFound, match="Two is not one module: left.weight reaches the output past .* right.weight"):
        find(Two(), Batch(X))
    with pytest.raises(NotFound, match="Own is not one module: w reaches the output past .* head.weight; name it"):
        find(Own(past=True), Batch(X))
    assert find(Own(past=False), Batch(X)) == ("head.weight", "head.bias")
    with pytest.raises(NotFound, match="no weighted module of Cut reaches its output by autograd"):
        find(Cut(), Batch(X))


class Cut(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        return super().forward(x).detach()


def test_weights_that_are_used_without_a_call_belong_to_the_module_around():
    assert len(find(Attention(), Batch(X))) == 4
    net = build((4,), 3, hidden=("5r",))
    assert find(net, Batch(X)) == evident(net) == ("layers.1.synapse.weight", "layers.1.synapse.bias")


def test_frozen_and_wrapped_models():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.Linear(3, 3))
    model[3].requires_grad_(False)
    assert find(model, Batch(X)) == evident(model) == ("2.weight", "2.bias")
    for wrapper, prefix in ((lambda m: torch.compile(m, backend="eager"), "_orig_mod."), (nn.DataParallel, "module.")):
        whole = wrapper(model)  # names are those of the wrapper, as its parameters() has them
        assert find(whole, Batch(X)) == evident(whole) == (f"{prefix}2.weight", f"{prefix}2.bias")
        assert list(Trainer(whole, "readout_only").parameters) == [f"{prefix}2.weight", f"{prefix}2.bias"]


def test_a_pass_leaves_no_trace():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(8, 3)).train()
    before, generator = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    find(model, Batch(X))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(part.training and not part._forward_hooks for part in model.modules())
    assert torch.equal(generator, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
@pytest.mark.parametrize("kind", ["linear", "gru", "conv"])
def test_readout_only_moves_the_readout_alone(kind):
    model = Shuffled(["last", "first", "middle", "norm"], kind, True, False, False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = Trainer(model, "readout_only")
    trainer.step((X, Y))
    assert list(trainer.parameters) == ["last.weight", "last.bias"]
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"last.weight", "last.bias"}


def test_a_trainer_that_has_seen_no_batch_says_so():
    trainer = Trainer(Two(), "readout_only")
    with pytest.raises(RuntimeError, match=r"has not seen a batch.*trainer\.begin\(batch\)"):
        trainer.optimizer.step()
    with pytest.raises(RuntimeError, match="has not seen a batch"):
        len(trainer.parameters)
    with pytest.raises(NotFound, match=r"name it: dataclasses\.replace\(rule, credit=rules\.Restricted"):
        trainer.step((X, Y))
    named = rules.LearningRule(
        trainer.rule.objective, rules.Restricted(rules.BPTT(), only=("left.*",)), trainer.rule.plasticity
    )
    assert list(Trainer(Two(), named).parameters) == ["left.weight", "left.bias"]
