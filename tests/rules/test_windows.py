"""Updates inside a sequence: windows, shares of a loss, and what is refused."""

from __future__ import annotations

import copy
import io
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rules
from rules.check import toy
from rules.contract import Batch, Run
from rules.credit.online import Online
from rules.forward import pieces
from rules.objectives import OBJECTIVES, Sum
from rules.plasticity import SGD
from rules.spikes.surrogate import differentiating
from rules.windows import Share, windows

TET = OBJECTIVES["tet"]()
STEPS = {
    "ce_rate": lambda: OBJECTIVES["ce_rate"](),
    "weighted": lambda: OBJECTIVES["ce_rate"](weight=(0.3, 1.0, 2.5)),
    "tet": lambda: OBJECTIVES["tet"](lam=0.4),
    "mse": lambda: OBJECTIVES["mse"](at="step"),
    "huber": lambda: OBJECTIVES["huber"](at="step"),
    "sum": lambda: Sum((OBJECTIVES["tet"](), OBJECTIVES["ce_rate"]())),
}


def rule(every=None, credit=None, lr=0.1):
    return rules.LearningRule(TET, credit or Online(), SGD(lr, momentum=0.0), every)


@settings(deadline=None)
@given(st.sampled_from([*STEPS]), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(0, 99))
def test_shares_add_up_to_the_loss(name, every, by_step, ragged, seed):
    """Over windows of any size, with answers of samples or of steps, some left out, padded or not."""
    rng = torch.Generator().manual_seed(seed)
    output = torch.randn(8, 4, 3, generator=rng, dtype=torch.float64)
    numbers = name in ("mse", "huber")
    shape = (8, 4) if by_step else (4,)
    if numbers:
        answers = torch.randn(*shape, 3, generator=rng, dtype=torch.float64)
    else:
        answers = torch.randint(3, shape, generator=rng)
        answers[..., 0] = -100
        answers[..., 1] = 1  # one that counts, in every step
    lengths = torch.tensor([8, 5, 1, 7]) if ragged else None
    batch = Batch(torch.zeros(8, 4, 1), **{"targets" if by_step else "y": answers}, lengths=lengths)
    objective = STEPS[name]()
    share, found, start = objective.shares(batch), 0.0, 0
    for piece in pieces(batch, every):
        found += float(share(Run(output[start : start + every]), piece))
        start += every
    assert found == pytest.approx(float(objective(Run(output), batch)), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if OBJECTIVES[name]().timing == "sequence"])
def test_a_loss_of_the_whole_sequence_has_no_shares(name):
    with pytest.raises(ValueError, match=r'sees the whole sequence.*objective="ce_rate" or objective="tet"'):
        OBJECTIVES[name]().shares(toy.batch())


@pytest.mark.parametrize("name", ["eprop", "ottt", "tet", "rtrl", "decolle"])
def test_one_window_is_the_whole_bit_for_bit(name):
    trained = []
    for every in (None, toy.STEPS, 100):
        trainer = rules.Trainer(toy.recurrent(), rules.make(name, every=every), seed=0)
        infos = [trainer.step(toy.batch(seed)) for seed in range(2)]
        trained.append((trainer.model.state_dict(), [info.loss for info in infos]))
    for weights, losses in trained[1:]:
        assert losses == trained[0][1]
        assert all(torch.equal(weights[key], value) for key, value in trained[0][0].items())


@pytest.mark.parametrize(("every", "updates"), [(1, 4), (2, 2), (3, 2), (4, 1)])
def test_the_last_window_is_shorter_where_every_does_not_divide(every, updates):
    info = rules.Trainer(toy.recurrent(), rule(every)).step(toy.batch())
    assert info.updates == updates
    assert info.samples == toy.SAMPLES
    assert info.cost.forwards == updates


def test_weights_move_inside_a_sequence():
    """Two windows are two steps of SGD, the second from the state and with the weights that the first left."""
    model, batch = toy.recurrent(), toy.batch()
    by_hand = copy.deepcopy(model)
    rules.Trainer(model, rule(2)).step(batch)
    credit, carry = Online(), None
    for piece in pieces(batch, 2):
        objective = rules.windows.Share(TET, batch)
        found = credit.assign(by_hand, objective, piece._replace(carry=carry), {}, torch.Generator())
        carry = found.carry
        with torch.no_grad():
            for name, p in by_hand.named_parameters():
                p.add_(found.grads[name], alpha=-0.1)
    assert all(torch.equal(p, dict(by_hand.named_parameters())[name]) for name, p in model.named_parameters())


def test_a_training_in_windows_resumes_bit_for_bit():
    whole, first, second = (rules.Trainer(toy.recurrent(), rules.make("eprop", every=2), seed=3) for _ in range(3))
    batches = [toy.batch(seed) for seed in range(3)]
    for batch in batches:
        whole.step(batch)
    first.step(batches[0])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.begin(batches[0])
    second.load_state_dict(torch.load(file, weights_only=True))
    for batch in batches[1:]:
        second.step(batch)
    assert all(torch.equal(p, q) for p, q in zip(whole.model.parameters(), second.model.parameters(), strict=True))


