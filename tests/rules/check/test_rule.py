"""Each check passes for every rule of ours and catches the rule that was broken for it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

import rules
from rules.check import check_rule, toy
from rules.check.rule import CHECKS
from tests.rules.check.broken import BROKEN, Unbiased

FEWER = {  # draws than by default, since to see that a mean is right takes thousands; test_flat_contract.py is faster
    "spsa": {"draws": 1},
    "node_perturbation": {"draws": 1},
    "forward_gradient": {"draws": 1},
    "uoro": {},
    "coordinate_wise": {"sparsity": 0.0},  # all of them, and exact; by chance in zero_order/test_flat_contract.py
}


# credit/zero_order/test_exact.py and test_flat_contract.py hold these credits to the contract in the fast tier
ELSEWHERE = {"hzo", "layerwise_zo", "sequential_local", "evolution_strategy"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in FEWER or name in ELSEWHERE)) for name in rules.RULES],
)
def test_every_named_rule_keeps_the_contract(name):
    report = check_rule(rules.make(name, **FEWER.get(name, {})))
    assert report.passed, str(report)
    assert len(report.results) == len(CHECKS) >= 8


@pytest.mark.parametrize(
    "rule",
    [
        rules.make("bptt", window=2),
        rules.make("bptt", checkpoint=2),
        rules.make("bptt", objective="tet", detach_reset=True),
        rules.make("stdp", every=2),
        rules.compose("ce_last", "bptt", "sgd"),
    ],
    ids=["window", "checkpoint", "tet", "every", "composed"],
)
def test_variants_keep_what_they_can(rule):
    """Pieces in time need a carry, which toy models without layers do not have: those checks report it."""
    failed = [r for r in check_rule(rule).results if not r.passed]
    assert all("takes no carry" in r.message for r in failed)


@pytest.mark.parametrize(("check", "broken"), [(check, rule) for check, rs in BROKEN.items() for rule in rs])
def test_each_check_catches_the_rule_broken_for_it(check, broken):
    good = rules.make("tet" if check == "windows add up" else "bptt")  # a window has a share of a loss of each step
    report = {r.check: r for r in check_rule(replace(good, credit=broken())).results}
    assert not report[check].passed
    assert report[check].message


def test_every_check_has_a_broken_rule():
    assert set(BROKEN) == set(CHECKS)


@pytest.mark.slow
def test_a_noisy_rule_may_claim_to_be_unbiased():
    report = check_rule(replace(rules.make("bptt"), credit=Unbiased()))
    assert report.passed, str(report)


def test_the_report_prints_a_line_for_each_check():
    text = str(check_rule("bptt"))
    assert text.count("ok  ") == len(CHECKS)
    assert torch.is_grad_enabled()


@dataclass(frozen=True)
class Eprop(rules.CreditRule):
    """E-prop with the transposed read-out: eligibility traces from the constants of the cells."""

    needs = frozenset({"layers", "cells"})
    claim = "none"

    def assign(self, model, objective, batch, state, rng):
        with rules.Meter(model) as meter, torch.no_grad():
            run = rules.run_model(model, batch, record=True)
        hidden = model.layers[0].cells
        output = run.output.detach().requires_grad_()
        loss = objective(run._replace(output=output), batch)
        (error,) = torch.autograd.grad(loss, output)
        signal = error @ model.layers[1].synapse.weight.detach()
        grads = {}
        for trace in run.traces:
            if not trace.weight.startswith("layers.0"):
                continue
            eligibility, total = torch.zeros_like(trace.pre[0]), 0
            for now, pre, u in zip(signal, trace.pre, trace.u, strict=True):
                eligibility = hidden.neuron.decay * eligibility + pre
                total = total + (now * hidden.neuron.surrogate.grad(u)).T @ eligibility
            grads[trace.weight] = total
        meter.add(
            weight_operations=sum(
                len(trace.pre) * trace.pre[0].numel() * g.shape[0] for trace, g in zip(run.traces, grads.values())
            )
        )
        return rules.Credit(grads, state, float(loss), meter.cost(forwards=1, backwards=0))


def test_a_rule_that_knows_its_neurons_can_be_checked():
    report = check_rule(Eprop())
    assert report.passed, str(report)
    assert check_rule(Eprop(), models=[(toy.recurrent(3), toy.batch())]).passed


def test_work_that_no_call_shows_has_to_be_reported():
    class Silent(rules.Meter):
        def add(self, **counts):
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "Meter", Silent, raising=False)
        failed = [result for result in check_rule(Eprop()).results if not result.passed]
    assert [result.check for result in failed] == ["cost is counted"]
    assert "weights are updated by 0 weight operations: count outer products" in failed[0].message


def own_models():
    torch.manual_seed(0)
    x, y = torch.rand(6, 5, 4, dtype=torch.float64), torch.arange(5) % 3
    recurrent = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    return [(recurrent, (x, y)), (nn.Sequential(nn.Linear(4, 3)).double(), (x[0], y))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", ["bptt", "hzo", "layerwise_zo", "spsa", "node_perturbation", "forward_gradient", "readout_only"]
)
def test_a_rule_is_checked_on_ones_own_models(rule):
    models = own_models()
    before = [copy.deepcopy(model.state_dict()) for model, _ in models]
    report = check_rule(rule, models=models)
    assert report.passed, str(report)
    assert all(torch.equal(a[k], b.state_dict()[k]) for a, (b, _) in zip(before, models) for k in a)


@pytest.mark.parametrize(
    ("check", "broken"), [(check, rule) for check, rs in BROKEN.items() for rule in rs if check == "claim holds"]
)
def test_a_false_claim_shows_on_ones_own_models(check, broken):
    if broken().claim in ("exact", "unbiased", "descent"):
        report = {r.check: r for r in check_rule(replace(rules.make("bptt"), credit=broken()), own_models()).results}
        assert not report[check].passed


def test_what_is_no_rule_or_does_not_fit_is_refused():
    with pytest.raises(TypeError, match=r"is not a rule: give a rules\.LearningRule, a rules\.CreditRule or a name"):
        check_rule(3)
    with pytest.raises(rules.MissingNeed, match="needs what GRU does not offer"):
        check_rule("hzo", models=[(nn.GRU(4, 3), (torch.rand(6, 5, 4), torch.arange(5) % 3))])
