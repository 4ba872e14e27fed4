"""Features of models that record nothing: what enters the read-out, beside features that models return by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rules
from rules import Batch, Run, Trainer
from rules.last_weight import last_trace, watched
from rules.models.readout import NotFound
from rules.objectives.contrast import Contrast
from rules.objectives.temporal_contrast import TemporalContrast

T, B, IN, HIDDEN, CLASSES = 5, 6, 4, 7, 3
X = torch.rand(T, B, IN, generator=torch.Generator().manual_seed(0))
Y = torch.arange(B) % CLASSES


class Recurrent(nn.Module):
    """Features of a GRU; the read-out is called in one of several ways, and comes first among the parameters."""

    def __init__(self, way):
        super().__init__()
        self.head, self.body, self.way = nn.Linear(HIDDEN, CLASSES), nn.GRU(IN, HIDDEN), way

    def features(self, x):
        return self.body(x)[0]

    def forward(self, x):
        h = self.features(x)
        if self.way == "steps":
            return torch.stack([self.head(step) for step in h])
        if self.way == "folded":
            return self.head(h.flatten(0, 1)).unflatten(0, h.shape[:2])
        if self.way == "last step":
            return self.head(h[-1])
        if self.way == "mean of steps":
            return torch.stack([self.head(step) for step in h]).mean(0)
        return self.head(h)


class Attending(nn.Module):
    """A transformer over the steps of a sequence."""

    def __init__(self):
        super().__init__()
        self.inside, self.head = nn.Linear(IN, 8), nn.Linear(8, CLASSES)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)

    def features(self, x):
        return self.block(self.inside(x))

    def forward(self, x):
        return self.head(self.features(x))


class Placed(Attending):
    """The same with a parameter of the model's own, a place for each step, so that the model itself has a weight."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(0.1 * torch.randn(T, 1, 8))

    def features(self, x):
        return self.block(self.inside(x) + self.places)


class Nested(nn.Sequential):
    """A plain Sequential whose read-out is inside a stage."""

    def __init__(self):
        super().__init__(nn.Linear(IN, HIDDEN), nn.Sequential(nn.Tanh(), nn.Linear(HIDDEN, CLASSES)))

    def features(self, x):
        return self[0](x).tanh()


class Maps(nn.Module):
    """Maps in a convolution that folds time by hand, as images without time."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(1, B, 3), nn.Conv2d(B, CLASSES, 2)

    def features(self, x):
        return self.body(x).relu()[None]

    def forward(self, x):
        return self.head(self.body(x).relu()).flatten(1)


WAYS = ("whole", "steps", "folded", "last step", "mean of steps")
CASES = {way: (lambda way=way: Recurrent(way), X) for way in WAYS}
CASES |= {
    "transformer": (Attending, X),
    "places": (Placed, X),
    "nested": (Nested, X),
    "maps": (Maps, torch.rand(B, 1, 4, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_the_loss_on_features_returned_by_hand(name):
    """To 1e-5 of the largest entry: sums of the contrast have another order than autograd's."""
    build, x = CASES[name]
    torch.manual_seed(0)
    model = build()
    h, output = model.features(x), model(x)
    h = h[-1:] if name == "last step" else h
    h = h.flatten(3).mean(3) if h.ndim > 3 else h
    output = output if output.ndim == 3 else output[None]
    steps = torch.stack([F.cross_entropy(step, Y) for step in output]).mean()
    loss = (1 - 1e-3) * steps + 1e-3 * ((output - 1) ** 2).mean() + 0.7 * Contrast(temperature=0.2)(h, Y)
    named = dict(model.named_parameters())
    truth = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))

    objective = TemporalContrast(0.7, head="none", temperature=0.2)
    credit = rules.BPTT().assign(model, objective, Batch(x, Y), (), torch.Generator().manual_seed(0))
    assert credit.loss == pytest.approx(loss.item(), rel=1e-5)
    assert credit.grads.keys() == truth.keys()
    for key, g in truth.items():
        torch.testing.assert_close(credit.grads[key], g, rtol=0, atol=1e-5 * float(g.abs().max()))


@pytest.mark.parametrize("rule", ["tcl", "stcl", "supcon_per_step"])
@pytest.mark.parametrize("build", [lambda: Recurrent("whole"), Attending], ids=["GRU", "transformer"])
def test_contrastive_rules_train_models_that_know_nothing_of_them(rule, build):
    torch.manual_seed(0)
    model = build()
    trainer = Trainer(model, rules.make(rule, lr=0.02), health=rules.Health(every=0))
    losses = [trainer.step((X, Y)).loss for _ in range(30)]
    assert min(losses[20:]) < 0.97 * losses[0]
    assert 0 <= trainer.evaluate([(X, Y)])["accuracy"] <= 1
    assert not any(module._forward_hooks for module in model.modules())


