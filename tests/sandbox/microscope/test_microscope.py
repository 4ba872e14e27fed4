"""The microscope reports the truth about correct rules, about deliberately broken ones, and about what is unknown."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

import rules
from rules import Trainer
from rules.check import toy
from rules.check.claims import same
from rules.credit.bptt import BPTT
from rules.credit.zero_order import SPSA, EvolutionStrategy, ForwardGradient, NodePerturbation
from sandbox.microscope import Backpropagation, Microscope, Smoothed, measures
from tests.sandbox.microscope import broken
from tests.sandbox.microscope.models import TRAINERS, escape, quadratic, square
from tests.sandbox.microscope.models import batch as sequences

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")
ONCE = Microscope(references=("bptt",))


def rows_of(credit, references=("bptt",), draws=8, model=None, batch=None):
    """The rows of a look at a credit rule on a smooth toy, by layer and reference."""
    trainer = Trainer(toy.smooth() if model is None else model, quadratic(credit))
    look = Microscope(references=references, draws=draws).look(trainer, batch or toy.batch())
    return {(row.layer, row.reference): row for row in look.rows}


@pytest.mark.parametrize(
    "model", [toy.smooth, lambda: toy.leaky(spiking=True), escape], ids=["smooth", "spikes", "noise"]
)
def test_backpropagation_is_along_itself(model):
    net = model()
    given = sequences() if net.__class__.__name__ == "Network" else toy.batch()
    look = ONCE.look(Trainer(net, "bptt"), given)
    assert len(look.rows) == sum(p.ndim > 1 for p in net.parameters())
    for row in look.rows:
        assert row.cosine == pytest.approx(1, abs=1e-12)
        assert (row.sign_agreement, row.bias, row.bias_error) == (1, 0, 0)
        assert row.norm_ratio == pytest.approx(1, abs=1e-12)


def test_a_stochastic_model_is_drawn_several_times():
    (row, *_) = ONCE.look(Trainer(escape(), "bptt"), sequences()).rows
    assert row.draws == 8
    assert row.variance > 0
    assert row.reference_error > 0
    (row, *_) = ONCE.look(Trainer(toy.leaky(spiking=True), "bptt"), toy.batch()).rows
    assert (row.draws, row.variance, row.reference_error) == (1, 0, 0)


@pytest.mark.parametrize("credit", [SPSA(draws=1), NodePerturbation(), ForwardGradient(draws=2)], ids=str)
def test_an_unbiased_rule_shows_no_bias(credit):
    """Four standard errors, and the error of third order that a finite perturbation leaves."""
    for row in rows_of(credit, ("differences",), draws=200).values():
        assert abs(row.bias) < 4 * row.bias_error + 1e-3
        assert abs(row.across) < 4 * row.across_error + 1e-3
        assert row.bias_error < 0.5
        assert row.variance > 0


@pytest.mark.parametrize("credit", [BPTT(), NodePerturbation()], ids=str)
def test_a_tenth_too_little_shows(credit):
    row = rows_of(broken.Scaled(credit), draws=200)["2.weight", "bptt"]
    assert row.bias == pytest.approx(-0.1, abs=4 * row.bias_error + 1e-12)
    assert row.bias < -4 * row.bias_error - 1e-3


def test_a_flipped_layer_shows_and_the_other_does_not():
    for credit, draws in ((BPTT(), 1), (NodePerturbation(), 50)):
        found = rows_of(broken.OneLayer(credit, factor=-1.0), draws=draws)
        flipped, kept = found["0.weight", "bptt"], found["2.weight", "bptt"]
        assert flipped.cosine < -0.5 < 0.5 < kept.cosine
        assert flipped.sign_agreement < 0.5 < kept.sign_agreement
        assert abs(flipped.bias + 2) < 4 * flipped.bias_error + 1e-9
        assert flipped.bias < -4 * flipped.bias_error - 1
        assert abs(kept.bias) < 4 * kept.bias_error + 1e-3


def test_a_silenced_layer_shows():
    row = rows_of(broken.OneLayer(factor=0.0))["0.weight", "bptt"]
    assert (row.cosine, row.norm_ratio, row.sign_agreement) == (None, 0, 0)
    assert row.bias == pytest.approx(-1)
    assert row.note == "the credit is 0 everywhere"


def test_bias_across_the_gradient_shows_where_bias_along_it_cannot():
    exact = rows_of(broken.Sideways())["0.weight", "bptt"]
    assert exact.bias == pytest.approx(0, abs=1e-12)
    assert exact.across == pytest.approx(1)
    drawn = rows_of(broken.Sideways(NodePerturbation()), draws=50)["0.weight", "bptt"]
    assert drawn.across == pytest.approx(1, abs=4 * drawn.across_error)
    assert drawn.across > 4 * drawn.across_error
    assert abs(rows_of(NodePerturbation(), draws=50)["0.weight", "bptt"].across) < 4 * drawn.across_error


def test_a_swapped_label_changes_what_is_said():
    right, wrong = (rows_of(credit, model=square()) for credit in (BPTT(), broken.Swapped()))
    for key, row in right.items():
        assert row.cosine == pytest.approx(1)
        assert abs(wrong[key].cosine) < 0.9
    assert wrong["0.weight", "bptt"].norm_ratio == pytest.approx(1 / wrong["2.weight", "bptt"].norm_ratio)


def test_variance_and_its_error_are_those_of_the_draws():
    """Against the plain formulas, of numbers that one can check by hand."""
    drawn, known = torch.tensor([[2.0, 1.0], [4.0, -1.0]]), torch.tensor([[2.0, 0.0]])
    found = measures.measures(drawn, known, paired=False, settled=False)
    assert found["bias"] == 0.5  # mean (3, 0) beside (2, 0)
    assert found["bias_error"] == pytest.approx(0.5)  # 1 and 2 of the length of r: sd 0.707 / sqrt 2
    assert found["variance"] == pytest.approx(4 / 4)  # (2 + 2) / |r|^2
    assert found["across"] is None
    assert found["cosine"] == pytest.approx((2 / 5**0.5 + 4 / 17**0.5) / 2)
    assert found["norm_ratio"] == pytest.approx((5**0.5 + 17**0.5) / 4)
    assert found["sign_agreement"] == 1  # of the weights with a gradient


def test_across_is_the_mean_of_the_pairs_and_its_error_the_jackknife_s():
    rng = torch.Generator().manual_seed(0)
    drawn, known = torch.randn(6, 3, generator=rng).double(), torch.tensor([[1.0, 0, 0]]).double()
    found = measures.measures(drawn, known, paired=False, settled=False)

    def pairs(x):
        return torch.stack([a @ b for i, a in enumerate(x) for j, b in enumerate(x) if i != j]).mean()

    rest = drawn[:, 1:]
    without = torch.stack([pairs(torch.cat([rest[:d], rest[d + 1 :]])) for d in range(6)])
    assert found["across"] == pytest.approx(float(pairs(rest)))
    assert found["across_error"] == pytest.approx(float((5 / 6 * (without - without.mean()).square().sum()).sqrt()))


def test_a_window_is_along_a_reference_of_the_same_window():
    references = ("bptt", Backpropagation(window=1))
    found = rows_of(BPTT(window=1), references, model=toy.leaky(spiking=False))
    assert found["layers.0.weight", "bptt of 1 steps"].cosine == pytest.approx(1, abs=1e-12)
    assert found["layers.0.weight", "bptt"].cosine < 0.999
    assert found["layers.2.weight", "bptt"].cosine == pytest.approx(1, abs=1e-12)  # nothing comes back in time to it


def test_no_opinion_is_a_row():
    look = ONCE.look(Trainer(toy.leaky(spiking=True), "readout_only"), toy.batch())
    assert [row.note for row in look.rows] == ["no opinion", "no opinion", ""]
    assert look.rows[0].cosine is None
    assert "no opinion" in str(look)


def test_where_backpropagation_cannot_run_the_rest_is_offered():
    net = toy.smooth(frozenset({"layers"}))
    found = rows_of(SPSA(), ("bptt", "differences"), model=net)
    assert "bptt cannot run on Static: MissingNeed" in found["0.weight", "bptt"].note
    assert found["0.weight", "bptt"].cosine is None
    assert not found["0.weight", "differences"].note.startswith("differences cannot run")


def test_credit_that_is_not_finite_is_said():
    found = rows_of(broken.OneLayer(factor=float("nan")))
    assert found["0.weight", "bptt"].note == "not finite"
    assert found["2.weight", "bptt"].cosine == pytest.approx(1)


def test_feedback_weights_are_held_against_the_weights():
    wide = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3)).double()
    weight = wide[0].weight.detach().clone()
    for back, cosine in ((weight.T, 1.0), (-2 * weight, -1.0)):
        found = rows_of(broken.WithFeedback(feedback_weights=(("0.weight", back),)), model=wide)
        assert found["0.weight", "bptt"].alignment == pytest.approx(cosine)
        assert found["2.weight", "bptt"].alignment is None
    held = broken.Scaled(broken.WithFeedback(feedback_weights=(("0.weight", broken.turned(weight)),)))
    assert rows_of(held, model=wide)["0.weight", "bptt"].alignment == pytest.approx(0, abs=1e-9)
    found = rows_of(broken.WithFeedback(feedback_weights=(("0.weight", weight[:1]),)), model=wide)
    assert found["0.weight", "bptt"].alignment is None
    assert found["0.weight", "bptt"].note == "the feedback has another shape than the weights"


@pytest.mark.parametrize("name", TRAINERS)
def test_training_is_the_same_to_the_bit(name):
    """Weights, buffers, devices, generators, state, losses and costs, after steps half of which were looked at."""
    make, give = TRAINERS[name]
    ends = []
    for watched in (False, True):
        torch.manual_seed(11)
        trainer, looks = make(), []
        loader = [give(number) for number in range(6)]
        microscope = Microscope(every=2, references=("bptt", Smoothed(samples=1)), draws=2, seed=5)
        shown = microscope.watch(trainer, loader, looks.append) if watched else loader
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = [(info.loss, info.cost, info.info) for info in trainer.fit(shown)]
        modes = [module.training for module in trainer.model.modules()]
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in trainer.model.modules()]
        grads = [p.grad is None for p in trainer.model.parameters()]
        ends.append((trainer.state_dict(), told, modes, hooks, grads))
        assert [look.step for look in looks] == ([0, 2, 4] if watched else [])
        assert not watched or any(row.cosine is not None for look in looks for row in look.rows)
    assert same(*ends)


def test_looking_twice_is_seeing_the_same():
    for name in ("spsa", "memristor", "dropout and batch norm"):
        make, give = TRAINERS[name]
        trainer = make()
        torch.manual_seed(1)
        first = ONCE.look(trainer, give(0))
        torch.manual_seed(2)
        trainer.rng.manual_seed(99)
        assert ONCE.look(trainer, give(0)) == first
        assert replace(ONCE, seed=1).look(trainer, give(0)) != first


def test_a_deterministic_rule_is_evaluated_once(monkeypatch):
    asked = []
    assign = BPTT.assign
    monkeypatch.setattr(BPTT, "assign", lambda *args: asked.append(1) or assign(*args))
    Microscope(draws=8).look(Trainer(toy.smooth(), "bptt"), toy.batch())
    assert len(asked) == 2  # the rule and one reference: 1 + k steps


@pytest.mark.slow
def test_nothing_is_kept_however_many_steps(monkeypatch):
    """Memory that Python holds, after 120 looks and after 220: below half of the 200 rows between, 400 bytes each.

    What torch and Python keep of 100 steps by themselves was up to 22 kB.
    """
    import gc
    import tracemalloc

    trainer, seen = Trainer(toy.smooth(), quadratic(BPTT())), [0]

    def write(look):
        seen[0] += len(look.rows)

    def held(steps):
        for _ in trainer.fit(Microscope(every=1).watch(trainer, [toy.batch()] * steps, write)):
            pass
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    held(100)  # what is kept from the first steps on, such as imports and plans
    before, after = held(20), held(100)
    tracemalloc.stop()
    assert seen[0] == 2 * 220
    assert after - before < 200 * 400 / 2


def test_a_resumed_loader_is_not_looked_at_twice():
    whole, looks = Trainer(toy.smooth(), quadratic(SPSA())), []
    list(Microscope(every=1).watch(whole, [], looks.append))
    for _ in whole.fit(Microscope(every=1).watch(whole, [toy.batch(n) for n in range(4)], looks.append)):
        pass
    cut, pieces = Trainer(toy.smooth(), quadratic(SPSA())), []
    for info in cut.fit(Microscope(every=1).watch(cut, [toy.batch(n) for n in range(4)], pieces.append)):
        if info.step == 2:
            break
    for _ in cut.fit(Microscope(every=1).watch(cut, [toy.batch(n) for n in range(4)], pieces.append)):
        pass
    assert pieces == looks
    assert [look.step for look in looks] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every=0: give a whole number, at least 1"),
        ({"draws": 0}, "draws=0: give a whole number, at least 1"),
        ({"references": ("btpp",)}, "unknown reference 'btpp'; nearest: 'bptt'; valid: bptt, differences, smoothed"),
        ({"references": ()}, "references=none: give at least one"),
        ({"references": ("bptt", Backpropagation())}, "references=bptt, bptt: give at least one, and each once"),
    ],
)
def test_bad_settings_are_answered(settings, message):
    with pytest.raises(ValueError, match=message):
        Microscope(**settings)


@pytest.mark.parametrize("reference", ["differences", "smoothed"])
def test_too_many_weights_are_refused_before_anything_runs(reference):
    trainer = Trainer(nn.Sequential(nn.Linear(100, 30)), "bptt")
    message = f"{reference} evaluates .* this model has 3000 in its weight matrices, more than largest=2000: .* bptt"
    with pytest.raises(ValueError, match=message):
        Microscope(references=(reference,)).watch(trainer, [], print)
    with pytest.raises(ValueError, match=message):
        Microscope(references=(reference,)).look(trainer, (torch.rand(2, 100), torch.tensor([0, 1])))


def test_a_model_that_cannot_be_copied_is_said():
    net = toy.smooth()
    trainer = Trainer(net, quadratic(BPTT()))
    net.kept = net(toy.batch().x).output
    with pytest.raises(ValueError, match="Static cannot be copied, .*keep no tensor with a history"):
        ONCE.look(trainer, toy.batch())


def test_evolution_is_said_to_be_what_it_is():
    """Ranks have no scale: the microscope shows a norm that is not the gradient's."""
    row = rows_of(EvolutionStrategy(population=32), draws=20)["0.weight", "bptt"]
    assert row.cosine > 0.2
    assert abs(row.bias) > 4 * row.bias_error


def test_pairs_and_batches_are_taken():
    trainer = Trainer(nn.Sequential(nn.Linear(4, 3)), rules.make("bptt"))
    x, y = torch.rand(6, 4), torch.arange(6) % 3
    assert ONCE.look(trainer, (x, y)) == ONCE.look(trainer, rules.Batch(x, y))
