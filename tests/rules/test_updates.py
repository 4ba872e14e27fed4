"""Schedules, clipping, accumulation and precision, beside what torch does."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rules
from rules import Trainer
from rules.check.claims import same
from rules.schedules import SCHEDULES, Cosine, StepDecay, WarmUp
from rules.updates import Updates, clipped

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")
X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
RULE = rules.compose("ce_mean", "bptt", "sgd", plasticity_options={"lr": 0.1, "momentum": 0.9})


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def by_hand(steps, schedule=None, clip=None, parts=1):
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = None if schedule is None else schedule(optimizer)
    for _ in range(steps):
        for part in range(parts):
            (F.cross_entropy(net(X[part::parts]), Y[part::parts]) / parts).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()
    return net.state_dict()


def close(a, b):
    return all(torch.allclose(a[name], b[name], rtol=1e-5, atol=1e-7) for name in a)  # a few roundings in float32


CASES = {
    "cosine": (Cosine(8), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 8)),
    "cosine with a floor": (Cosine(8, low=0.1), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 8, 0.01)),
    "step": (StepDecay(3, gamma=0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    "warm-up": (WarmUp(4), lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 4, 1.0, 3)),
    "warm-up and cosine": (
        Cosine(8, warm_up=4),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.LinearLR(o, 1 / 4, 1.0, 3), torch.optim.lr_scheduler.CosineAnnealingLR(o, 4)],
            [4],
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:.*epoch parameter.*")
@pytest.mark.parametrize(("schedule", "theirs"), CASES.values(), ids=CASES)
def test_schedules_are_those_of_torch(schedule, theirs):
    trainer = Trainer(model(), RULE, schedule=schedule)
    for _ in range(8):
        trainer.step((X, Y))
    assert close(trainer.model.state_dict(), by_hand(8, theirs))


def test_clipping_is_that_of_torch():
    trainer = Trainer(model(), RULE, clip=0.05)
    for _ in range(5):
        trainer.step((X, Y))
    assert same(trainer.model.state_dict(), by_hand(5, clip=0.05))
    assert not close(trainer.model.state_dict(), by_hand(5))


def test_accumulated_steps_are_one_of_the_whole_batch():
    trainer = Trainer(model(), RULE, accumulate=3, clip=0.05)
    weights = copy.deepcopy(trainer.model.state_dict())
    for step in range(6):
        trainer.step((X[step % 3 :: 3], Y[step % 3 :: 3]))
        assert same(trainer.model.state_dict(), weights) == (step % 3 != 2)
        weights = copy.deepcopy(trainer.model.state_dict())
    assert close(weights, by_hand(2, clip=0.05, parts=3))
    assert close(weights, by_hand(2, clip=0.05))  # of the whole batch at once


STEPS = torch.randn(5, 12, 4, generator=torch.Generator().manual_seed(1))  # [T, B, in]
CLASSES = torch.where(torch.arange(60).view(5, 12) % 7 < torch.arange(12) % 5, torch.arange(60).view(5, 12) % 3, -100)
CLASSES[0] = torch.arange(12) % 3  # every sample has an answer
LENGTHS = torch.arange(12) % 5 + 1
UNEVEN = {  # -> a loss, and one batch of everything; its parts have different numbers of answers
    "samples left out": ("ce_mean", {}, rules.Batch(X, torch.where(torch.arange(12) % 11 < 4, Y, -100))),
    "classes with weights": ("ce_mean", {"weight": (1.0, 5.0, 0.5)}, rules.Batch(X, (torch.arange(12) > 4).long())),
    "steps left out": ("ce_rate", {}, rules.Batch(STEPS, targets=CLASSES)),
    "steps with weights": ("ce_rate", {"weight": (1.0, 5.0, 0.5)}, rules.Batch(STEPS, targets=CLASSES)),
    "a class of each sample at steps that count": ("ce_rate", {}, rules.Batch(STEPS, Y, lengths=LENGTHS)),
    "steps that count": ("tet", {"lam": 0.0}, rules.Batch(STEPS, targets=CLASSES, lengths=LENGTHS)),
    "numbers at steps that count": ("mse", {"at": "step"}, rules.Batch(STEPS, targets=STEPS[..., :3], lengths=LENGTHS)),
    "numbers": ("mse", {}, rules.Batch(STEPS, X[:, :3])),
}
PARTS = [slice(0, 2), slice(2, 7), slice(7, 12)]  # of the samples


def part_of(batch, rows):
    def some(value, axis):
        return None if value is None else value[(slice(None),) * axis + (rows,)]

    time = batch.x.ndim - 2
    return rules.Batch(some(batch.x, time), some(batch.y, 0), None, some(batch.targets, 1), some(batch.lengths, 0))


def gradients(rule, batch):
    net = model()
    return rule.credit.assign(net, rule.objective, batch, (), torch.Generator()).grads


def mean_of_means(rule, batch):
    parts = [gradients(rule, part_of(batch, rows)) for rows in PARTS]
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}


@pytest.mark.parametrize(("objective", "options", "batch"), UNEVEN.values(), ids=UNEVEN)
def test_steps_of_uneven_batches_are_one_of_the_whole(objective, options, batch):
    """In float64, where only the order of sums differs; a mean of means would be off in the first digits."""
    rule = rules.compose(
        objective, "bptt", "sgd", objective_options=options, plasticity_options={"lr": 0.1, "momentum": 0.9}
    )
    many, one = (Trainer(model().double(), rule, accumulate=k) for k in (3, 1))
    for _ in range(2):
        for rows in PARTS:
            many.step(part_of(batch, rows))
        one.step(batch)
    found, whole = mean_of_means(rule, batch), gradients(rule, batch)
    of_many, of_one = many.model.state_dict(), one.model.state_dict()
    assert all(torch.allclose(of_many[name], of_one[name], rtol=1e-12, atol=1e-14) for name in of_one)
    assert not all(torch.allclose(found[name], whole[name], rtol=1e-3) for name in whole)


def test_steps_that_count_alike_keep_the_bits_of_a_plain_mean():
    updates = Updates(None, None, 3)
    weight = nn.Parameter(torch.zeros(50))
    grads = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    for step, g in enumerate(grads):
        updates.apply(torch.optim.SGD([weight], lr=1.0), {"weight": weight}, {"weight": g}, step, amount=7.0)
    assert torch.equal(-weight.detach(), grads[0] / 3 + grads[1] / 3 + grads[2] / 3)


@pytest.mark.parametrize("stop", range(1, 6))
def test_uneven_batches_resume_exactly(stop):
    rule = rules.compose("ce_rate", "bptt", "sgd", plasticity_options={"lr": 0.1, "momentum": 0.9})
    whole, first, second = (Trainer(model(), rule, accumulate=3) for _ in range(3))
    batches = [part_of(rules.Batch(STEPS, targets=CLASSES), rows) for rows in PARTS] * 2
    for batch in batches:
        whole.step(batch)
    for batch in batches[:stop]:
        first.step(batch)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for batch in batches[stop:]:
        second.step(batch)
    assert same(whole.state_dict(), second.state_dict())


def test_gradients_of_earlier_versions_are_steps_that_count_alike():
    """Such a state has the gradients alone."""
    trainer, other = (Trainer(model(), RULE, accumulate=3) for _ in range(2))
    for part in range(2):
        trainer.step((X[part::3], Y[part::3]))
    state = trainer.state_dict()
    state["updates"] = state["updates"]["gradients"]
    other.load_state_dict(state)
    for each in (trainer, other):
        each.step((X[2::3], Y[2::3]))
    assert same(trainer.state_dict(), other.state_dict())


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_all_of_it_resumes_exactly(stop):
    def trainer():
        return Trainer(model(), RULE, schedule=Cosine(3, warm_up=1), clip=0.1, accumulate=2)

    whole, first, second = trainer(), trainer(), trainer()
    batches = [(X[n::3], Y[n::3]) for n in (0, 1, 2, 0, 1, 2)]
    for batch in batches:
        whole.step(batch)
    for batch in batches[:stop]:
        first.step(batch)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for batch in batches[stop:]:
        second.step(batch)
    assert same(whole.state_dict(), second.state_dict())


def test_bf16_is_torchs_autocast():
    trainer = Trainer(model(), RULE, precision="bf16")
    net = model()
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(net(X), Y)
    loss.backward()
    info = trainer.step((X, Y))
    assert info.loss == float(loss)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    optimizer.step()
    assert same(trainer.model.state_dict(), net.state_dict())
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = float(F.cross_entropy(net(X), Y))
    assert trainer.evaluate([(X, Y)])["loss"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("rule", ["hzo", "spsa", "node_perturbation", "forward_gradient", "binary_stochastic"])
def test_rules_that_bf16_would_drown_refuse_it(rule):
    net = nn.Sequential(nn.Linear(4, 8), rules.StochasticBits(), nn.Linear(8, 3), rules.StochasticBits())
    with pytest.raises(ValueError, match=r"precision='bf16': \w+ compares small differences or draws bits"):
        Trainer(net, rule, precision="bf16")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Trainer(model(), RULE, clip=0.0), "clip=0.0: give the largest norm of the gradients, above 0"),
        (lambda: Trainer(model(), RULE, accumulate=0), "accumulate=0: give the number of steps that make an update"),
        (lambda: Trainer(model(), RULE, precision="half"), "unknown precision 'half'.*full, bf16"),
        (lambda: Trainer(model(), RULE, schedule=Cosine()), r"a cosine needs its length: Cosine\(updates=1000\)"),
        (lambda: Cosine(10, warm_up=10), "updates=10, warm_up=10: the rise must be shorter than the whole"),
        (lambda: Cosine(10, low=2.0), "low=2.0: give a factor between 0 and 1"),
        (lambda: StepDecay(0), "every=0: give a whole number of updates, at least 1"),
        (lambda: StepDecay(3, gamma=0.0), "gamma=0.0: give a factor above 0 and at most 1"),
        (lambda: WarmUp(0), "updates=0: give a whole number of updates, at least 1"),
    ],
)
def test_bad_input_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_every_schedule_is_between_zero_and_one():
    for make in SCHEDULES.values():
        schedule = make().over(50)
        assert all(0 <= schedule.factor(n) <= 1 for n in range(60))


@pytest.mark.parametrize("factor", [1e-15, 1.0, 1e15, 1e25, 1e30, 1e38])
@pytest.mark.parametrize("most", [0.5, 1e27])
def test_clipping_bounds_gradients_of_any_scale(factor, most):
    """Against float64: above 1e19 the squares of float32 overflow, and torch alone would make every gradient zero."""
    rng = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,))]
    exact = []
    for weight in weights:
        weight.grad = (torch.rand(weight.shape, generator=rng) - 0.5) * factor
        exact.append(weight.grad.double())
    norm = float(torch.cat([g.flatten() for g in exact]).norm())
    clipped(weights, most)
    for weight, g in zip(weights, exact, strict=True):
        # torch adds 1e-6 to the norm, which is 1e-6 of the norms here; the rest is float32's rounding
        torch.testing.assert_close(weight.grad.double(), g * min(1.0, most / norm), rtol=3e-6, atol=0)


def test_clipping_is_torchs_where_nothing_overflows():
    rng = torch.Generator().manual_seed(0)
    ours, theirs = (nn.Parameter(torch.zeros(7)) for _ in range(2))
    ours.grad = torch.randn(7, generator=rng)
    theirs.grad = ours.grad.clone()
    clipped([ours], 0.1)
    nn.utils.clip_grad_norm_([theirs], 0.1)
    assert torch.equal(ours.grad, theirs.grad)


def test_clipping_half_precision_does_not_overflow():
    weight = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    weight.grad = torch.full((4,), 60_000.0, dtype=torch.float16)
    clipped([weight], 1.0)
    torch.testing.assert_close(weight.grad.float(), torch.full((4,), 0.5), rtol=2**-10, atol=0)


def test_clipping_leaves_what_is_not_finite_visible():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([math.inf, 1.0])
    clipped([weight], 1.0)
    assert not weight.grad.isfinite().all()
