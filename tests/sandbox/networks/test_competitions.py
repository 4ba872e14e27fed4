"""Winners, sparsemax and raw scores: against loops, a projection found by bisection, and the Jacobian of softmax."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import softmax

from rules.spikes.surrogate import differentiating
from sandbox.networks.competitions import Raw, Softmax, Sparsemax, Winners

SMALL = st.integers(0, 3)  # products of spikes: ties are common


@st.composite
def rows(draw, least=1):
    """Scores in whole numbers, and which are allowed, at least one."""
    keys = draw(st.integers(least, 7))
    scores = draw(st.lists(SMALL, min_size=keys, max_size=keys))
    allowed = draw(st.lists(st.booleans(), min_size=keys, max_size=keys).filter(any))
    return torch.tensor([scores], dtype=torch.float64), torch.tensor([allowed])


def winners(scores, allowed, count, ties):
    """The indices of the winners, by sorting tuples."""
    order = -1 if ties == "recent" else 1
    open_ = [(-score, order * place) for place, score in enumerate(scores) if allowed[place]]
    return sorted(abs(place) for _, place in sorted(open_)[:count])


@settings(deadline=None)
@given(rows(), st.integers(1, 5), st.sampled_from(["lowest", "recent"]))
def test_as_many_win_as_may_and_ties_are_broken_as_said(given_, count, ties):
    scores, allowed = given_
    shown = Winners(count, ties)(scores, allowed)[0]
    assert set(shown.tolist()) <= {0.0, 1.0}
    assert shown.nonzero()[:, 0].tolist() == winners(scores[0].tolist(), allowed[0].tolist(), count, ties)


@settings(deadline=None)
@given(rows(least=2))
def test_one_winner_makes_the_product_a_gather(given_):
    scores, allowed = given_
    values = torch.rand(scores.shape[1], 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    won = winners(scores[0].tolist(), allowed[0].tolist(), 1, "lowest")
    assert torch.equal(Winners()(scores, allowed) @ values, values[won])


def test_random_ties_spread_over_equal_scores_in_training_alone():
    scores, allowed = torch.ones(1, 3), torch.tensor([[True, False, True]])
    compete = Winners(ties="random")
    with differentiating(generator=torch.Generator().manual_seed(0)):
        won = sum(compete(scores, allowed) for _ in range(400))[0]
    assert won[1] == 0
    assert abs(float(won[0]) - 200) < 50  # five standard deviations of a fair coin
    assert compete.eval()(scores, allowed).tolist() == [[1.0, 0.0, 0.0]]


@settings(deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=2, max_size=5),
    st.integers(1, 3),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_the_gradient_of_winners_is_the_jacobian_of_softmax(scores, count, temperature):
    scores = torch.tensor([[*scores, 9.0]], dtype=torch.float64, requires_grad=True)
    allowed = torch.tensor([[True] * (scores.shape[1] - 1) + [False]])
    wanted = torch.arange(1.0, scores.shape[1] + 1, dtype=torch.float64)[None]
    (Winners(count, temperature=temperature)(scores, allowed) * wanted).sum().backward()
    open_, g = scores.detach().numpy()[0, :-1], wanted.numpy()[0, :-1]
    p = softmax(open_ / temperature)
    exact = (np.diag(p) - np.outer(p, p)) @ g / temperature
    np.testing.assert_allclose(scores.grad.numpy()[0, :-1], exact, atol=1e-13)  # of float64
    assert scores.grad[0, -1] == 0
    step = 1e-6  # its error is of the order of its square, and of 1e-16 / step
    for place in range(len(open_)):
        there, back = (
            (softmax((open_ + sign * step * np.eye(len(open_))[place]) / temperature) @ g) for sign in (1, -1)
        )
        assert abs((there - back) / (2 * step) - exact[place]) < 1e-8


def test_cold_softmax_is_the_winner():
    scores = torch.tensor([[0.3, 0.9, 0.8, -1.0]], dtype=torch.float64)  # the top gap is 0.1
    allowed = torch.ones_like(scores, dtype=torch.bool)
    apart = Softmax(0.01)(scores, allowed) - Winners()(scores, allowed)
    assert float(apart.abs().max()) < 1e-3


def test_hard_and_soft_have_the_same_values_whether_differentiated_or_not():
    scores = torch.rand(4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    allowed = torch.ones(4, 5, dtype=torch.bool).tril(1)
    compete = Winners(2)
    assert torch.equal(compete(scores, allowed), compete(scores.detach(), allowed))


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores):
    scores = torch.tensor([[*scores, 5.0]], dtype=torch.float64)
    allowed = torch.tensor([[True] * (scores.shape[1] - 1) + [False]])
    open_ = scores.numpy()[0, :-1]
    tau = brentq(lambda tau: np.maximum(open_ - tau, 0).sum() - 1, open_.min() - 2, open_.max(), xtol=1e-15)
    shown = Sparsemax()(scores, allowed)[0]
    np.testing.assert_allclose(shown[:-1], np.maximum(open_ - tau, 0), atol=1e-12)  # of bisection
    assert shown[-1] == 0


def test_gradients_of_sparsemax_are_those_of_finite_differences():
    scores = torch.tensor([[1.0, 0.6, -0.7, 0.9], [0.0, 3.0, 0.1, -2.0]], dtype=torch.float64, requires_grad=True)
    allowed = torch.tensor([[True, True, True, False], [True, True, True, True]])
    assert torch.autograd.gradcheck(lambda s: Sparsemax()(s, allowed), (scores,))


def test_raw_scores_stay_and_others_are_zero():
    scores, allowed = torch.tensor([[2.0, -1.0, 3.0]]), torch.tensor([[True, True, False]])
    assert Raw()(scores, allowed).tolist() == [[2.0, -1.0, 0.0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Winners(0), "count=0: give the number of winners of a row, at least 1"),
        (lambda: Winners(ties="newest"), "unknown ties 'newest'; nearest: 'lowest'; valid: lowest, recent"),
        (lambda: Softmax(0.0), "temperature=0.0: give a number above 0"),
    ],
)
def test_what_cannot_compete_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
