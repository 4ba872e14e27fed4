"""Ranking of items from clicks: the factorisation machine, the loss of pairs, and what models learn."""

from __future__ import annotations

from itertools import combinations
from math import exp, log

import pytest
import torch

import rules
from rules.diagnostics.health import HealthWarning
from tests.illustrations.scripts import TIGHT, page, rng, script


def test_a_factorisation_machine_needs_no_double_loop():
    v, x = torch.randn(5, 7, 3, dtype=torch.float64, generator=rng()), torch.rand(5, 7, 1, generator=rng(1)).double()
    found = script("ranking").interactions(v * x)
    for row in range(5):
        wanted = sum(float(v[row, i] @ v[row, j]) * float(x[row, i] * x[row, j]) for i, j in combinations(range(7), 2))
        assert float(found[row]) == pytest.approx(wanted, rel=1e-12)  # float64


def test_the_loss_of_pairs_equals_its_formula():
    scores = torch.randn(1, 6, 2, dtype=torch.float64, generator=rng())
    wanted = [-log(1 / (1 + exp(-(float(clicked) - float(passed))))) for clicked, passed in scores[0]]
    loss, run = script("ranking").Pairwise(), rules.Run(scores)
    torch.testing.assert_close(loss.each(run, None), torch.tensor(wanted, dtype=torch.float64), **TIGHT)
    assert float(loss(run, None)) == pytest.approx(sum(wanted) / 6, rel=1e-12)  # float64


def test_scores_that_are_all_equal_rank_half_of_the_pairs():
    found = rules.measures.Accuracy()
    found.add(*script("ranking").Pairwise().answers(rules.Run(torch.zeros(1, 10, 2)), None))
    assert found.report()["accuracy"] == 0.5


def test_the_order_of_scores_is_what_counts_as_right():
    scores = torch.tensor([[[2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [3.0, 0.0]]])
    found = rules.measures.Accuracy()
    found.add(*script("ranking").Pairwise().answers(rules.Run(scores), None))
    assert found.report() == {"accuracy": 0.6}


def test_clicks_follow_the_known_taste():
    """A pair that the taste tells apart by d is clicked in its order with the probability sigma(d)."""
    ranking = script("ranking")
    x = ranking.clicks(20_000, rng())
    ahead = ranking.taste(x["clicked"]) - ranking.taste(x["passed"])
    assert bool((x["clicked"][..., [0, 2]] == x["passed"][..., [0, 2]]).all())  # the same user and place
    assert bool((x["clicked"][..., 1] != x["passed"][..., 1]).all())
    close = ahead.abs() < 1
    wanted = torch.sigmoid(ahead[close].abs()).mean()
    assert float((ahead[close] > 0).float().mean()) == pytest.approx(float(wanted), abs=0.03)  # 4 standard errors


def test_a_network_ranks_pairs_beyond_the_popular_items():
    """Chance is 0.5, popular items 0.623, the taste itself 0.843; the margin is ten standard errors."""
    ranking = script("ranking")
    rule, _ = ranking.RULES["bptt"]
    assert ranking.learned(rule, 4) > ranking.popular() + 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "margin"), [("fa", 0.3), ("spsa", 0.15)])
def test_other_rules_rank_pairs_better_than_chance(name, margin):
    ranking = script("ranking")
    assert ranking.learned(*ranking.RULES[name]) > 0.5 + margin


def test_what_the_page_on_ranking_says_of_other_rules():
    ranking = script("ranking")
    (batch,) = ranking.loader(1, seed=0)
    rule = rules.LearningRule(ranking.Pairwise(), rules.make("dfa").credit, rules.make("dfa").plasticity)
    with pytest.raises(ValueError, match=r"'deep.0' sees 2 inputs .* rules.make\('fa'\)"):
        rules.Trainer(ranking.DeepFM(), rule).step(batch)
    rule = rules.make("node_perturbation", objective=ranking.Pairwise())
    with pytest.warns(HealthWarning, match="leaves weight.weight, factors.weight of DeepFM as they are"):
        rules.Trainer(ranking.DeepFM(), rule)
    model = ranking.DeepFM()
    model.deep[2] = torch.nn.Linear(16, 1)
    with pytest.warns(HealthWarning, match="deep.2.bias is without credit"):
        rules.Trainer(model, rules.make("bptt", objective=ranking.Pairwise())).step(batch)
    info = rules.Trainer(ranking.DeepFM(), rules.make("spsa", objective=ranking.Pairwise())).step(batch)
    assert f"`spsa` takes {info.cost.forwards} forward passes a step" in page("ranking")
