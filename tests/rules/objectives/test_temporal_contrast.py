"""The objectives on top of the contrast: features, heads, warm-up, two views, and their place in a Trainer."""

import copy
import dataclasses
import io
import math

import pytest
import torch
from torch import nn

import rules
from rules import metering
from rules.check import toy
from rules.contract import Batch, MissingNeed, Run, Trace, own_parameters
from rules.diagnostics.latency import Latency
from rules.objectives import OBJECTIVES, Sum
from rules.objectives.contrast import ALONE, Contrast, unit
from rules.objectives.projection import Projection
from rules.objectives.readout import TET, MeanCrossEntropy
from rules.objectives.regularisers import RateL1
from rules.objectives.temporal_contrast import (
    NO_PAIR,
    SiameseTemporalContrast,
    TemporalContrast,
    beside,
    contrastive_loss,
)
from rules.views import AdditiveNoise, Identity, RandomCrop


def recorded(steps=3, size=6, width=5, classes=3, seed=0, space=()):
    rng = torch.Generator().manual_seed(seed)
    hidden = torch.randn(steps, size, width, *space, generator=rng)
    pre, output = torch.rand(hidden.shape, generator=rng), torch.randn(steps, size, classes, generator=rng)
    traces = (Trace("0.weight", hidden, hidden, pre), Trace("1.weight", pre, output, output))
    return Run(output, traces=traces), Batch(hidden, torch.arange(size) % classes)


def trained(rule, steps=5, model=None):
    trainer = rules.Trainer(model or toy.leaky(spiking=True), rule, seed=0)
    for seed in range(steps):
        trainer.step(toy.batch(seed))
    return trainer


@pytest.mark.parametrize(("ce_mode", "plain"), [("mean", "ce_mean"), ("tet", "tet")])
def test_without_weight_it_is_the_cross_entropy_bit_for_bit(ce_mode, plain):
    contrasted = trained(rules.make("tcl", weight=0.0, ce_mode=ce_mode))
    bare = trained(rules.make("bptt", objective=plain))
    for a, b in zip(contrasted.model.parameters(), bare.model.parameters()):
        assert torch.equal(a, b)


def test_it_adds_the_contrast_of_the_projected_features():
    run, batch = recorded()
    for feature, expected in (
        ("gap_spike_rate_t", run.traces[-1].pre),
        ("pre_spike_membrane_t", run.traces[0].u),
        ("logits_t", run.output),
    ):
        bare = TemporalContrast(weight=0.5, feature=feature, head="none", temperature=0.2)
        loss = TET()(run, batch) + 0.5 * contrastive_loss(expected, batch.y, 0.2)
        assert float(bare(run, batch)) == pytest.approx(float(loss), rel=1e-6)  # float32
    head = Projection(128, hidden=True, seed=3)
    tcl = TemporalContrast(seed=3, ce_mode="mean")
    loss = MeanCrossEntropy()(run, batch) + contrastive_loss(head(run.traces[-1].pre), batch.y)
    assert float(tcl(run, batch)) == pytest.approx(float(loss), rel=1e-6)


def test_features_of_images_are_averaged_over_space():
    run, batch = recorded(space=(4, 4))
    loss = contrastive_loss(run.traces[-1].pre.mean((3, 4)), batch.y) + TET()(run, batch)
    assert float(TemporalContrast(head="none")(run, batch)) == pytest.approx(float(loss), rel=1e-6)


@pytest.mark.parametrize(
    ("head", "shapes"), [("mlp", [(5, 5), (5,), (7, 5), (7,)]), ("linear", [(7, 5), (7,)]), ("none", [])]
)
def test_heads_take_their_shape_from_the_first_features(head, shapes):
    tcl = TemporalContrast(head=head, width=7)
    tcl(*recorded())
    assert [tuple(p.shape) for p in own_parameters(tcl).values()] == shapes


