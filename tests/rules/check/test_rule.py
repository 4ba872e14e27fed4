"""Each check passes for every rule of ours and catches the rule that was broken for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import rules
from rules.check import check_rule
from rules.check.rule import CHECKS
from tests.rules.check.broken import BROKEN, Unbiased

FEWER = {  # draws than by default, since to see that a mean is right takes thousands; test_flat_contract.py is faster
    "spsa": {"draws": 1},
    "node_perturbation": {"draws": 1},
    "forward_gradient": {"draws": 1},
    "coordinate_wise": {"sparsity": 0.0},  # all of them, and exact; by chance in zero_order/test_flat_contract.py
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in FEWER)) for name in rules.RULES]
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
        rules.compose("ce_last", "bptt", "sgd"),
    ],
    ids=["window", "checkpoint", "tet", "composed"],
)
def test_variants_keep_what_they_can(rule):
    """Pieces in time need a carry, which toy models without layers do not have: those checks report it."""
    failed = [r for r in check_rule(rule).results if not r.passed]
    assert all("takes no carry" in r.message for r in failed)


@pytest.mark.parametrize(("check", "broken"), [(check, rule) for check, rs in BROKEN.items() for rule in rs])
def test_each_check_catches_the_rule_broken_for_it(check, broken):
    good = rules.make("bptt")
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
