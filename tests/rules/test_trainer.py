"""The trainer works on any model, resumes bit for bit, and refuses what it cannot do before changing anything."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rules
from rules import Batch, HealthWarning, MissingNeed, NonFinite, Run, Trainer
from rules.check import toy
from rules.optional import offers
from rules.plasticity import Memristor
from sandbox import LIF, build, calibrate

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")


def blobs(n: int = 96, seed: int = 0):
    """Three classes around three corners."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=rng)
    x = torch.eye(4)[y] + 0.2 * torch.randn(n, 4, generator=rng)
    return x, y


class Recurrent(nn.Module):
    """A user-defined model: an LSTM that returns [T, B, C] and knows nothing of this library."""

    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(4, 16)
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        return self.out(self.memory(x)[0])


def spiking() -> nn.Module:
    net = build((4,), 3, hidden=(20,), neuron=LIF(tau_mem=5.0))
    calibrate(net, blobs()[0].expand(8, 96, 4), rate=0.15)
    return net


MODELS = {
    "sandbox network": (spiking, True),
    "plain module [T, B, C]": (Recurrent, True),
    "sequential [B, C]": (lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)), False),
}


@pytest.fixture(params=MODELS, name="case")
def _case(request):
    make, timed = MODELS[request.param]
    torch.manual_seed(0)
    x, y = blobs()
    batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 96, 32)]
    if timed:
        batches = [(a.expand(8, *a.shape), b) for a, b in batches]
    return make(), batches


SETTINGS = {  # for rules to which a learning rate of 0.02 does not apply: pulses are summed over batch and steps
    "binary_stochastic": {"binarise_input": False, "dead_zone": 0.5, "store_options": {"threshold": 32, "period": 1}},
    "binary_stochastic_ideal": {"binarise_input": False, "dead_zone": 0.5, "pulse": 0.001},
    "bptt_on_memristor": {"lr": 0.5, "store": "direct"},
    "spsa": {"lr": 0.05, "draws": 32},
    "node_perturbation": {"lr": 0.1, "draws": 32},
    "forward_gradient": {"lr": 0.05, "draws": 16},
    "coordinate_wise": {"lr": 0.05, "step": 0.3, "together": False, "sparsity": 0.95, "relative": False},
    "evolution_strategy": {"lr": 0.02},
}
FED_BACK = {"fa", "dfa", "sdfa", "drtp", "usf", "brsf", "frsf", "weight_mirror", "kolen_pollack"}
# Feedback has to be aligned with first, and one model carries errors back inside of an LSTM.
SETTINGS |= {name: {"lr": 0.1, "recurrent": "exact"} for name in FED_BACK}
SETTINGS |= {"decolle": {"lr": 0.1}}


SLOW = {"node_perturbation", "forward_gradient", "spsa", "evolution_strategy"}  # `coordinate_wise` stands for them


@pytest.mark.parametrize(
    "rule", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in rules.RULES]
)
def test_it_learns_on_any_model(case, rule):
    model, batches = case
    if rule == "three_factor":
        pytest.skip("one reward for all cells, without noise to explore by, does not tell classes apart")
    if rule == "forward_forward":
        pytest.skip("it writes the label over the features, and these samples have none to spare")
    if not rules.make(rule).credit.asks:
        pytest.skip("without a loss it learns no classes")
    made = rules.make(rule, **SETTINGS.get(rule, {"lr": 0.02}))
    if not made.needs <= offers(model) | {"labels"}:
        pytest.skip(f"{type(model).__name__} does not offer {set(made.needs - offers(model) - {'labels'})}")
    trainer = Trainer(model, made, seed=0)
    before = trainer.evaluate(batches)
    infos = list(trainer.fit(batches, epochs=20))
    after = trainer.evaluate(batches)
    assert after["loss"] < before["loss"]
    assert after["accuracy"] > 0.8
    assert [info.step for info in infos] == list(range(1, 61))
    assert infos[-1].epoch == 19
    cost = infos[0].cost
    assert (cost.forwards, cost.backwards) == (1, 1) if cost.backwards else cost.layer_evaluations > 1


