"""What a model is asked before its first step, and what follows for a rule."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import rules
from rules import Batch, Trainer
from rules.models.admission import ModelWarning, UnfitModel
from rules.models.questions import ask
from sandbox import NEURONS, build

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")
T, B = 9, 6
X = torch.rand(T, B, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(B) % 3
ALL = ["bptt", "hzo", "layerwise_zo", "sequential_local", "spsa", "node_perturbation", "evolution_strategy"]


class Leaky(nn.Module):
    """A leaky integrator that keeps its membrane between calls, as the neurons of some libraries do."""

    def __init__(self, where="attribute"):
        super().__init__()
        self.where = where
        self.memory = {"v": 0.0}
        self.register_buffer("v", None)

    def forward(self, x):
        v = self.memory["v"] if self.where == "dict" else self.v if self.v is not None else 0.0
        out = []
        for now in x:
            v = 0.9 * v + now
            out.append(v)
        if self.where == "dict":
            self.memory["v"] = v
        else:
            self.v = v
        return torch.stack(out)


def stateful(where="attribute"):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), Leaky(where), nn.Linear(8, 3))


class Recurrent(nn.Module):
    def __init__(self, batch_first=False, last=False):
        super().__init__()
        torch.manual_seed(0)
        self.memory, self.head = nn.GRU(5, 8, batch_first=batch_first), nn.Linear(8, 3)
        self.last = last

    def forward(self, x):
        h = self.memory(x)[0]
        return self.head(h[:, -1] if self.last else h)


class Functional(nn.Module):
    """Dropout that knows no evaluation mode."""

    def __init__(self, always=True):
        super().__init__()
        self.body, self.head, self.always = nn.Linear(5, 8), nn.Linear(8, 3), always

    def forward(self, x):
        return self.head(F.dropout(self.body(x), training=self.always or self.training))


@pytest.mark.parametrize("where", ["attribute", "dict"])
def test_a_kept_state_is_found_and_put_back(where):
    model = stateful(where)
    found = ask(model, Batch(X, Y))
    assert found.stateless is False
    assert found.where == "1"
    assert model[1].v is None
    assert model[1].memory == {"v": 0.0}


def test_random_numbers_are_told_from_a_kept_state():
    assert ask(Functional(), Batch(X, Y)).deterministic is False
    assert ask(Functional(always=False), Batch(X, Y)).deterministic is True
    assert ask(Functional(always=False).train(), Batch(X, Y), training=True).deterministic is False
    assert ask(nn.Sequential(nn.Linear(5, 3), nn.Dropout()).train(), Batch(X, Y), training=True).where == "1"


def test_samples_and_time():
    for model in (Recurrent(), build((5,), 3, hidden=("6r",)), build((5,), 3, neuron=NEURONS["escape_lif"]())):
        found = ask(model, Batch(X, Y))
        assert (found.stateless, found.deterministic, found.independent, found.causal) == (True, True, True, True)
        assert found.passes <= 5
    assert ask(Recurrent(), Batch(X, Y)).remembers
    assert not ask(nn.Linear(5, 3), Batch(X, Y)).remembers
    backward = ask(nn.Sequential(nn.RNN(5, 8, bidirectional=True), First(), nn.Linear(16, 3)), Batch(X, Y))
    assert (backward.independent, backward.causal) == (True, False)


class First(nn.Module):
    def forward(self, returned):
        return returned[0]


def test_exchanged_axes():
    """Also where both axes are as long, and where a batch-first model is right."""
    square = torch.rand(B, B, 5)
    for x in (X, square):
        found = ask(Recurrent(batch_first=True), Batch(x, Y))
        assert found.exchanged
        assert found.where == "memory"
    for x in (X.transpose(0, 1), square):
        found = ask(Recurrent(batch_first=True, last=True), Batch(x, Y))
        assert found.independent
        assert not found.exchanged
    images = ask(nn.Sequential(nn.Flatten(), nn.Linear(B * 5, 3)), Batch(square, Y))
    assert images.independent


def test_a_batch_as_long_as_wide_could_be_either():
    """An output without time does not tell which axis is time; for images it is clear."""
    square = torch.rand(B, B, 5)
    with pytest.warns(ModelWarning, match=r"as many steps as samples.*rules\.adapt\(model, batch_first=True\)"):
        Trainer(Recurrent(batch_first=True, last=True), "bptt").begin((square, Y))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        Trainer(Recurrent(batch_first=True, last=True), "bptt").begin((X.transpose(0, 1), Y))
        Trainer(rules.adapt(Recurrent(batch_first=True)), "bptt").begin((square, Y))
        Trainer(nn.Sequential(nn.Flatten(), nn.Linear(B * 5, 3)), "bptt").begin((square, Y))


def test_mixing_without_time():
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3))
    found = ask(model, Batch(X[0], Y))
    assert (found.independent, found.where, found.exchanged) == (False, "1", False)


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from([nn.RNN, nn.GRU, nn.LSTM]),
    batch_first=st.booleans(),
    given_first=st.booleans(),
    square=st.booleans(),
    layers=st.integers(1, 2),
)
def test_the_axis_of_time_is_found_whatever_the_model(kind, batch_first, given_first, square, layers):
    """A recurrent model that returns every step: right if data and model agree on the axes, exchanged otherwise."""
    steps = B if square else T
    model = nn.Sequential(kind(5, 8, layers, batch_first=batch_first), First(), nn.Linear(8, 3))
    x = torch.rand(*((B, steps) if given_first else (steps, B)), 5)
    labels = torch.zeros(x.shape[1], dtype=torch.int64)  # as many as the second axis: time-first is what we are told
    found = ask(model, Batch(x, labels))
    assert found.error is None
    assert found.exchanged == batch_first
    assert found.independent == (not batch_first)


def test_a_question_leaves_no_trace():
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(B), nn.Dropout(), nn.Linear(8, 3)).train()
    model[1].eval()
    state, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    ask(model, Batch(X, Y), training=True)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [part.training for part in model] == [True, False, True, True]
    assert not any(part._forward_hooks for part in model.modules())
    assert torch.equal(generator, torch.get_rng_state())


def test_a_model_that_cannot_be_asked_is_reported():
    class Training(nn.Linear):
        def forward(self, x):
            if not self.training:
                raise RuntimeError("only for training")
            return super().forward(x)

    trainer = Trainer(Training(5, 3), "bptt")
    with pytest.warns(ModelWarning, match=r"Training could not be asked .* it raised RuntimeError: only for training"):
        trainer.step((X, Y))
    assert "only for training" in trainer.answers.error


# --- what follows ---


@pytest.mark.parametrize("rule", ALL)
def test_a_kept_state_is_refused_before_anything_is_changed(rule):
    model = stateful()
    trainer = Trainer(model, rule)
    before = copy.deepcopy(model.state_dict()), trainer.state_dict()
    if rule == "bptt":
        with pytest.warns(ModelWarning, match="Sequential keeps state from one call to the next"):
            trainer.begin((X, Y))
    else:
        wanted = (
            r"keeps state .* \(first seen in '1'\)\. Let every call start anew: model = rules\.adapt\(model, reset="
        )
        with pytest.raises(UnfitModel, match=wanted):
            trainer.step((X, Y))
        assert trainer.answers is None
    after = model.state_dict(), trainer.state_dict()
    assert all(torch.equal(after[0][name], before[0][name]) for name in before[0])
    assert torch.equal(after[1]["rng"], before[1]["rng"])


@pytest.mark.filterwarnings("ignore::rules.models.admission.ModelWarning")
def test_a_graph_that_an_earlier_step_has_used_is_explained():
    trainer = Trainer(stateful(), "bptt")
    trainer.step((X, Y))
    with pytest.raises(UnfitModel, match="Sequential keeps state from one call to the next"):
        trainer.step((X, Y))


@pytest.mark.parametrize(
    "rule", [name for name in ALL if name not in ("bptt", "hzo", "layerwise_zo", "sequential_local")]
)
def test_functional_dropout_is_refused_by_rules_that_compare_passes(rule):
    with pytest.raises(UnfitModel, match=r"Functional draws random numbers .*model\.eval\(\)"):
        Trainer(Functional(always=False).train(), rule).step((X, Y))
    Trainer(Functional(always=False).eval(), rule).step((X, Y))  # the remedy
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        Trainer(Functional(always=False).train(), "bptt").step((X, Y))


@pytest.mark.parametrize("rule", ["bptt", "spsa", "node_perturbation"])
def test_exchanged_axes_are_named(rule):
    wanted = r"Recurrent takes samples for time \(first seen in 'memory'\).*rules\.adapt\(model, batch_first=True\)"
    trainer = Trainer(Recurrent(batch_first=True), rule)
    if rule == "node_perturbation":
        with pytest.raises(UnfitModel, match=wanted):
            trainer.step((X, Y))
    else:  # one loss of the whole batch has a gradient all the same
        with pytest.warns(ModelWarning, match=wanted):
            trainer.step((X, Y))


def test_no_question_without_being_asked_to():
    trainer = Trainer(stateful(), "spsa", confirm=False)
    trainer.step((X, Y))
    assert trainer.answers is None
    trainer = Trainer(Recurrent(), "bptt")
    trainer.step((X, Y))
    assert trainer.answers.facts()["causal"] is True


def test_a_layer_that_a_model_resets_and_a_layered_rule_does_not_is_refused():
    class Resetting(nn.Sequential):
        def forward(self, x):
            self[1].v = None
            return super().forward(x)

    model = Resetting(nn.Linear(5, 8), Leaky(), nn.Linear(8, 3))
    assert ask(model, Batch(X, Y)).stateless
    with pytest.raises(ValueError, match=r"layer '1' of Resetting \(Leaky\) gave another output when .* rules\.adapt"):
        Trainer(model, "hzo").step((X, Y))


def test_dropout_around_a_rule_that_compares_passes_is_refused():
    from rules.credit.dropout import Dropout
    from rules.credit.zero_order import HZO, SPSA, CoordinateWise, EvolutionStrategy, ForwardGradient, NodePerturbation

    for credit in (SPSA(), HZO(), CoordinateWise(), NodePerturbation(), EvolutionStrategy()):
        with pytest.raises(ValueError, match=rf"{type(credit).__name__} compares passes, .* with p=0"):
            Dropout(credit, 0.2)
        assert Dropout(credit, 0.0).credit is credit
    assert Dropout(ForwardGradient(), 0.2).p == Dropout(rules.BPTT(), 0.2).p


@pytest.mark.parametrize("rule", ["bptt", "spsa", "hzo"])
def test_the_questions_before_the_first_step_are_five_passes_at_most(rule):
    """Counted from outside, in the first batch as long as wide, where the axes are asked about as well."""
    models = [
        (nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)), X),
        (nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)), torch.rand(B, B, 5)),
        (nn.Sequential(nn.Flatten(), nn.Linear(B * 5, 3)), torch.rand(B, B, 5)),
        (build((5,), 3, hidden=("6r",)), X),
    ]
    for model, x in models:
        calls = []
        trainer = Trainer(model, rule)
        handle = model.register_forward_hook(lambda *args, calls=calls: calls.append(1))
        trainer.begin((x, Y))
        handle.remove()
        compared = rule == "hzo"  # its outer products, with autograd
        assert len(calls) == trainer.answers.passes + compared <= 5


class Sleeping(nn.Module):
    """A head that starts at zero, as in some transformers, behind dropout, a kept state or a mean over samples."""

    def __init__(self, kind):
        super().__init__()
        self.body, self.head, self.kind = nn.Linear(5, 8), nn.Linear(8, 3), kind
        nn.init.zeros_(self.head.weight)
        self.kept = 0.0

    def forward(self, x):
        h = self.body(x)
        if self.kind == "dropout":
            h = F.dropout(h, 0.5, self.training)
        elif self.kind == "state":
            self.kept = h = h + 0.5 * self.kept
        else:
            h = h - h.mean(1, keepdim=True)
        return self.head(h)


@pytest.mark.parametrize("kind", ["dropout", "state", "mean"])
def test_a_head_that_starts_at_zero_hides_nothing(kind):
    model = Sleeping(kind)
    with pytest.raises(
        UnfitModel, match="Sleeping (draws random|keeps state|mixes the samples|takes samples for time)"
    ):
        Trainer(model, "node_perturbation").step((X, Y))
    assert not model.head.weight.any()


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(x.sub_(0.5).div_(0.25))


def test_an_input_that_is_changed_in_place_stays_the_callers():
    x = X.clone()
    with pytest.raises(UnfitModel, match=r"InPlace changes its input in place.*x = x\.clone\(\)"):
        Trainer(InPlace(), "spsa").step((x, Y))
    assert torch.equal(x, X)
    with pytest.warns(ModelWarning, match="changes its input in place"):
        Trainer(InPlace(), "bptt").begin((x, Y))
    assert torch.equal(x, X)


class Ahead(nn.Module):
    """A model of tokens that sees the whole text."""

    def __init__(self, tokens=4):
        super().__init__()
        self.embedding, self.cells = nn.Embedding(tokens, 8), nn.GRU(8, 8, bidirectional=True)
        self.readout = nn.Linear(16, tokens)

    def forward(self, x):
        return self.readout(self.cells(self.embedding(x))[0])


def text(samples=3, steps=9):
    tokens = torch.randint(4, (steps + 1, samples), generator=torch.Generator().manual_seed(0))
    return Batch(tokens[:-1], targets=tokens[1:])


def test_a_model_that_sees_the_answer_is_refused():
    batch = text()
    with pytest.raises(UnfitModel, match="Ahead sees later inputs, and the answer at each step .* use a causal model"):
        Trainer(Ahead(), "bptt", health=None).step(batch)
    some = torch.where(torch.arange(9)[:, None] < 4, -100, batch.targets)
    with pytest.raises(UnfitModel, match="sees later inputs"):
        Trainer(Ahead(), "bptt", health=None).step(batch._replace(targets=some))


def test_other_answers_may_be_seen_from_both_ends_and_causal_models_may_be_asked_for_the_next_input():
    batch = text()
    ours = rules.make("bptt", objective="ce_rate")
    Trainer(Ahead(), ours, health=None).step(batch._replace(targets=batch.x))  # copies of the same step
    causal = nn.Sequential(nn.Embedding(4, 8), nn.Linear(8, 4))
    trainer = Trainer(causal, ours, health=None)
    trainer.step(batch)
    assert trainer.answers.copies is False


class Behind(nn.Module):
    """A model that takes lengths, and heeds them or not."""

    def __init__(self, heeds, pooled):
        super().__init__()
        self.heeds, self.pooled, self.last = heeds, pooled, nn.Linear(2, 3)

    def forward(self, x, lengths=None):
        there = torch.arange(len(x))[:, None] < lengths
        mean = (x * there[..., None]).sum(0) / lengths[:, None] if self.heeds else x.mean(0)
        return self.last(mean if self.pooled else x + mean)


@pytest.mark.parametrize("pooled", [True, False])
def test_what_stands_behind_the_end_must_change_nothing(pooled):
    rule = rules.make("bptt", objective="ce_mean")
    batch = Batch(torch.rand(6, 4, 2), torch.arange(4) % 3, lengths=torch.tensor([6, 2, 4, 3]))
    trainer = Trainer(Behind(True, pooled), rule, health=None)
    trainer.step(batch)
    assert trainer.answers.ends is True
    with pytest.raises(UnfitModel, match="what stands behind the end of a sequence changes outputs of Behind"):
        Trainer(Behind(False, pooled), rule, health=None).step(batch)
    whole = batch._replace(lengths=torch.full((4,), 6))  # the first batch may have no padding at all
    with pytest.raises(UnfitModel, match="what stands behind the end"):
        Trainer(Behind(False, pooled), rule, health=None).step(whole)


def test_attention_over_padding_is_refused():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.last = nn.MultiheadAttention(4, 1), nn.Linear(4, 3)

        def forward(self, x):
            return self.last(self.attention(x, x, x)[0])

    batch = Batch(torch.rand(6, 4, 4), torch.arange(4) % 3, lengths=torch.tensor([6, 2, 4, 3]))
    with pytest.raises(UnfitModel, match="what stands behind the end"):
        Trainer(Attends(), rules.make("bptt", objective="ce_mean"), health=None).step(batch)