def test_the_head_is_drawn_from_its_own_seed():
    heads = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        head = Projection(4, hidden=True, seed=seed)
        heads.append(head(torch.ones(2, 3)))
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    bound = max(float(p.abs().max()) for p in head.parameters())
    assert 0.7 / math.sqrt(3) < bound <= 1 / math.sqrt(3)


def test_the_head_is_trained_and_is_none_of_the_models():
    trainer = trained("tcl", steps=1)
    before = {name: p.detach().clone() for name, p in own_parameters(trainer.rule.objective).items()}
    trainer.step(toy.batch(1))
    assert list(before) == [f"objective.head.{n}" for n in ("weight0", "bias0", "weight1", "bias1")]
    assert all(not torch.equal(p, before[name]) for name, p in own_parameters(trainer.rule.objective).items())
    assert not any("head" in name for name in trainer.model.state_dict())


def test_a_trainer_has_a_head_of_its_own():
    rule = rules.make("tcl")
    one, two = trained(rule, steps=1), trained(rule, steps=3)
    assert one.rule.objective is not two.rule.objective
    again = trained(rule, steps=1)
    for a, b in zip(one.rule.objective.parameters(), again.rule.objective.parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["tcl", "stcl", "supcon_per_step"])
def test_head_and_warm_up_resume_bit_exactly(name):
    rule = rules.make(name, warmup=4)
    whole, first, second = (rules.Trainer(toy.leaky(spiking=True), rule, seed=3) for _ in range(3))
    for seed in range(4):
        whole.step(toy.batch(seed))
    for seed in range(2):
        first.step(toy.batch(seed))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(2, 4):
        second.step(toy.batch(seed))
    for a, b in zip(
        (*whole.model.parameters(), *whole.rule.objective.parameters()),
        (*second.model.parameters(), *second.rule.objective.parameters()),
    ):
        assert torch.equal(a, b)


def test_the_weight_rises_linearly():
    run, batch = recorded()
    tcl = TemporalContrast(weight=2.0, warmup=4, head="none")
    contrast = float(contrastive_loss(run.traces[-1].pre, batch.y))
    shares = []
    for _ in range(6):
        shares.append(float(tcl(run, batch) - TET()(run, batch)) / contrast)
        tcl.advance()
    assert shares == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0], rel=1e-5)


def test_evaluation_does_not_advance_the_warm_up():
    trainer = trained(rules.make("tcl", warmup=9), steps=2)
    trainer.evaluate([toy.batch(7)])
    assert int(trainer.rule.objective.steps) == 2