def test_a_loader_may_yield_batches_or_pairs_or_tensors():
    x, y = blobs()
    weights = []
    pairs = [(x[:32], y[:32]), (x[32:64], y[32:64])]
    for loader in (pairs, [Batch(*p) for p in pairs], [list(p) for p in pairs]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3))
        list(Trainer(model, "bptt").fit(loader))
        weights.append(model[0].weight)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    list(Trainer(model, "bptt").fit(DataLoader(TensorDataset(x, y), batch_size=32)))
    with pytest.raises(TypeError, match=r"a loader must yield \(x, y\), rules.Batch\(x, y\), .* yielded str"):
        Trainer(model, "bptt").step("batch")


def test_a_step_is_the_step_written_by_hand(case):
    """The same numbers as autograd and AdamW in ten lines of torch, to the last bit."""
    model, batches = case
    twin = copy.deepcopy(model)
    trainer = Trainer(model, "bptt")
    optimizer = torch.optim.AdamW(twin.parameters(), lr=5e-3, weight_decay=0.0)
    for x, y in batches:
        trainer.step((x, y))
        out = twin(x)
        out = out.output if isinstance(out, Run) else out
        loss = nn.functional.cross_entropy(out.mean(0) if out.ndim == 3 else out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("stop", [1, 3, 4, 5, 6])
def test_resuming_in_the_middle_is_bit_exact(case, stop):
    """Through a file, into a model that was drawn differently, mid-epoch and at its end."""
    model, batches = case
    whole, first, second = (Trainer(copy.deepcopy(model), "bptt", seed=1) for _ in range(3))
    losses = [info.loss for info in whole.fit(batches, epochs=3)]
    fit = first.fit(batches, epochs=3)
    begun = [next(fit).loss for _ in range(stop)]
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        for p in second.model.parameters():
            p.normal_()
    second.load_state_dict(torch.load(file, weights_only=True))
    begun += [info.loss for info in second.fit(batches, epochs=3 - second.epoch)]
    assert begun == losses
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True))


