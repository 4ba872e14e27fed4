"""A rule of spike times that writes to devices under generated streams of spikes."""

from __future__ import annotations

import warnings

import torch
from hypothesis import strategies as st

import rules
from rules.contract import Batch
from rules.plasticity import Memristor
from rules.plasticity.memristor import AccumulateAndCarry, ConstantStep, Direct
from tests.rules.credit.spike_timing.nets import net

STEP, SCALE = 1e-6, 1000.0  # a pulse is 0.001, far from the bounds at -1000 and 1000
STREAMS = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=2, max_size=25)
STORES = [Direct(), AccumulateAndCarry(threshold=3, period=2), AccumulateAndCarry(threshold=4, period=1, one_step=True)]


def taught(rule, store, streams, every=None):
    """Show one stream after the other; return what was asked for, the changes, the devices' states, pulses and steps."""
    model = net(("5r", 4))
    devices = Memristor(ConstantStep(dw_min=STEP), store, scale=SCALE)
    trainer = rules.Trainer(model, rules.LearningRule(rules.OBJECTIVES["tet"](), rule, devices, every))
    held = rule.parameters(model)
    before, asked = ({name: how(p.detach()) for name, p in held.items()} for how in (torch.clone, torch.zeros_like))
    steps = []

    def listen(optimizer, args, kwargs):
        steps.append(optimizer)
        for name, p in held.items():
            asked[name] -= p.grad

    counted = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of streams without a spike
        for number, stream in enumerate(streams):
            batch = Batch(torch.tensor(stream, dtype=torch.float64)[:, None])
            trainer.begin(batch)
            if number == 0:
                trainer.optimizer.register_step_pre_hook(listen)
            counted += trainer.step(batch).cost.pulses
    states = {name: trainer.optimizer.state[p] for name, p in held.items()}
    moved = {name: p.detach() - before[name] for name, p in held.items()}
    return asked, moved, states, counted, len(steps)


def written(moved, store):
    """The whole pulses that a change of a parameter is made of, in pulses that were asked for."""
    pulses = moved / (SCALE * STEP)
    assert float((pulses - pulses.round()).abs().max()) < 1e-6  # sums of 1e3 roundings of 1e-13
    return pulses.round() * getattr(store, "threshold", 1)


def require_conserved(rule, store, streams, every, apart):
    """Require that each pulse is counted, and that what was asked for is written or carried, up to `apart` a step."""
    asked, moved, states, counted, steps = taught(rule, store, streams, every)
    for name, state in states.items():
        found = written(moved[name], store) + state["store"].get("counter", torch.zeros_like(moved[name]))
        assert torch.equal(found, found.round())
        assert float((found - asked[name]).abs().max()) < max(steps * apart, 1e-9)  # of counts up to 1e3
    assert counted == sum(state["writes"] for state in states.values())
    assert counted >= sum(int((m / (SCALE * STEP)).round().abs().sum()) for m in moved.values())
