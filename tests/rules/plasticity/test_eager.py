"""Optimizers without torch.compile: torch's own, to the bit, with its hooks, options, state and refusals."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from rules.plasticity import eager

PAIRS = {
    "AdamW": (eager.AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    "RMSprop": (
        eager.RMSprop,
        torch.optim.RMSprop,
        {"lr": 0.01, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.5},
    ),
    "SGD": (eager.SGD, torch.optim.SGD, {"lr": 0.01, "weight_decay": 0.1, "momentum": 0.9}),
}
KINDS = pytest.mark.parametrize("kind", PAIRS)


def weights():
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(size, generator=rng)) for size in ((30, 4), (30,), (3, 30), (3,))]


def learn(optimizer, held, steps, seed=1):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in held:
            p.grad = torch.randn(p.shape, generator=rng)
        optimizer.step()
    optimizer.zero_grad()


@KINDS
def test_weights_are_those_of_torch_to_the_bit(kind):
    ours, theirs, options = PAIRS[kind]
    mine, other = weights(), weights()
    a, b = ours(mine, **options), theirs(other, **options)
    for each, held in ((a, mine), (b, other)):
        learn(each, held, 50)
    assert all(torch.equal(p, q) for p, q in zip(mine, other, strict=True))
    assert all(p.grad is None for p in mine)
    assert repr(a.state_dict()) == repr(b.state_dict())


@KINDS
def test_state_goes_over_to_torch_and_back(kind):
    ours, theirs, options = PAIRS[kind]
    mine, other = weights(), weights()
    a, b = ours(mine, **options), theirs(other, **options)
    learn(a, mine, 5)
    with torch.no_grad():
        for p, q in zip(other, mine, strict=True):
            p.copy_(q)
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    a.load_state_dict(copy.deepcopy(b.state_dict()))
    for each, held in ((a, mine), (b, other)):
        learn(each, held, 5, seed=2)
    assert all(torch.equal(p, q) for p, q in zip(mine, other, strict=True))


@KINDS
def test_hooks_closures_and_schedules_of_torch_work(kind):
    ours, _, options = PAIRS[kind]
    held, calls = weights(), []
    optimizer = ours(held, **options)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))

    def closure():
        calls.append(torch.is_grad_enabled())
        loss = held[0].square().sum()
        loss.backward()
        return loss

    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    assert optimizer.step(closure).detach() > 0
    assert calls == ["before", True, "after"]
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == options["lr"] / 2


@KINDS
def test_copies_and_pickles_go_on(kind):
    ours, _, options = PAIRS[kind]
    held = weights()
    optimizer = ours(held, **options)
    learn(optimizer, held, 2)
    for again in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        own = again.param_groups[0]["params"]
        learn(again, own, 1)
        assert not torch.equal(own[0], held[0])


@KINDS
def test_bad_input_is_refused_as_by_torch(kind):
    ours, _, options = PAIRS[kind]
    with pytest.raises(ValueError, match="empty parameter list"):
        ours([], **options)
    optimizer = ours(weights(), **options)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [optimizer.param_groups[0]["params"][0]]})
