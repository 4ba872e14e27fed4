"""Models whose `forward(x, carry)` does not go on from the carry are refused before the first step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
import sandbox
from rules import Batch, Run
from rules.models.admission import UnfitModel
from rules.models.continuing import require_carry

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")
T, B = 9, 6
X = torch.rand(T, B, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(B) % 3


class Net(nn.Module):
    """A leaky integrator with a read-out, and one thing that is done with the carry, or with time."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.first, self.last = kind, nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x, carry=None):
        v = torch.zeros(()) if carry is None or self.kind == "ignores" else carry
        rows = []
        for current in self.first(x).tanh():
            v = 0.9 * v + current
            rows.append(v)
        found = self.last(torch.stack(rows))
        if self.kind == "keeps an old one":
            v = rows[0]
        if self.kind == "looks ahead":
            found = found.flip(0).cumsum(0).flip(0)
        if self.kind == "one output":
            return Run(found.mean(0), v)
        if self.kind == "draws":
            found = found + torch.rand(())
        return Run(found, v)


def trained(model, **options):
    trainer = rules.Trainer(model, rules.make("bptt", objective="ce_rate", **options), seed=0)
    return trainer.step((X, Y))


@pytest.mark.parametrize("options", [{"every": 3}, {"window": 3}, {"checkpoint": 3}])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ignores", r"forward does not go on from its carry: .*`state = zeros if carry is None else carry`"),
        ("keeps an old one", r"forward does not go on from its carry"),
        ("looks ahead", r"steps of Net look ahead: the first 5 steps alone"),
        ("one output", r"Net gives 1 output for all steps of one"),
    ],
)
def test_a_model_that_does_not_go_on(kind, words, options):
    ((name, steps),) = options.items()
    with pytest.raises(UnfitModel, match=f"{name}={steps} cuts sequences, and .*{words}"):
        trained(Net(kind), **options)


@pytest.mark.parametrize("kind", ["goes on", "draws"])
def test_a_model_that_goes_on_or_cannot_be_asked(kind):
    require_carry(Net(kind), Batch(X, Y), "every=3")


def test_a_question_that_the_user_does_not_want():
    rule = rules.make("bptt", objective="ce_rate", every=3)
    assert rules.Trainer(Net("ignores"), rule, confirm=False).step((X, Y)).updates == 3


@pytest.mark.parametrize("name", ["lif", "alif", "cuba_lif", "adex", "escape_lif", "stochastic_binary"])
@pytest.mark.parametrize("hidden", [("12",), ("12r", "8")])
def test_models_of_ours_go_on(name, hidden):
    model = sandbox.build((5,), 3, hidden, sandbox.NEURONS[name](), seed=0)
    require_carry(model, Batch(4 * X, Y, lengths=torch.tensor([9, 5, 3, 9, 1, 2])), "every=3")


def test_padded_steps_do_not_count():
    with pytest.raises(UnfitModel, match="does not go on"):
        require_carry(Net("ignores"), Batch(X, Y, lengths=torch.full((B,), 9)), "every=3")
    require_carry(Net("ignores"), Batch(X, Y, lengths=torch.full((B,), 5)), "every=3")  # all in the first half


def test_one_sample_that_rounding_moved_is_no_reason(monkeypatch):
    """A spike at the threshold may come a step later in a product of another shape; then that sample goes its way."""
    model = Net("goes on")
    whole = model(X).output
    moved = whole.clone()
    moved[4:, 0] += 1

    def forward(self, x, carry=None):
        return Run(moved if len(x) == T else whole[: len(x)] if carry is None else whole[-len(x) :], 0)

    monkeypatch.setattr(Net, "forward", forward)
    require_carry(model, Batch(X, Y), "every=3")
    moved[4:] += 1
    with pytest.raises(UnfitModel):
        require_carry(model, Batch(X, Y), "every=3")


class TestACarryThatDoesNotFit:
    def steps(self, rule="bptt", size=6, then=(3, None), hidden=("12r",), options=None):
        """Learn from a batch, then from another with its carry."""
        samples, other = then
        x, y = torch.rand(T, size, 5), torch.arange(size) % 3
        model = sandbox.build((5,), 3, hidden, seed=0)
        info = rules.Trainer(model, rules.make(rule, **options or {}), seed=0).step((x, y))
        trainer = rules.Trainer(model, other or rule, seed=0)
        more = torch.rand(T, samples, 5), torch.arange(samples) % 3
        before = {name: p.clone() for name, p in model.named_parameters()}
        try:
            return trainer.step(rules.Batch(*more, carry=info.carry))
        finally:
            if trainer.steps == 0:
                assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())

    @pytest.mark.parametrize("rule", ["bptt", "eprop", "ottt", "rtrl"])
    @pytest.mark.parametrize("samples", [1, 3, 8])
    def test_other_samples(self, rule, samples):
        with pytest.raises(ValueError, match=r"carry of this batch.* holds <\d+ tensors, .*DataLoader\(..., drop_last"):
            self.steps(rule, then=(samples, None))

    def test_as_many_samples_as_cells(self):
        """A carry [6, 12] of 12 cells has an axis of 12, and is none for 12 samples."""
        with pytest.raises(ValueError, match=r"Network cannot go on from the carry .*: RuntimeError: .*carry=None"):
            self.steps(then=(12, None))

    def test_another_rule(self):
        with pytest.raises(
            ValueError, match=r"Network cannot go on from the carry of this batch, a Carried that holds"
        ):
            self.steps("eprop", then=(6, "bptt"))

    def test_another_model(self):
        info = rules.Trainer(sandbox.build((5,), 3, ("7",), seed=0), "bptt").step((X, Y))
        with pytest.raises(ValueError, match="cannot go on from the carry"):
            rules.Trainer(sandbox.build((5,), 3, ("12r",), seed=0), "bptt").step(Batch(X, Y, info.carry))

    def test_what_fits_goes_on(self):
        assert self.steps("eprop", then=(6, None)).step == 1
        assert self.steps("bptt", then=(6, None)).step == 1

    def test_other_errors_stay_what_they_are(self):
        info = rules.Trainer(Net("goes on"), "bptt").step((X, Y))
        with pytest.raises(ValueError, match="labels run from 0 to 7"):
            rules.Trainer(Net("goes on"), "bptt").step(Batch(X, Y + 5 * (Y > 1), info.carry))
        model = sandbox.build((5,), 3, ("12r",), seed=0)
        info = rules.Trainer(model, "eprop").step((X, Y))
        with pytest.raises(TypeError, match=r"labels have dtype torch.float32"):
            rules.Trainer(model, "eprop").step(Batch(X, Y.float(), info.carry))

    def test_a_carry_is_not_asked_about(self):
        """The questions before the first step begin at rest, where a model knows nothing of a rule's traces."""
        model = sandbox.build((5,), 3, ("12r",), seed=0)
        info = rules.Trainer(model, "eprop").step((X, Y))
        trainer = rules.Trainer(model, "eprop")
        trainer.step(Batch(X, Y, info.carry))
        assert trainer.answers.error is None