def test_an_adapted_model_without_layers_has_features_too():
    model = rules.adapt(Recurrent("last step"))
    losses = [Trainer(model, "tcl").step((X, Y)).loss for _ in range(2)]
    assert all(loss > 0 for loss in losses)
    with pytest.raises(ValueError, match="cannot be called one after the other"):
        rules.run_model(model, Batch(X, Y), record=frozenset({"layers"}))


def test_batch_first_inside_is_turned():
    class Inside(nn.Module):
        def __init__(self, folded):
            super().__init__()
            self.rnn, self.head, self.folded = nn.GRU(IN, HIDDEN, batch_first=True), nn.Linear(HIDDEN, CLASSES), folded

        def forward(self, x):
            h = self.rnn(x)[0]
            return self.head(h.flatten(0, 1)).unflatten(0, h.shape[:2]) if self.folded else self.head(h)

    for folded in (False, True):
        model = Inside(folded)
        adapted = rules.adapt(model, layers=("head", "rnn"))  # which do not follow one another
        trace = rules.run_model(adapted, Batch(X, Y), frozenset({"features"})).traces[-1]
        assert trace.weight == "model.head.weight"
        torch.testing.assert_close(trace.pre, model.rnn(X.transpose(0, 1))[0].transpose(0, 1))


class Auxiliary(Recurrent):
    """Uses a weight behind its read-out, for something else."""

    def __init__(self):
        super().__init__("whole")
        self.other = nn.Linear(HIDDEN, 2)

    def forward(self, x):
        output = super().forward(x)
        self.other(self.features(x))
        return output


class Skipping(Recurrent):
    """Has a way past its read-out."""

    def __init__(self):
        super().__init__("whole")
        self.past = nn.Linear(IN, CLASSES)

    def forward(self, x):
        past = self.past(x)
        return super().forward(x) + past


def test_what_is_not_the_read_out_is_refused_before_the_first_step():
    with pytest.raises(NotFound, match=r"other.weight of Auxiliary is the weight that is used last, .*head.weight"):
        Trainer(Auxiliary(), "tcl").step((X, Y))
    with pytest.raises(NotFound, match=r"the read-out of Skipping is not one module: past.weight reaches"):
        Trainer(Skipping(), "tcl").step((X, Y))
    assert Trainer(Skipping(), rules.make("tcl", feature="logits_t")).step((X, Y)).loss > 0


def test_a_frozen_read_out_is_one():
    model = Recurrent("whole")
    model.head.requires_grad_(False)
    assert Trainer(model, "tcl").step((X, Y)).loss > 0
    assert not model.head.weight.requires_grad


class Odd(nn.Module):
    """Calls its read-out twice as often as there are steps, or not as a module."""

    def __init__(self, called):
        super().__init__()
        self.head, self.called = nn.Linear(IN, CLASSES), called

    def forward(self, x):
        if not self.called:
            return F.linear(x, self.head.weight)
        return torch.stack([self.head(step) + self.head(2 * step) for step in x])


def test_calls_that_are_not_one_for_each_step_are_refused_in_words():
    with pytest.raises(ValueError, match=r"'head' of Odd .* called 10 times on \(6, 4\) for an output of 5 steps"):
        Trainer(Odd(True), "tcl").step((X, Y))
    with pytest.raises(ValueError, match=r"Odd called no module with a weight.*feature='logits_t'"):
        Trainer(Odd(False), "tcl").step((X, Y))


def test_whole_numbers_are_no_features():
    class Tokens(nn.Sequential):
        pass

    model = Tokens(nn.Embedding(9, CLASSES))
    with watched(model) as uses:
        run = Run(model(torch.ones(T, B, dtype=torch.int64)))
    with pytest.raises(ValueError, match="not one input for each step"):
        last_trace(model, uses, run, turned=False)


def test_a_model_may_say_that_it_has_none():
    model = Recurrent("whole")
    model.offers = frozenset({"gradient"})
    with pytest.raises(rules.contract.MissingNeed, match="features: the input of the read-out"):
        Trainer(model, "tcl")
    assert not rules.run_model(model, Batch(X, Y), record=True).traces
