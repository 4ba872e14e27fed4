"""bptt on an adapted model gives the bits of the library's own loop; states and other users of the model are left alone."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch.nn import functional as F

import rules
from tests.peers.loops import LOOPS
from tests.peers.zoo import ZOO, present

PEERS = [entry for entry in ZOO if entry.library != "torch"]


@pytest.fixture(params=PEERS, ids=lambda entry: entry.name)
def entry(request):
    if not present(request.param.library):
        pytest.skip(f"{request.param.library} is not installed: make peers")
    return request.param


def made(entry):
    torch.manual_seed(0)
    return entry.build()


def by_hand(entry, model, x, y):
    output = LOOPS[entry.name](model, x)
    output = output if output.ndim == 3 else output[None]
    loss = F.cross_entropy(output.mean(0), y)
    names, parameters = zip(*[(name, p) for name, p in model.named_parameters() if p.requires_grad], strict=True)
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
    return loss.detach(), {f"model.{name}": g for name, g in zip(names, slopes, strict=True) if g is not None}


def credited(model, x, y):
    rule = rules.make("bptt")
    return rule.credit.assign(model, rule.objective, rules.Batch(x, y), (), torch.Generator().manual_seed(0))


def test_the_gradient_is_that_of_the_library_s_own_loop(entry):
    x, y = entry.data()
    loss, truth = by_hand(entry, made(entry), x, y)
    adapted = rules.adapt(made(entry), **entry.adapt)
    costs = []
    for _ in range(2):  # the second time too: nothing is left of the first
        credit = credited(adapted, x, y)
        costs.append(credit.cost)
        assert credit.loss == float(loss)
        assert credit.grads.keys() == truth.keys()
        assert all(torch.equal(credit.grads[name], truth[name]) for name in truth)
    assert any(g.abs().sum() > 0 for g in truth.values())
    assert costs[0] == costs[1]  # the pass in which the adapter looks how the model is called is not counted


def test_a_model_that_was_used_before_is_at_rest(entry):
    x, y = entry.data()
    fresh = credited(rules.adapt(made(entry), **entry.adapt), x, y)
    model = made(entry)
    with torch.no_grad():
        LOOPS[entry.name](model, x)  # by its own loop, which leaves a state behind
    adapted = rules.adapt(model, **entry.adapt)
    used = credited(adapted, x, y)
    assert all(torch.equal(fresh.grads[name], used.grads[name]) for name in fresh.grads)
    with torch.no_grad():
        adapted(torch.cat([x, x], int(x.ndim > 2)))  # twice the samples
    again = credited(adapted, x, y)
    assert all(torch.equal(fresh.grads[name], again.grads[name]) for name in fresh.grads)


def test_a_copy_is_at_rest_too(entry):
    """Copies of snnTorch's neurons are not in the list that its `utils.reset` goes through."""
    x, _ = entry.data()
    adapted = rules.adapt(made(entry), **entry.adapt).eval()
    before = adapted(x)
    other = copy.deepcopy(adapted)
    assert torch.equal(other(x), before)
    assert torch.equal(other(x), before)


def test_the_state_is_that_of_the_model(entry):
    x, _ = entry.data()
    adapted = rules.adapt(made(entry), **entry.adapt)
    adapted(x)
    state = adapted.state_dict()
    fresh = made(entry)
    assert state.keys() == fresh.state_dict().keys()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh.load_state_dict(state)
    adapted.load_state_dict(fresh.state_dict())
    assert torch.equal(adapted.eval()(x), rules.adapt(fresh, **entry.adapt).eval()(x))
