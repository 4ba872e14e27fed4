"""Deep models as layers: parts one after the other, what a recorded run tells of each, and rules that use it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import rules
from rules.contract import Batch
from rules.credit.zero_order import HZO, CoordinateWise, SequentialLocal
from rules.forward import run_model
from rules.objectives.regularisers import RateL1
from rules.spikes.surrogate import Surrogate
from rules.synapses import synapses
from sandbox import LIF, make_model
from sandbox.networks.attention import Attention
from sandbox.networks.gates import Gate
from sandbox.networks.joins import add
from sandbox.networks.models import ms_resnet, sew_resnet
from sandbox.networks.models.qkformer import Size as Stages
from sandbox.networks.models.qkformer import qkformer
from sandbox.networks.models.snn_vit import snn_vit
from sandbox.networks.models.spikformer import TWO, Size, spikformer
from sandbox.networks.models.spikingformer import spikingformer
from sandbox.networks.multiscale import MultiscaleAttention
from sandbox.networks.network import Layer
from sandbox.networks.parts import Joined, Neurons, Stack, Stateless
from sandbox.networks.population import Population
from tests.rules.credit.zero_order.nets import error, inputs
from tests.sandbox.networks.deep import SHAPE, B, T, drawn, lively

CAUSAL = (
    "spikformer",
    "spikingformer",
    "spikingformer_cml",
    "qkformer",
    "snn_vit",
    "sew_resnet",
    "ms_resnet",
    "syna_resnet",
)
WHOLE = ("svformer", "sma_resnet", "sma_vgg")
SMALL = Size(1, 8, 2, TWO, ratio=2, scale=1.0, gain=2.0)
NARROW = Stages((8, 16), (1, 1), 2, "small", ratio=2, scale=1.0, gain=2.0)
SMOOTH = rules.BPTT(smooth=True, detach_reset=False)
CELL = LIF(tau_mem=2.0, surrogate=Surrogate("sigmoid"))


def made(name):
    return lively(make_model(name, shape=SHAPE, classes=10, steps=T))


@contextmanager
def watched(model):
    """What enters every synapse, by the name of its weight, and what leaves every population, by its name."""
    entered, fired = {}, {}
    names = {module: name for name, module in model.named_modules()}

    def before(module, given):
        entered[names[module] + ".weight"] = given[0]

    def behind(module, given, shown):
        fired[names[module]] = shown[0]

    handles = [module.register_forward_pre_hook(before) for module in synapses(model).values()]
    handles += [part.register_forward_hook(behind) for part in model.modules() if isinstance(part, Population)]
    yield entered, fired
    for handle in handles:
        handle.remove()


def without_weight(model):
    """Populations behind a product or a gate, and behind other neurons, normalised: no weight drives them."""
    spiking = any(isinstance(part, MultiscaleAttention) and part.fires is not None for part in model.modules())
    found = set()
    for name, part in model.named_modules():
        if isinstance(part, Attention):
            found.add(f"{name}.cells")
        elif isinstance(part, Gate) and part.fires is not None:
            found.add(f"{name}.fires")
        elif isinstance(part, Layer) and not synapses(part.synapse) and spiking:
            found.add(f"{name}.cells")
    return found


@pytest.mark.parametrize("name", [*CAUSAL, *WHOLE])
def test_its_layers_one_after_the_other_are_the_model(name):
    model, x = made(name), drawn(T, B, *SHAPE, seed=1)
    signal = x
    for layer in model.layers:
        signal = layer(signal)
    assert torch.equal(signal, model(x).output)
    assert "layers" in model.offers


@pytest.mark.parametrize("name", [*CAUSAL, *WHOLE])
def test_a_recorded_run_has_every_population_once(name):
    """Each with what enters the weight before it; the read-out is last, and its input is the features."""
    model, x = made(name), drawn(T, B, *SHAPE, seed=1)
    with watched(model) as (entered, fired):
        run = run_model(model, Batch(x), record=True)
    *driving, readout = run.traces
    shown = [name for trace in driving for name, spikes in fired.items() if spikes is trace.post]
    assert sorted(shown) == sorted(fired.keys() - without_weight(model))
    for trace in run.traces:
        assert trace.weight in dict(model.named_parameters())
        assert trace.u.shape == trace.post.shape
        signal = entered[trace.weight]
        whole = trace.pre.flatten(0, 1) if trace.pre.ndim > signal.ndim else trace.pre
        pooled = signal.ndim != whole.ndim or signal.shape != whole.shape  # a layer's pool, in front of its weight
        assert pooled or torch.equal(whole, signal)
    assert torch.equal(readout.post, run.output)
    assert readout.post is readout.u
    assert torch.equal(run.output, model(x).output)


@pytest.mark.parametrize("name", ["spikingformer", "sew_resnet"])
def test_membranes_are_above_the_threshold_where_neurons_fire(name):
    run = made(name)(drawn(T, B, *SHAPE, seed=1), record=True)
    for trace in run.traces[:-1]:
        assert torch.equal(trace.post, (trace.u >= 0).to(trace.post.dtype))
    assert any(trace.post.any() for trace in run.traces[:-1])


def test_neurons_that_begin_a_block_belong_to_the_weight_before_it():
    """Spikingformer adds currents: the convolution in front of a block drives its first neurons, with the shortcut."""
    model, x = made("spikingformer"), drawn(T, B, *SHAPE, seed=1)
    with watched(model) as (_, fired):
        posts = {trace.weight: trace.post for trace in model(x, record=True).traces}
    assert posts["parts.10.module.0.weight"] is fired["parts.11.branch.0.cells"]
    assert posts["parts.11.branch.2.module.0.weight"] is fired["parts.12.branch.0.cells"]
    assert posts["parts.12.branch.1.synapse.0.weight"] is fired["parts.12.branch.1.cells"]


def test_an_input_that_is_constant_in_time_has_traces_of_every_step():
    model, x = made("spikingformer"), drawn(1, B, *SHAPE, seed=1).expand(T, B, *SHAPE)
    for one, all_steps in zip(model(x, record=True).traces, model(x.clone(), record=True).traces, strict=True):
        assert one.weight == all_steps.weight
        for a, b in zip(one[1:], all_steps[1:], strict=True):
            torch.testing.assert_close(a, b)


def test_a_penalty_on_rates_is_that_of_its_populations():
    model, x = made("spikingformer"), drawn(T, B, *SHAPE, seed=1)
    with watched(model) as (_, fired):
        found = RateL1(weight=1.0)(model(x, record=True), Batch(x))
    behind = fired.keys() - without_weight(model)
    torch.testing.assert_close(found, sum(fired[name].mean() for name in behind))


SMALL_MODELS = {
    "spikingformer": lambda: spikingformer(SHAPE, 3, SMALL, neuron=CELL),
    "spikformer": lambda: spikformer(SHAPE, 3, SMALL, neuron=CELL),
    "qkformer": lambda: qkformer(SHAPE, 3, NARROW, neuron=CELL),
    "snn_vit": lambda: snn_vit(SHAPE, 3, neuron=CELL),
    "ms_resnet": lambda: ms_resnet(SHAPE, 3),
    "sew_resnet": lambda: sew_resnet(SHAPE, 3),
}
OTHERS = tuple(SMALL_MODELS)[1:]


def small(name):
    """In float64, with averages in place of maxima, whose kinks no difference can follow."""
    model = SMALL_MODELS[name]()
    pools = [(part, name) for part in model.modules() for name, inside in part.named_children() if is_maximum(inside)]
    for part, where in pools:
        pool = getattr(part, where)
        setattr(part, where, nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding))
    return lively(model).double().eval()


def is_maximum(module):
    return isinstance(module, nn.MaxPool2d)


@pytest.mark.parametrize("name", ["spikingformer", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)])
@pytest.mark.filterwarnings("ignore::rules.HealthWarning")  # gains far from 1, and normalisations that are not moved
def test_hzo_finds_the_gradient_through_blocks(name):
    """In float64 with smooth spikes: central differences of 6e-6 have an error of about 1e-11."""
    assert error(HZO(smooth=True), small(name), inputs(2, 2, *SHAPE).abs(), SMOOTH) < 1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
def test_an_input_that_is_constant_in_time_is_weighed_once():
    x = inputs(1, 2, *SHAPE).abs().expand(3, -1, -1, -1, -1)
    assert error(HZO(smooth=True), small("spikingformer"), x, SMOOTH) < 1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
def test_sequential_local_probes_find_it_too():
    assert error(SequentialLocal(smooth=True), small("spikformer"), inputs(3, 2, *SHAPE).abs(), SMOOTH) < 1e-9


def test_a_step_of_hzo_by_a_few_random_probes():
    model, batch = made("spikingformer"), (drawn(T, B, *SHAPE), torch.arange(B))
    before = [p.clone() for p in model.parameters()]
    rule = replace(rules.make("hzo"), credit=HZO(probes="random", q=1))
    info = rules.Trainer(model, rule, seed=0, confirm=False, health=None).step(batch)
    assert info.cost.forwards > 1
    moved = {name for (name, p), old in zip(model.named_parameters(), before, strict=True) if not torch.equal(p, old)}
    weights = {f"{name}.weight" for name in synapses(model)}
    assert len(moved & weights) > 0.9 * len(weights)


@pytest.mark.parametrize("name", WHOLE)
def test_layered_rules_refuse_parts_that_see_the_whole_sequence(name):
    with pytest.raises(rules.MissingNeed, match="carry: .*sees the whole sequence at once"):
        rules.Trainer(made(name), "hzo", seed=0, health=None).step((drawn(T, B, *SHAPE), torch.arange(B)))


class Opaque(nn.Module):
    """A model of which nothing is known but its output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).output


