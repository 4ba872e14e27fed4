"""Several credits on one model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
import sandbox
from rules.check import check_rule, toy
from rules.credit.bptt import BPTT
from rules.credit.online import Online
from rules.credit.restricted import Partition
from rules.credit.zero_order import SPSA
from rules.objectives import OBJECTIVES
from rules.plasticity import SGD

LOSS = OBJECTIVES["tet"]()


def assigned(credit, model, batch):
    rng = torch.Generator().manual_seed(0)
    return credit.assign(model, LOSS, batch, credit.init(model, torch.Generator().manual_seed(0)), rng)


def test_each_parameter_gets_the_credit_of_its_part():
    model, batch = toy.recurrent(), toy.batch()
    mixed = assigned(Partition(((Online(), ("layers.0.*",)), (BPTT(), ("layers.1.*",)))), model, batch)
    one, two = assigned(Online(), model, batch), assigned(BPTT(), model, batch)
    assert mixed.grads.keys() == one.grads.keys()
    for name, g in mixed.grads.items():
        assert torch.equal(g, (one if name.startswith("layers.0") else two).grads[name]), name
    assert mixed.cost.forwards == 2
    assert mixed.loss == one.loss


def test_it_passes_the_checks_of_rules():
    """A gradient in two parts is the gradient, so autograd is its reference."""
    parts = ((BPTT(), ("*0.*",)), (BPTT(), ("*[12].*",)))
    assert check_rule(Partition(parts), models=[(toy.smooth(), toy.batch()), (toy.recurrent(), toy.batch())]).passed


def test_a_team_refuses_parts_that_share_it_in_different_ways():
    credit = Partition(((SPSA(), ("0.*",)), (BPTT(), ("2.*",))))
    assert assigned(credit, toy.smooth(), toy.batch()).grads.keys() == dict(toy.smooth().named_parameters()).keys()
    with pytest.raises(ValueError, match="different ways, draws, mean: let one process learn"):
        _ = credit.over_processes


def test_a_parameter_of_two_parts_is_named():
    credit = Partition(((BPTT(), ("*",)), (BPTT(), ("2.*",))))
    with pytest.raises(ValueError, match="2.bias, 2.weight belong to two parts"):
        rules.Trainer(
            nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), rules.LearningRule(LOSS, credit, SGD(0.1))
        )


def test_a_parameter_of_no_part_is_named_unless_it_is_frozen():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    credit = Partition(((BPTT(), ("0.*", "2.bias", "3.*")), (BPTT(), ("4.*",))))
    with pytest.raises(ValueError, match=r"no part .* trains 1.weight, 1.bias, 2.weight of Sequential: add to"):
        rules.Trainer(net, rules.LearningRule(LOSS, credit, SGD(0.1)))
    net[1].requires_grad_(False)
    with pytest.raises(ValueError, match=r"trains 2.weight of .*: model.get_parameter\('2.weight'\).requires_grad_\(F"):
        rules.Trainer(net, rules.LearningRule(LOSS, credit, SGD(0.1)))
    net.get_parameter("2.weight").requires_grad_(False)
    trained = rules.Trainer(net, rules.LearningRule(LOSS, credit, SGD(0.1))).parameters
    assert [*trained] == ["0.weight", "0.bias", "2.bias", "3.weight", "3.bias", "4.weight", "4.bias"]


def test_what_a_credit_itself_leaves_out_is_no_gap():
    credit = Partition(((Online(depth="last"), ("*",)), (BPTT(), ("layers.0.*",))))
    model = sandbox.build((3,), 2, (4, 4), seed=0)
    assert credit.parameters(model).keys() == dict(model.named_parameters()).keys()
    deeper = sandbox.build((3,), 2, (4, 4, 4), seed=0)
    assert not any(name.startswith("layers.1") for name in credit.parameters(deeper))


def test_one_part_is_a_restriction():
    with pytest.raises(ValueError, match=r"at least two, or use rules.Restricted\(credit, only\)"):
        Partition(((BPTT(), ("*",)),))


def test_windows_carry_each_part():
    """Traces of one part and states of the other go on from where a window ends."""
    credit = Partition(((Online(), ("layers.0.*",)), (Online(trace="step"), ("layers.1.*",))))
    rule = rules.LearningRule(LOSS, credit, SGD(0.0), every=1)
    model, batch = toy.recurrent(), toy.batch()
    info = rules.Trainer(model, rule).step(batch)
    assert info.updates == toy.STEPS
    assert info.loss == pytest.approx(assigned(credit, model, batch).loss, rel=1e-12)