def test_dropout_resumes_too():
    """The state holds torch's global generator, which dropout draws from."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.Dropout(0.5), nn.Linear(32, 3))
    x, y = blobs()
    trainer = Trainer(model, "bptt")
    trainer.step((x, y))
    state = trainer.state_dict()
    first = trainer.step((x, y)).loss
    trainer.load_state_dict(state)
    assert trainer.step((x, y)).loss == first


def test_an_interrupted_epoch_is_finished_first(case):
    model, batches = case
    trainer = Trainer(model, "bptt")
    for info in trainer.fit(batches):
        if info.step == 2:
            break
    assert [info.step for info in trainer.fit(batches)] == [3]
    assert (trainer.epoch, trainer.position) == (1, 0)


def test_evaluation_disturbs_nothing(case):
    model, batches = case
    a, b = Trainer(model, "bptt"), Trainer(copy.deepcopy(model), "bptt")
    for batch in batches:
        a.evaluate(batches)
        a.step(batch)
        b.step(batch)
    assert all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True))
    result = a.evaluate(batches)
    assert result.keys() >= {"accuracy", "loss"}
    assert result["samples"] == 96


def test_the_model_keeps_its_mode(case):
    model, batches = case
    model.eval()
    trainer = Trainer(model, "bptt")
    trainer.evaluate(batches)
    assert not model.training
    next(trainer.fit(batches))
    assert model.training


def test_needs_are_checked_before_the_first_step():
    with pytest.raises(
        MissingNeed,
        match=r"BPTT\) needs what Static does not offer \(it offers: features, labels, layers\):\n"
        r"  gradient: autograd reaches .*; use a rule of the zero-order family",
    ):
        Trainer(toy.smooth(frozenset({"layers"})), "bptt")
    with pytest.raises(MissingNeed, match="labels: `batch.y`, the class of every sample, .*; let the loader yield"):
        Trainer(nn.Linear(4, 3), "bptt").step(Batch(blobs()[0]))


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="Identity has no trainable parameter: is everything frozen?"):
        Trainer(nn.Identity(), "bptt")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rules.make("bpt"), "unknown rule 'bpt'; nearest: 'bptt'; valid: bptt, tet, tcl"),
        (
            lambda: rules.make("bptt", learning_rate=1),
            "unknown option of rule 'bptt' 'learning_rate'.*valid: lr, objective",
        ),
        (lambda: rules.make("bptt", windw=1), "unknown option of rule 'bptt' 'windw'; nearest: 'window'"),
        (lambda: rules.make("bptt", objective="ce_men"), "unknown objective 'ce_men'; nearest: 'ce_mean'"),
        (lambda: rules.compose("tet", "bptt", "sdg"), "unknown plasticity 'sdg'; nearest: 'sgd'"),
        (
            lambda: rules.compose("tet", "bptt", "sgd", plastic_options={}),
            "unknown option of compose 'plastic_options'",
        ),
    ],
)
def test_misspellings_are_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_batch_first_data_is_recognised():
    x, y = blobs()
    with pytest.raises(
        ValueError, match=r"input \(96, 8, 4\) gave output \(96, 8, 3\) for 96 labels: arrays are time-first"
    ):
        Trainer(Recurrent(), "bptt").step((x[:, None].expand(96, 8, 4), y))


def test_outputs_of_a_wrong_rank_are_refused():
    with pytest.raises(
        ValueError, match=r"model output has shape \(2, 2, 2, 3\); wanted \[T, B, classes\] or \[B, classes\]"
    ):
        Trainer(nn.Linear(4, 3), "bptt").step((torch.zeros(2, 2, 2, 4), torch.zeros(2, dtype=torch.long)))
    with pytest.raises(TypeError, match=r"a model must return a tensor .* got tuple"):
        Trainer(nn.LSTM(4, 3), "bptt").step((torch.zeros(2, 2, 4), torch.zeros(2, dtype=torch.long)))


@pytest.mark.parametrize("y", [torch.tensor([0, 1, 3]), torch.tensor([-1, 0, 1])])
def test_labels_out_of_range_are_refused(y):
    with pytest.raises(ValueError, match=r"labels.*3 classes"):
        Trainer(nn.Linear(4, 3), "bptt").step((torch.zeros(3, 4), y))


def test_labels_of_the_wrong_dtype_are_refused():
    with pytest.raises(TypeError, match="int64"):
        Trainer(nn.Linear(4, 3), "bptt").step((torch.zeros(3, 4), torch.zeros(3)))


def test_empty_and_exhausted_loaders_are_refused():
    trainer = Trainer(nn.Linear(4, 3), "bptt")
    with pytest.raises(ValueError, match="the loader gave no batch in epoch 1: it is empty, or a generator"):
        list(trainer.fit([]))
    with pytest.raises(ValueError, match="the loader gave no batch in epoch 2"):
        list(trainer.fit(iter([blobs()]), epochs=2))
    with pytest.raises(ValueError, match="the loader gave no sample to evaluate"):
        trainer.evaluate([])
    with pytest.raises(ValueError, match="evaluate needs labels"):
        Trainer(nn.Linear(4, 3), rules.LearningRule(toy.Quadratic(), *_parts())).evaluate([blobs()[0]])


class Sides(toy.Quadratic):
    """Knows by itself what is right: the first output should be the larger one."""

    def answers(self, run, batch):
        return run.output.mean(0)[:, :2], torch.zeros(run.output.shape[1], dtype=torch.long)


def test_an_objective_that_knows_what_is_right_is_evaluated_without_labels():
    x = blobs()[0]
    model, objective = nn.Linear(4, 3), Sides()
    found = Trainer(model, rules.LearningRule(objective, *_parts())).evaluate([x, x[:10]])
    output = torch.cat([model(x), model(x[:10])]).detach()
    wanted = (output[:, 0] >= output[:, 1]).float().mean()
    assert found["accuracy"] == pytest.approx(float(wanted))
    assert found["samples"] == len(output)
    losses = [float(objective(rules.Run(part[None]), rules.Batch(part))) for part in (output[:-10], output[-10:])]
    mean = (losses[0] * len(x) + losses[1] * 10) / len(output)
    assert found["loss"] == pytest.approx(mean, rel=1e-5)  # float32


def _parts():
    rule = rules.make("bptt")
    return rule.credit, rule.plasticity


class Poisoned(nn.Module):
    """Divides by zero in its second layer on request."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.poison = nn.Linear(4, 4), nn.Linear(4, 3), False

    def forward(self, x):
        return self.second(self.first(x)) / (0.0 if self.poison else 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_input_is_named_and_nothing_changes(value):
    x, y = blobs()
    trainer = Trainer(nn.Sequential(nn.Linear(4, 3)), "bptt")
    trainer.step((x, y))
    before = trainer.state_dict()
    bad = x.clone()
    bad[5, 2] = value
    with pytest.raises(NonFinite, match=rf"step 2: the input holds {value} at index \[5, 2\] of \(96, 4\)"):
        trainer.step((bad, y))
    assert torch.equal(trainer.model[0].weight, before["model"]["0.weight"])
    assert trainer.steps == 1


def test_a_bad_input_that_is_repeated_in_time_is_found():
    x, y = blobs()
    x[5, 2] = float("nan")
    with pytest.raises(NonFinite, match=r"the input holds nan at index \[0, 5, 2\] of \(8, 96, 4\)"):
        Trainer(Recurrent(), "bptt").step((x.expand(8, 96, 4), y))


def test_a_bad_loss_names_the_layer_it_began_in():
    x, y = blobs()
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    trainer = Trainer(model, "bptt")
    with torch.no_grad():
        model[2].bias[0] = float("inf")
    with pytest.raises(NonFinite, match="step 1: the loss is nan, first seen in parameter 2.bias"):
        trainer.step((x, y))
    overflow = nn.Sequential(nn.Linear(4, 8), nn.Hardtanh(-1e38, 1e38), nn.Linear(8, 3))
    with torch.no_grad():
        overflow[2].weight.fill_(1e38)
    with pytest.raises(NonFinite, match="first seen in the output of layer 2"):
        Trainer(overflow, "bptt").step((x * 1e3, y))


class SquareRoot(nn.Module):
    """Finite forward, infinite slope at zero."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3))

    def forward(self, x):
        return (x @ self.weight).abs().sqrt()


def test_a_bad_gradient_names_its_parameter():
    with pytest.raises(NonFinite, match="step 1: the gradient of weight holds a NaN or an infinity"):
        Trainer(SquareRoot(), "bptt").step(blobs())


def test_one_finite_sum_that_overflows_is_no_alarm():
    x = torch.full((4, 4), 3e38)
    trainer = Trainer(nn.Sequential(nn.Hardtanh(), nn.Linear(4, 3)), "bptt")
    assert trainer.step((x, torch.zeros(4, dtype=torch.long))).step == 1


@pytest.mark.parametrize(("weight", "kind"), [(0.0, "silent"), (100.0, "saturated")])
def test_dead_layers_are_reported_at_the_first_step(weight, kind):
    net = build((4,), 3, hidden=(20,))
    with torch.no_grad():
        net.layers[0].synapse.weight.fill_(weight)
        net.layers[0].synapse.bias.fill_(weight)
    x, y = blobs()
    with pytest.warns(HealthWarning, match=rf"step 1: layers.0.cells is {kind} .*; scale its weights or input"):
        info = Trainer(net, "bptt").step((x.abs().expand(8, 96, 4), y))
    assert kind in {finding.kind for finding in info.health}


def test_a_stranger_s_spiking_layer_is_watched_too():
    class Step(nn.Module):
        def forward(self, x):
            return rules.Surrogate("atan").spike(x - 100.0)

    model = nn.Sequential(nn.Linear(4, 8), Step(), nn.Linear(8, 3))
    with pytest.warns(HealthWarning, match="step 1: 1 is silent"):
        Trainer(model, "bptt").step(blobs())


def test_a_parameter_without_credit_is_reported():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.used(x)

    with pytest.warns(HealthWarning, match="idle.weight is without credit .* use its output in forward"):
        info = Trainer(Idle(), "bptt").step(blobs())
    assert {finding.where for finding in info.health} == {"idle.weight", "idle.bias"}


def test_a_vanishing_gradient_is_reported():
    class Faint(nn.Module):
        def __init__(self):
            super().__init__()
            self.deep, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(x + 1e-8 * self.deep(x))

    with pytest.warns(HealthWarning, match=r"deep.weight is vanishing .* wider surrogate"):
        Trainer(Faint(), "bptt").step(blobs())


def test_a_healthy_model_gives_no_warning(recwarn):
    Trainer(spiking(), "bptt").step((blobs()[0].expand(8, 96, 4), blobs()[1]))
    assert not [w for w in recwarn if issubclass(w.category, HealthWarning)]


def test_learning_rate_schedules_work_on_the_optimizer(case):
    model, batches = case
    trainer = Trainer(model, "bptt")
    schedule = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 1, gamma=0.5)
    trainer.step(batches[0])
    schedule.step()
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(2.5e-3)


# --- weights in devices ---


def on_devices(seed=0, **options):
    x, y = blobs()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    return Trainer(model, rules.make("bptt_on_memristor", store="direct", **options), seed=seed), (x, y)


def test_pulses_are_billed_with_the_step_that_wrote_them():
    trainer, batch = on_devices()
    costs = [trainer.step(batch).cost for _ in range(3)]
    assert sum(cost.pulses for cost in costs) == sum(trainer.optimizer.writes) > 0
    assert all(cost.pulses > 0 for cost in costs)


def test_devices_are_as_random_as_the_trainer_says_unless_they_have_a_seed_of_their_own():
    def steps(seed, **options):
        trainer, batch = on_devices(seed, **options)
        trainer.step(batch)
        return trainer.model[0].weight.detach()

    assert torch.equal(steps(1), steps(1))
    assert not torch.equal(steps(1), steps(2))
    own = Memristor("noisy_soft_bounds", "direct", lr=0.1, seed=7)
    assert own.seeded(3).seed == 7
    assert Memristor().seeded(3).seed == 3


def test_noise_of_reading_is_seen_by_learning_and_by_evaluation_and_leaves_the_weights_alone():
    noisy, batch = on_devices(device_options={"read_noise": 0.05})
    quiet, _ = on_devices()
    before = noisy.model[0].weight.detach().clone()
    found = noisy.evaluate([batch])
    assert found == noisy.evaluate([batch]) != quiet.evaluate([batch])
    assert torch.equal(noisy.model[0].weight, before)
    assert noisy.step(batch).loss != quiet.step(batch).loss


class Passing:
    """A wrapper of a loader that passes everything on, as many do."""

    def __init__(self, inner):
        self.inner = inner

    def __iter__(self):
        return iter(self.inner)

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Telling(list):
    def set_epoch(self, epoch):
        self.epochs = [*getattr(self, "epochs", []), epoch]


def test_a_wrapped_loader_is_told_the_epoch():
    loader = Telling([(torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))])
    assert len(list(Trainer(nn.Linear(3, 2), "bptt").fit(Passing(loader), epochs=2))) == 2
    assert loader.epochs == [0, 1]


@pytest.mark.parametrize("accident", [{"bounds": (-1.0, 1.0)}, {"bounds": lambda: 3}, {"reading": None}])
def test_an_attribute_that_is_called_like_a_clause_changes_nothing(accident):
    """A look at health and a step use neither."""
    trainer = Trainer(nn.Linear(3, 2), "bptt")
    vars(trainer.optimizer).update(accident)
    assert trainer.step((torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))).step == 1


def test_an_optimizer_that_is_replaced_is_the_one_that_counts():
    trainer = Trainer(nn.Linear(3, 2), "bptt")
    trainer.optimizer = Memristor("ideal", "direct", lr=10.0)(trainer.parameters.values())
    assert trainer.step((torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))).cost.pulses > 0


@pytest.mark.parametrize("rule", ["bptt", "spsa", "hzo"])
def test_parameters_that_no_optimizer_knows_are_refused(rule):
    """A layer that is thawed or replaced after the trainer was made."""
    for change in (lambda net: net[0].requires_grad_(True), lambda net: net.__setitem__(2, nn.Linear(16, 3))):
        net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
        net[0].requires_grad_(False)
        trainer = Trainer(net, rule)
        trainer.step(blobs())
        change(net)
        with pytest.raises(ValueError, match=r"became trainable, or was replaced.*rules\.Trainer\(model, rule\)"):
            list(trainer.fit([blobs()]))


def test_learning_inside_no_grad_learns():
    trainer = Trainer(nn.Sequential(nn.Linear(4, 3)), "bptt")
    with torch.no_grad():
        losses = [trainer.step(blobs()).loss for _ in range(5)]
    assert losses[-1] < losses[0]


def test_a_credit_alone_is_refused_with_its_completion():
    with pytest.raises(TypeError, match=r"BPTT is a credit, one of three parts of a rule: rules\.LearningRule\("):
        Trainer(nn.Linear(4, 3), rules.BPTT())
    with pytest.raises(TypeError, match="is not a rule: give a rules.LearningRule, or a name"):
        Trainer(nn.Linear(4, 3), 3)


def test_sparse_gradients_do_not_stop_a_look():
    net = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 3))
    rule = rules.compose("ce_mean", "bptt", "sgd")
    info = Trainer(net, rule).step((torch.arange(10).reshape(5, 2), torch.tensor([0, 1])))
    assert info.loss > 0