def test_a_caller_may_continue_a_sequence_from_the_carry():
    """Two calls of half a sequence leave what one call in windows of that size leaves, up to the share of the loss."""
    model, batch = toy.recurrent(), toy.batch()
    trainer = rules.Trainer(model, rule(lr=0.0))
    first, second = pieces(batch, 2)
    info = trainer.step(first)
    after = trainer.step(second._replace(carry=info.carry))
    whole = rules.Trainer(toy.recurrent(), rule(lr=0.0)).step(batch)
    assert (info.loss + after.loss) / 2 == pytest.approx(whole.loss, rel=1e-12)


@pytest.mark.parametrize("name", ["spsa", "forward_gradient", "coordinate_wise", "evolution_strategy"])
def test_a_zero_order_rule_begins_a_window_where_the_last_one_ended(name):
    """By hand: the credit of each window from the carry of a pass with the weights before it."""
    model, by_hand, batch = toy.recurrent(), toy.recurrent(), toy.batch()
    made = rules.LearningRule(TET, rules.make(name).credit, SGD(0.1, momentum=0.0), 2)
    trainer = rules.Trainer(model, made, seed=0)
    info = trainer.step(batch)
    assert info.updates == 2
    rng = rules.Trainer(by_hand, made, seed=0).rng
    carry, loss = None, 0.0
    for _, piece in windows(made, batch):
        piece = piece._replace(carry=carry)
        with differentiating(generator=rng):
            credit = made.credit.assign(by_hand, Share(TET, batch), piece, (), rng)
        carry, loss = by_hand(piece.x, carry).carry, loss + credit.loss
        with torch.no_grad():
            for key, p in by_hand.named_parameters():
                p.sub_(credit.grads[key], alpha=0.1)
    assert info.loss == pytest.approx(loss, rel=1e-12)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), by_hand.parameters(), strict=True))
    assert info.carry is not None


def test_windows_keep_the_objects_of_a_whole_sequence():
    made = [*windows(rule(), toy.batch())]
    assert made[0][0] is TET
    assert len(made) == 1


class TestRefused:
    def test_a_loss_that_sees_the_future(self):
        with pytest.raises(ValueError, match="every=5: MeanCrossEntropy sees the whole sequence"):
            rules.make("bptt", every=5)

    @pytest.mark.parametrize(
        ("objective", "words"),
        [
            ({"options": {"at": "step"}}, "has no name: write {'name': ..., 'options': {...}}"),
            ({"name": "mse", "option": {}}, "unknown key of objective 'option'; nearest: 'options'"),
            ({"name": "mse", "options": {"att": "step"}}, "unknown option of objective 'mse' 'att'; nearest: 'at'"),
            ({"name": "msee"}, "unknown objective 'msee'; nearest: 'mse'"),
        ],
    )
    def test_a_loss_with_options_that_is_misspelt(self, objective, words):
        with pytest.raises(ValueError, match=re.escape(words)):
            rules.make("eprop", objective=objective)

    @pytest.mark.parametrize("name", ["eprop", "ottt", "rtrl", "decolle"])
    def test_a_loss_that_sees_the_future_under_an_online_rule(self, name):
        with pytest.raises(ValueError, match='MeanCrossEntropy sees the whole sequence.*"ce_rate" or objective="tet"'):
            rules.make(name, objective="ce_mean")

    @pytest.mark.parametrize("name", ["hzo", "binary_stochastic", "node_perturbation"])
    def test_a_credit_that_learns_from_whole_sequences(self, name):
        made = rules.make(name)
        with pytest.raises(ValueError, match="every=5: .* learns from whole sequences"):
            rules.LearningRule(TET, made.credit, made.plasticity, every=5)
        with pytest.raises(ValueError, match="every=5: .* learns from whole sequences"):
            rules.make(name, every=5)  # no other loss would do

    @pytest.mark.parametrize("every", [0, -1, 2.5, True, "x", 2**70])
    def test_what_is_not_a_number_of_steps(self, every):
        with pytest.raises(ValueError, match="every"):
            rules.make("tet", every=every)

    def test_a_model_without_a_carry(self):
        with pytest.raises(rules.MissingNeed, match=r"carry: .*let forward\(x, carry=None\) return rules.Run"):
            rules.Trainer(torch.nn.Sequential(torch.nn.Linear(3, 2)), rules.make("tet", every=2))

    def test_accumulation(self):
        with pytest.raises(ValueError, match="accumulate=2 after several: leave one of them out"):
            rules.Trainer(toy.recurrent(), rule(2), accumulate=2)

    def test_an_input_without_time(self):
        batch = toy.batch()
        with pytest.raises(ValueError, match=r"every=2 cuts sequences \[T, B, ...\] along time"):
            [*windows(rule(2), batch._replace(x=batch.x[0]))]

    @pytest.mark.parametrize("steps", [3, 9])
    def test_targets_of_another_number_of_steps(self, steps):
        batch = toy.batch()
        given = batch._replace(y=None, targets=torch.zeros(steps, batch.x.shape[1], dtype=torch.int64))
        with pytest.raises(ValueError, match=rf"every=2 cuts targets along time .*{steps} steps of .*targets\[:"):
            [*windows(rule(2), given)]
