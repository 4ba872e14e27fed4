"""What a person reads of a step: one line, however much its carry holds."""

from __future__ import annotations

import pytest
import torch

import rules
import sandbox
from rules.brief import brief


@pytest.mark.parametrize("name", ["bptt", "eprop", "spsa"])
def test_a_step_prints_as_one_line(name):
    model = sandbox.build((5,), 3, ("12r", 8), seed=0)
    rule, batch = rules.make(name), rules.Batch(torch.rand(9, 4, 5), torch.arange(4) % 3)
    info = rules.Trainer(model, rule, health=rules.Health(every=0)).step(batch)
    assert repr(info).startswith("StepInfo(step=1, epoch=0, loss=")
    credit = rule.credit.assign(
        model, rule.objective, batch, rule.credit.init(model, torch.Generator()), torch.Generator()
    )
    assert repr(credit).startswith("Credit(grads=<")
    for text in (repr(info), repr(credit), str(info)):
        assert "\n" not in text
        assert "tensor(" not in text
        assert len(text) < 700


def test_tensors_are_counted_wherever_they_are():
    inner = (torch.zeros(2, dtype=torch.float64), [torch.zeros(3, dtype=torch.int64)], None)
    assert brief(rules.Batch({"a": torch.zeros(4)}, carry=inner)) == "<3 tensors, 56 bytes>"
    assert brief(rules.Cost(pulses=3)) == "Cost(pulses=3)"