@pytest.mark.parametrize("recipe", ["tcl", "stcl", "supcon_per_step"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_evaluation_reports_the_cross_entropy_and_makes_no_contrast(recipe, wrapped, monkeypatch):
    """The accuracy is that of the same weights under cross-entropy alone, and so is the loss of one view."""
    rule = rules.make(recipe, weight=2.0)
    if wrapped:
        rule = dataclasses.replace(rule, objective=Sum((rule.objective, RateL1(0.0))))
    trainer = trained(rule)
    plain = rules.Trainer(trainer.model, "tet")
    monkeypatch.delattr(Contrast, "heard")
    loader = [toy.batch(7), toy.batch(8)]
    found, wanted = trainer.evaluate(loader), plain.evaluate(loader)
    assert found["accuracy"] == wanted["accuracy"]
    if recipe != "stcl":
        losses = [float(TET()(trainer.model(batch.x), batch)) for batch in loader]
        assert found["loss"] == pytest.approx(sum(losses) / 2, rel=1e-6)


def test_the_products_of_a_contrast_are_watched_once_for_each_shape():
    """Counts of later steps are those of the first; another size or another choice of pairs is watched anew."""
    trainer = trained(rules.make("tcl"), steps=0)
    objective, known = trainer.rule.objective, metering._REPEATED

    def counts(batch):
        return trainer.step(batch).cost

    def watched(batch):
        known.pop(objective, None)
        return counts(batch)

    half = toy.batch()._replace(x=toy.batch().x[:, ::2], y=toy.batch().y[::2])
    for batch in (toy.batch(), half):
        assert watched(batch) == counts(batch) == counts(batch)
    assert len(known[objective]) == 1
    fewer = counts(half).synaptic_operations
    assert counts(toy.batch()).synaptic_operations > fewer
    objective.contrast = dataclasses.replace(objective.contrast, pairs="cross")
    assert counts(half).synaptic_operations < fewer
    assert len(known[objective]) == 3


def test_two_views_are_seen_side_by_side():
    batch = Batch(torch.rand(3, 4, 5), torch.tensor([0, 1, 2, 3]))
    stcl = SiameseTemporalContrast(views=(Identity(), AdditiveNoise(0.1)))
    seen = stcl.views(batch, torch.Generator().manual_seed(0))
    assert seen.x.shape == (3, 8, 5)
    assert torch.equal(seen.x[:, :4], batch.x)
    assert not torch.equal(seen.x[:, 4:], batch.x)
    assert seen.y.tolist() == [0, 1, 2, 3] * 2
    again = stcl.views(batch, torch.Generator().manual_seed(0))
    assert torch.equal(seen.x, again.x)


def test_the_siamese_loss_is_the_mean_cross_entropy_and_the_contrast_of_both_views():
    run, _ = recorded(size=8)
    y = torch.tensor([0, 1, 2, 0])
    inner = TemporalContrast(temperature=0.3, head="none", positives="same_sample_other_t", ce_mode="mean")
    loss = SiameseTemporalContrast(inner)(run, Batch(run.output, y.repeat(2)))
    halves = [MeanCrossEntropy()(Run(run.output[:, part]), Batch(run.output, y)) for part in (slice(4), slice(4, 8))]
    samples = torch.arange(4).repeat(2)
    contrast = contrastive_loss(run.traces[-1].pre, y.repeat(2), 0.3, samples=samples, positives="same_sample_other_t")
    assert float(loss) == pytest.approx(float(sum(halves) / 2 + contrast), rel=1e-6)


def test_two_views_cost_twice_the_passes_and_four_times_the_contrast():
    """The contrast compares all pairs of features."""
    passes, one, two = (
        rules.Trainer(toy.leaky(spiking=True), rule).step(toy.batch()).cost.synaptic_operations
        for rule in ("tet", rules.make("tcl", head="none"), rules.make("stcl", head="none"))
    )
    assert two - 2 * passes == 4 * (one - passes) > 0


def test_an_input_constant_in_time_stays_one():
    still = torch.rand(1, 2, 3).expand(5, 2, 3)
    assert beside(still, still).stride(0) == 0
    assert torch.equal(beside(still, still), torch.cat([still, still], 1))
    assert beside(still, still.contiguous()).stride(0) != 0


def test_it_works_in_a_sum_and_with_a_frozen_network():
    rule = rules.make("tcl")
    both = rules.LearningRule(Sum((rule.objective, RateL1(1e-3))), rule.credit, rule.plasticity)
    trainer = trained(both, steps=2)
    assert int(trainer.rule.objective.terms[0].steps) == 2
    assert any(name.startswith("objective.0.head") for name in trainer.parameters)
    frozen = rules.LearningRule(rule.objective, rules.Restricted(rules.BPTT()), rule.plasticity)
    assert trained(frozen, steps=2).steps == 2


def test_a_model_without_features_is_refused_with_the_need():
    with pytest.raises(MissingNeed, match=r"features: the input of the read-out at every step"):
        rules.Trainer(toy.smooth(frozenset({"gradient"})), "tcl")
    run, batch = recorded()
    with pytest.raises(ValueError, match=r"this run recorded 0: record them, rules.run_model"):
        TemporalContrast()(run._replace(traces=()), batch)
    with pytest.raises(ValueError, match=r"traces of 2 or more layers, and this run recorded 1"):
        TemporalContrast(feature="pre_spike_membrane_t")(run._replace(traces=run.traces[-1:]), batch)
    opaque = toy.smooth(frozenset({"gradient"}))
    for options in ({"feature": "logits_t"}, {"weight": 0.0}):
        assert trained(rules.make("tcl", **options), steps=1, model=opaque).steps == 1


def test_missing_labels_are_said():
    run, batch = recorded()
    for objective in (TemporalContrast(), SiameseTemporalContrast()):
        with pytest.raises(ValueError, match="this objective needs labels"):
            objective(run, batch._replace(y=None))
    with pytest.raises(MissingNeed, match="labels: `batch.y`"):
        rules.Trainer(toy.leaky(spiking=True), "tcl").step(toy.batch(labels=False))


def test_views_of_different_shape_are_refused():
    class Halved:
        def __call__(self, x, generator):
            return x[:, :, ::2]

    stcl = SiameseTemporalContrast(views=(Identity(), Halved()))
    with pytest.raises(ValueError, match=r"the views have shapes \(3, 4, 6\) and \(3, 4, 3\)"):
        stcl.views(Batch(torch.rand(3, 4, 6), torch.arange(4)), torch.Generator())


def test_a_batch_that_continues_has_no_two_views():
    with pytest.raises(ValueError, match="two views of a sample start from rest"):
        SiameseTemporalContrast().views(Batch(torch.rand(3, 4, 6), torch.arange(4), carry=()), torch.Generator())


def test_a_run_over_one_view_is_refused():
    run, batch = recorded(size=5)
    with pytest.raises(ValueError, match="a run over 5 columns is not over two views"):
        SiameseTemporalContrast()(run, batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature": "spikes"}, "unknown feature 'spikes'.*valid: gap_spike_rate_t"),
        ({"head": "mlpp"}, "unknown head 'mlpp'; nearest: 'mlp'"),
        ({"ce_mode": "sum"}, "unknown ce_mode 'sum'"),
        ({"weight": -1.0}, "weight=-1.0: give a number of at least 0"),
        ({"weight": math.nan}, "weight=nan"),
        ({"warmup": -1}, "warmup=-1"),
        ({"width": 0}, "width=0: give a number of at least 1"),
        ({"temperature": 0}, "temperature=0: give a positive number"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TemporalContrast(**options)


def test_misspelt_options_of_the_recipes_are_named():
    with pytest.raises(ValueError, match="unknown option of rule 'tcl' 'temprature'; nearest: 'temperature'"):
        rules.make("tcl", temprature=0.1)
    with pytest.raises(ValueError, match="unknown views 'images'; nearest: 'image'"):
        rules.make("stcl", views="images")
    with pytest.raises(ValueError, match="unknown option of views 'image' 'pad'; nearest: 'padding'"):
        rules.make("stcl", views="image", view_options={"pad": 1})
    with pytest.raises(ValueError, match="unknown views 'images'"):
        SiameseTemporalContrast(views="images")
    assert "temporal_contrast" in OBJECTIVES


def test_half_precision_runs():
    run, batch = recorded()
    half = Run(run.output.half(), traces=tuple(Trace(t.weight, *(a.half() for a in t[1:])) for t in run.traces))
    loss = TemporalContrast(temperature=0.01)(half, batch)
    assert math.isfinite(loss)


def test_the_recipe_contrasts_only_within_a_step():
    run, batch = recorded()
    rule = rules.make("supcon_per_step", head="none", temperature=0.2)
    each = torch.stack([contrastive_loss(run.traces[-1].pre[t : t + 1], batch.y, 0.2) for t in range(3)]).mean()
    assert float(rule.objective(run, batch)) == pytest.approx(float(TET()(run, batch) + each), rel=1e-6)


def test_the_latency_curve_is_that_of_truncated_runs():
    trainer = trained("tcl")
    batches = [toy.batch(seed) for seed in range(20, 24)]
    found = trainer.evaluate(batches, steps=range(1, toy.STEPS + 1))
    for step in range(1, toy.STEPS + 1):
        short = [batch._replace(x=batch.x[:step]) for batch in batches]
        assert found[f"accuracy_at_{step}"] == trainer.evaluate(short)["accuracy"]
    curve = [found[f"accuracy_at_{step}"] for step in range(1, toy.STEPS + 1)]
    assert found["accuracy"] == curve[-1]
    assert found["latency_drop"] == curve[-1] - curve[0]
    assert found["latency_area"] == pytest.approx(sum(curve) / toy.STEPS, abs=1e-12)


def test_cosines_are_those_of_all_pairs():
    run, batch = recorded(steps=4, size=9)
    counted = Latency([1], MeanCrossEntropy())
    for part in (slice(5), slice(5, 9)):  # in two batches, as a loader brings them
        traces = tuple(Trace(t.weight, *(a[:, part] for a in t[1:])) for t in run.traces)
        counted.add(Run(run.output[:, part], traces=traces), Batch(batch.x[:, part], batch.y[part]))
    n = unit(run.traces[-1].pre).double()
    over_time = [n[t, i] @ n[s, i] for i in range(9) for t in range(4) for s in range(4) if s != t]
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j]
    cosines = {(i, j): (n[:, i] * n[:, j]).sum(1).mean() for i, j in pairs}
    within = torch.stack([cosines[p] for p in pairs if batch.y[p[0]] == batch.y[p[1]]]).mean()
    between = torch.stack([cosines[p] for p in pairs if batch.y[p[0]] != batch.y[p[1]]]).mean()
    found = counted.report()
    assert found["temporal_cosine"] == pytest.approx(float(torch.stack(over_time).mean()), abs=1e-6)
    assert found["class_separation"] == pytest.approx(float(within - between), abs=1e-6)


def test_models_that_show_nothing_have_no_cosines():
    trainer = rules.Trainer(toy.smooth(frozenset({"gradient"})), "bptt")
    found = trainer.evaluate([toy.batch()], steps=[1, 4])
    assert {"accuracy_at_1", "accuracy_at_4", "latency_drop"} <= set(found)
    assert "temporal_cosine" not in found
    assert set(trainer.evaluate([toy.batch()])) == {"accuracy", "loss", "samples"}


@pytest.mark.parametrize("steps", [[0], [5], [1, 9]])
def test_steps_that_a_run_does_not_have(steps):
    trainer = rules.Trainer(toy.leaky(spiking=True), "bptt")
    with pytest.raises(ValueError, match=r"the run has 4 time steps; give numbers from 1 to 4"):
        trainer.evaluate([toy.batch()], steps=steps)


def test_a_copied_objective_learns_apart():
    tcl = TemporalContrast()
    other = copy.deepcopy(tcl)
    tcl(*recorded())
    assert isinstance(other.head, nn.Module)
    other(*recorded(width=9))
    assert other.head.weight0.shape != tcl.head.weight0.shape


def test_crops_make_views_of_images():
    stcl = rules.make("stcl", views="image", view_options={"padding": 1, "flip": False, "cutout": 2}).objective
    assert isinstance(stcl.pair[0].views[0], RandomCrop)
    assert stcl.views(Batch(torch.rand(2, 3, 1, 8, 8), torch.arange(3)), torch.Generator()).x.shape == (2, 6, 1, 8, 8)


@pytest.mark.parametrize("shape", [(6, 5), (6, 1, 4, 4)])
def test_static_batches_are_doubled_along_their_samples(shape):
    stcl = SiameseTemporalContrast(views=(Identity(), Identity()))
    batch = Batch(torch.rand(shape, generator=torch.Generator().manual_seed(0)), torch.arange(6))
    assert torch.equal(stcl.views(batch, torch.Generator()).x, torch.cat([batch.x, batch.x]))


def batches(sizes, classes, steps=2):
    """Batches of the toy's inputs, whose labels count on, so that a batch of `classes` samples or fewer has no pair."""
    rng = torch.Generator().manual_seed(0)
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    labels = [torch.arange(start, start + size) % classes for start, size in zip(starts, sizes)]
    return [Batch(torch.rand(steps, size, 3, generator=rng), y) for size, y in zip(sizes, labels)]


def small(classes, rule):
    torch.manual_seed(0)
    return rules.Trainer(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, classes)), rule)


PER_STEP = ("supcon_per_step", "tcl")


@pytest.mark.parametrize("recipe", PER_STEP)
def test_a_last_batch_of_one_sample_does_not_end_a_run(recipe):
    """101 samples in batches of 50; the pair is missing from the last batch alone, and that is said once."""
    trainer = small(3, recipe)
    loader = batches([50, 50, 1], 3, steps=2 if recipe == "supcon_per_step" else 1)
    with pytest.warns(UserWarning, match="no positive pair") as said:
        infos = list(trainer.fit(loader, epochs=3))
    assert [str(each.message) for each in said if "positive pair" in str(each.message)] == [ALONE]
    assert len(infos) == 9
    assert all(math.isfinite(info.loss) for info in infos)


@pytest.mark.parametrize("recipe", [*PER_STEP, "stcl"])
@pytest.mark.parametrize(("sizes", "classes"), [([50, 1], 3), ([3], 3), ([1], 2)])
def test_evaluation_never_asks_for_a_pair(recipe, sizes, classes, recwarn):
    trainer = small(classes, recipe)
    trainer.step(batches([50], classes)[0])
    found = trainer.evaluate(batches(sizes, classes, steps=1))
    assert found["samples"] == sum(sizes)
    assert math.isfinite(found["loss"])
    assert not [each for each in recwarn if "positive pair" in str(each.message)]


@pytest.mark.parametrize("recipe", PER_STEP)
def test_an_epoch_without_any_pair_is_said_when_it_ends(recipe):
    trainer = small(4, recipe)
    loader = batches([4, 4, 4], 4, steps=1)

    def learn():
        for _ in trainer.fit(loader, epochs=2):
            trainer.evaluate(batches([50], 4))  # whose pairs do not count

    with pytest.warns(UserWarning, match="no batch of this epoch had a positive pair") as said:
        learn()
    assert [str(each.message) for each in said if "positive pair" in str(each.message)] == [ALONE, NO_PAIR]


def test_a_batch_without_a_pair_gives_the_gradient_of_the_cross_entropy():
    run, batch = recorded(steps=1, size=3)
    output = run.output.clone().requires_grad_()
    hidden = run.traces[-1].pre.clone().requires_grad_()
    shown = run._replace(output=output, traces=tuple(t._replace(pre=hidden) for t in run.traces))
    with pytest.warns(UserWarning, match="no positive pair"):
        loss = TemporalContrast(head="none")(shown, batch)
    plain = TET()(shown, batch)
    assert torch.equal(loss, plain)
    ours, zero = torch.autograd.grad(loss, [output, hidden])
    assert torch.equal(ours, torch.autograd.grad(plain, output)[0])
    assert not zero.any()


def test_a_sum_passes_the_remarks_of_its_terms_on():
    tcl = TemporalContrast(head="none")
    both = Sum((MeanCrossEntropy(), tcl))
    assert both.remark() is None
    with pytest.warns(UserWarning, match="no positive pair"):
        both(*recorded(steps=1, size=3))
    assert both.remark() == NO_PAIR
    both(*recorded(steps=1, size=3))
    assert both.remark() is None  # said once


def test_a_batch_whose_labels_are_all_left_out_does_not_end_an_evaluation():
    trainer = small(3, rules.make("bptt", objective="ce_mean"))
    known, padded = batches([6], 3)[0], batches([2], 3)[0]._replace(y=torch.full((2,), -100))
    alone, both = trainer.evaluate([known]), trainer.evaluate([known, padded])
    assert (both["loss"], both["accuracy"]) == (alone["loss"], alone["accuracy"])
    assert both["samples"] == 6  # those with a label
