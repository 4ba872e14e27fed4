"""Deep models as layers: parts one after the other, what a recorded run tells of each, and rules that use it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

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
from sandbox.networks.models import ms_resnet, sew_resnet
from sandbox.networks.models.qkformer import Size as Stages
from sandbox.networks.models.qkformer import qkformer
from sandbox.networks.models.snn_vit import snn_vit
from sandbox.networks.models.spikformer import TWO, Size, spikformer
from sandbox.networks.models.spikingformer import spikingformer
from sandbox.networks.multiscale import MultiscaleAttention
from sandbox.networks.network import Layer, Population
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
