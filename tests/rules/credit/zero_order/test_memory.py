"""Probes stay within their bound on memory, whatever the depth (P4.13)."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from rules.credit.zero_order import HZO
from rules.credit.zero_order.layered.lab import Lab
from rules.credit.zero_order.layered.probes import transported
from rules.credit.zero_order.layered.recorded import record
from rules.credit.zero_order.layered.stages import stages
from rules.credit.zero_order.layered.transport import Transport
from sandbox import LIF, build
from tests.rules.credit.zero_order.nets import deep, drawn, inputs


def peak(call):
    """The most memory [bytes] that was taken at a time beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        call()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(taken.cumsum(0).max())


def probing(rule, model, x, first, last):
    """Carries an error over layers `first` to `last` of a pass that is there already."""
    made = record(stages(model), x)
    transport = Transport(made, Lab(rule.probing, 0, None), rule.parameters(model))
    site = transport.site(transport.cut(first), transport.cut(last), "here", 1)
    error = torch.ones_like(site.end)
    return lambda: transported(site, error, transport.lab)


@torch.no_grad()
@pytest.mark.parametrize("probes", ["basis", "random"])
def test_extra_memory_does_not_grow_with_depth(probes):
    rule = HZO(memory=2e6, probes=probes, q=64)
    found = {depth: peak(probing(rule, deep(depth), inputs(64, 32), depth // 2, depth)) for depth in (4, 16)}
    assert found[16] == pytest.approx(found[4], rel=0.01)
    assert 0.2 * rule.memory < found[16] < rule.memory


@torch.no_grad()
@pytest.mark.parametrize("probes", ["basis", "scattered", "normal"])
def test_the_bound_holds_for_convolutions_and_neurons(probes):
    conv = drawn(
        nn.Sequential(*[part for i in (2, 8, 8) for part in (nn.Conv2d(i, 8, 3, padding=1), nn.ReLU())], nn.Flatten())
    )
    rule = HZO(memory=3e6, probes=probes)
    assert peak(probing(rule, conv, inputs(4, 2, 16, 16), 1, 3)) < rule.memory
    rule = HZO(memory=1e6, probes=probes)
    assert peak(probing(rule, build((20,), 10, (30, 30), LIF()).double(), inputs(12, 8, 20), 1, 3)) < rule.memory