def test_differences_of_single_weights_are_those_of_whole_passes():
    """The read-out has one unit for each weight; 1e-9: rounding of losses, divided by twice the step of 0.1."""
    model, x, y = made("spikingformer").double(), drawn(2, B, *SHAPE).double(), torch.arange(B)
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("parts.15."))
    rule, loss = CoordinateWise(step=0.1), rules.OBJECTIVES["ce_mean"]()
    quick, whole = (
        rule.assign(each, loss, Batch(x, y), rule.init(each, torch.Generator()), torch.Generator())
        for each in (model, Opaque(model))
    )
    assert quick.cost.layer_evaluations_done < whole.cost.layer_evaluations_done
    for name, gradient in quick.grads.items():
        torch.testing.assert_close(gradient, whole.grads[f"model.{name}"], atol=1e-9, rtol=1e-9)


def cells():
    return Population(LIF(tau_mem=2.0), 1.0)


class Scaled(nn.Module):
    """A read-out with a weight of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(drawn(6, 3))

    def forward(self, x):
        return x @ self.weight


class Attending(nn.Module):
    """A read-out with attention of torch, which uses weights without calling them."""

    def __init__(self):
        super().__init__()
        self.among, self.out = nn.MultiheadAttention(6, 1), nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.among(x[None], x[None], x[None])[0][0])


X = 5 * drawn(4, 4, 6) - 2


def stack(*parts):
    """Two hidden layers of six neurons, and more parts."""
    return Stack(
        [Stateless(nn.Linear(6, 6)), Neurons(cells()), Stateless(nn.Linear(6, 6)), Neurons(cells()), *parts], (6,)
    )


@pytest.mark.parametrize(
    ("behind", "weight"),
    [
        ([Stateless(Scaled())], "parts.4.module.weight"),
        ([Stateless(Attending())], "parts.4.module.out.weight"),
        ([Stateless(nn.Linear(6, 3)), Stateless(nn.Softmax(1))], "parts.4.module.weight"),
    ],
)
def test_the_last_trace_is_that_of_the_read_out_whatever_it_is(behind, weight):
    """Its input are the features, and never those of a hidden layer."""
    model = stack(*behind)
    run = run_model(model, Batch(X), record=True)
    assert [trace.weight for trace in run.traces] == ["parts.0.module.weight", "parts.2.module.weight", weight]
    signal = X
    for part in model.layers[:4]:
        signal = part(signal)
    if weight != "parts.4.module.out.weight":
        assert torch.equal(run.traces[-1].pre, signal)


@pytest.mark.parametrize("name", ["spikingformer", "sew_resnet", "snn_vit"])
def test_its_layers_in_a_sequential_tell_the_same(name):
    model, x = made(name), drawn(T, B, *SHAPE, seed=1)
    ours, theirs = (run_model(each, Batch(x), record=True).traces for each in (model, nn.Sequential(*model.layers)))
    assert [trace.weight.removeprefix("parts.") for trace in ours] == [trace.weight for trace in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))


class Tokens(nn.Module):
    """A dense layer of each of four tokens, which it moves into the batch, or in front of it."""

    def __init__(self, front=False):
        super().__init__()
        self.weigh, self.front = nn.Linear(2, 2), front

    def forward(self, x):
        if self.front:
            return self.weigh(x.unflatten(1, (4, 2)).transpose(0, 1)).transpose(0, 1).flatten(1)
        return self.weigh(x.reshape(-1, 2)).reshape(x.shape)


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("samples", [3, 4])
def test_weights_of_tokens_leave_no_trace(front, samples):
    """They see other rows than steps and samples, also where there are as many tokens as steps or samples."""
    model = Stack([Stateless(Tokens(front)), Neurons(cells()), Stateless(nn.Linear(8, 3))], (8,))
    run = model(drawn(4, samples, 8), record=True)
    assert [trace.weight for trace in run.traces] == ["parts.2.module.weight"]
    assert torch.equal(run.output, model(drawn(4, samples, 8)).output)


@pytest.mark.parametrize("steps", [3, 4])
def test_layered_rules_refuse_tokens_in_the_batch(steps):
    """Also where there are as many tokens as steps of an input that is constant in time."""
    model = Stack([Stateless(Tokens()), Neurons(cells()), Stateless(nn.Linear(8, 3))], (8,)).double()
    x = drawn(1, 2, 8).double().expand(steps, 2, 8)
    with pytest.raises(ValueError, match="it must be used on"):
        rules.Trainer(model, "hzo", seed=0, health=None).step((x, torch.arange(2)))


def test_a_weight_of_the_shortcut_drives_the_neurons_behind_a_branch_that_fires():
    block = Joined([Stateless(nn.Linear(6, 6)), Neurons(cells())], [Stateless(nn.Linear(6, 6))], add)
    model = Stack([Stateless(nn.Linear(6, 6)), block, Neurons(cells()), Stateless(nn.Linear(6, 3))], (6,))
    with watched(model) as (_, fired):
        posts = {trace.weight: trace.post for trace in model(X, record=True).traces}
    assert posts["parts.1.branch.0.module.weight"] is fired["parts.1.branch.1.cells"]
    assert posts["parts.1.shortcut.0.module.weight"] is fired["parts.2.cells"]


def test_names_are_those_of_parameters_however_modules_are_shared_or_parametrised():
    tied = nn.Linear(6, 6)
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6))
    pruned = prune.identity(nn.Linear(6, 3), "weight")
    parts = [Stateless(tied), Neurons(cells()), Stateless(tied), Neurons(cells()), Layer(normed, cells())]
    model = Stack([*parts, Stateless(pruned)], (6,))
    names = [trace.weight for trace in model(X, record=True).traces]
    assert set(names) <= dict(model.named_parameters()).keys()
    assert names[:2] == ["parts.0.module.weight"] * 2


class ByKeyword(nn.Linear):
    def forward(self, input):
        return super().forward(input=input)


class Calling(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = ByKeyword(6, 6)

    def forward(self, x):
        return self.inner(input=x)


def test_synapses_may_be_called_by_keyword():
    model = Stack([Stateless(Calling()), Neurons(cells()), Stateless(nn.Linear(6, 3))], (6,))
    assert model(X, record=True).traces[0].weight == "parts.0.module.inner.weight"
    rules.Trainer(model, "hzo", seed=0, health=None).step((X, torch.arange(4) % 3))


def test_differences_of_a_module_that_is_used_twice_leave_it_as_it_was():
    """Both uses move with its weight; as by whole passes of a copy whose uses are two modules of one parameter."""
    tied, other = nn.Linear(6, 6), nn.Linear(6, 6)
    twice = nn.Sequential(tied, nn.Tanh(), tied, nn.Tanh(), nn.Linear(6, 3)).double()
    other.weight, other.bias = tied.weight, tied.bias
    apart = nn.Sequential(tied, nn.Tanh(), other, nn.Tanh(), twice[4])
    rule, loss, batch = (
        CoordinateWise(step=0.1),
        rules.OBJECTIVES["ce_mean"](),
        Batch(X[0].double(), torch.arange(4) % 3),
    )
    one, two = (
        rule.assign(each, loss, batch, rule.init(each, torch.Generator()), torch.Generator()).grads
        for each in (twice, apart)
    )
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, two[name], atol=1e-9, rtol=1e-9)  # rounding over twice the step
    assert twice(X[0].double()).isfinite().all()
    rules.Trainer(twice, "coordinate_wise", seed=0, health=None).step((X.double(), torch.arange(4) % 3))
    assert twice(X[0].double()).isfinite().all()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: Stack([nn.Linear(6, 6)], (6,)), TypeError, "part 0 is a Linear, which has no run.*wrap a module"),
        (lambda: stack(nn.Sequential()), TypeError, "part 4 is a Sequential.*unpack an nn.Sequential"),
        (lambda: stack(Stateless(nn.Linear(6, 3)))({"x": X}), TypeError, "input is a dict; this network takes one"),
        (lambda: stack(Stateless(nn.Linear(6, 3)))(X.long()), TypeError, "input has dtype torch.int64"),
        (lambda: stack(Stateless(nn.Linear(6, 3)))(X, (None,)), ValueError, "the carry is not one of this model"),
        (
            lambda: stack(Stateless(nn.Linear(6, 3)))(X, lengths=torch.full((4,), 2)),
            ValueError,
            "lengths were given, and this model has no part that leaves out steps",
        ),
        (
            lambda: rules.Trainer(
                make_model("spikingformer", neuron={"name": "psn", "options": {"steps": 4}}), "sltt", seed=0
            ),
            rules.MissingNeed,
            "is made of PSN, which sees the whole sequence at once; use a causal neuron, such as sliding_psn",
        ),
    ],
)
def test_parts_and_inputs_that_do_not_fit(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
