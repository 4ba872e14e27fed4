"""Replaced feedback under online rules: with the weights themselves as feedback, the bits do not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import rules
from rules.check import check_rule
from rules.credit.feedback import Feedback
from rules.credit.online import Online
from rules.objectives import OBJECTIVES
from rules.plasticity import Adam
from rules.synapses import synapses
from sandbox.neurons import LIF
from tests.rules.credit.online.nets import LOSS, assigned, batch, net

TRACES = [Online(), Online(filter="next"), Online(filter="readout"), Online("presynaptic"), Online("step")]
NAMES = ["synapse", "next", "readout", "presynaptic", "step"]


def made(credit):
    """A network, and the credit with feedback, its state drawn."""
    model = net(LIF(reset="subtract"))
    mine = Feedback(credit, "fa").located(model, batch())
    return model, mine, mine.init(model, torch.Generator().manual_seed(0))


def credited(mine, model, given, state):
    return mine.assign(model, LOSS, given, state, torch.Generator().manual_seed(0))


def as_weights(model, state):
    """The state with every matrix replaced by the weight that it stands for."""
    known = synapses(model)
    return state._replace(matrices={name: known[name].weight.detach().clone() for name in state.matrices})


@pytest.mark.parametrize("credit", TRACES, ids=NAMES)
def test_with_the_weights_as_feedback_it_is_the_credit_without(credit):
    """The same products of the same numbers, so the same bits, biases, costs and traces included."""
    model, mine, state = made(credit)
    want, got = assigned(credit, model, batch()), credited(mine, model, batch(), as_weights(model, state))
    other = credited(mine, model, batch(), state)
    assert got.loss == want.loss == other.loss
    assert got.cost == want.cost
    assert got.grads.keys() == want.grads.keys()
    top = ("layers.2.synapse.weight", "layers.2.synapse.bias")
    for name, gradient in want.grads.items():
        assert torch.equal(got.grads[name], gradient), name
        assert torch.equal(other.grads[name], gradient) == (name in top), name


def test_windows_keep_traces_and_feedback():
    """The carry holds the traces, the state the feedback: two windows add up to the whole.

    1e-12: float64 sums of some hundred products in another order.
    """
    model, mine, state = made(Online())
    given = batch()
    whole = credited(mine, model, given, state)
    first = credited(mine, model, given._replace(x=given.x[:12]), state)
    second = credited(mine, model, given._replace(x=given.x[12:], carry=first.carry), first.state)
    for name, gradient in whole.grads.items():
        parts = first.grads[name] * 12 / 20 + second.grads[name] * 8 / 20
        assert float((parts - gradient).norm() / gradient.norm()) < 1e-12, name


@pytest.mark.parametrize("kind", ["fa", "weight_mirror", "kolen_pollack"])
def test_a_window_as_long_as_the_sequence_is_none_at_all(kind):
    """Bit for bit, over three updates in which the feedback learns."""
    ends = []
    for every in (None, 20):
        rule = rules.LearningRule(OBJECTIVES["tet"](), Feedback(Online(), kind), Adam(lr=1e-2), every=every)
        trainer = rules.Trainer(net(LIF(), (6, "5r")), rule)
        for _ in range(3):
            trainer.step(batch())
        ends.append(trainer.model.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert not torch.equal(ends[0]["layers.0.synapse.weight"], net(LIF(), (6, "5r")).layers[0].synapse.weight)


def test_a_partition_gives_each_layer_the_signal_of_its_own():
    """The lower layer hears the error through random weights, the others through their own."""
    model, given = net(LIF(), (6, "5r")), batch()
    lower, upper = Feedback(Online(), "fa"), Online()
    credit = rules.Partition(((lower, ("layers.0.*",)), (upper, ("layers.[12].*",)))).located(model, given)
    rule = rules.LearningRule(OBJECTIVES["tet"](), credit, Adam(lr=1e-2), every=6)
    assert rules.Trainer(model, rule).step(given).cost.forwards == 2 * 4  # both run the model, in four windows
    model = net(LIF(), (6, "5r"))
    state = credit.init(model, torch.Generator().manual_seed(0))
    found = credited(credit, model, given, state).grads
    alone = lower.located(model, given)
    want = credited(alone, model, given, state[0]).grads
    other = assigned(upper, model, given).grads
    for name, gradient in found.items():
        assert torch.equal(gradient, (want if name.startswith("layers.0.") else other)[name]), name


def test_the_contract_holds():
    report = check_rule(rules.LearningRule(OBJECTIVES["tet"](), Feedback(Online(), "fa"), Adam(lr=1e-2)))
    assert report.passed, str(report)


@pytest.mark.parametrize("change", [{"signal": "random"}, {"trace": "influence"}, {"trace": "rank_one"}], ids=str)
def test_credits_that_send_nothing_down_through_synapses_are_refused(change):
    message = r"Online carries no error back by autograd alone.*rules\.Feedback\(rules\.Online\(\), 'fa'\)"
    with pytest.raises(ValueError, match=message):
        Feedback(replace(Online(), **change), "fa")


def test_direct_kinds_wait_for_the_end_of_a_pass():
    with pytest.raises(
        ValueError, match=r'kind=\'dfa\' sends the error of a whole pass.*rules.Online\(signal="random"\)'
    ):
        Feedback(Online(), "dfa")
