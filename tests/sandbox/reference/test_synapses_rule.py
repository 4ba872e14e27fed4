"""The credit of compiled synapses: of which weights and spikes, in a trainer, in a loop with its cells, and in files."""

from __future__ import annotations

import pickle

import brian2 as b2
import pytest
import torch
from torch import nn

import rules
import sandbox
from rules.check import check_rule
from rules.contract import Batch
from rules.credit.spike_timing import STDP, Window
from rules.objectives.distillation import SelfEnsemble
from rules.plasticity import SGD
from sandbox import build
from sandbox.config.registry import Choice
from sandbox.neurons import LIF, LeakyIntegrator
from sandbox.reference import CompiledSynapses, from_brian2_synapses
from sandbox.reference.brian import plain_numpy
from sandbox.reference.synapses.in_brian2 import synapses_in_brian2
from tests.rules.credit.spike_timing.nets import SAMPLES, STEPS, credit, net, spikes
from tests.sandbox.reference.synaptic_models import EXAMPLES, LITERATURE, PAIR, PAIR_TIMES

EXACT = 1e-12  # float64 sums of some thousand products of order one
CLOSE = 1e-9  # of Brian2, whose decays over a pause are not products of decays over a step
CLIPPED = {
    "model": PAIR,
    "on_pre": "v_post += w; Apre += 1; w = clip(w - 0.04 * w * Apost, 0, 20)",
    "on_post": "Apost += 1; w = clip(w + 0.02 * Apre, 0, 20)",
    "namespace": PAIR_TIMES,
}
ADDITIVE = {
    "model": PAIR,
    "on_pre": "v_post += w; Apre += 1; w -= 0.5 * Apost",
    "on_post": "Apost += 1; w += 0.8 * Apre",
    "namespace": PAIR_TIMES,
}
FIRST, BACK = "layers.0.synapse.weight", "layers.0.cells.recurrent.weight"


def compiled(settings=CLIPPED):
    return from_brian2_synapses(**settings)


def learning(rule, **changes):
    return rules.LearningRule(rules.OBJECTIVES["tet"](), rule, SGD(1.0), **changes)


def test_the_gradient_is_minus_the_mean_change_in_brian2():
    """Each sample from the same weights; recurrent spikes come a step later. Biases and read-out stay as they are."""
    rule, model, given = compiled(), net(), spikes()
    found = credit(rule, model, given)
    with torch.no_grad():
        run = model(given.x, record=True)
    assert set(found.grads) == {FIRST, BACK, "layers.1.synapse.weight"}
    assert found.loss == 0.0
    for trace in run.traces:
        if trace.weight not in found.grads:
            continue
        start = model.get_parameter(trace.weight).detach()
        assert 0.02 < float(trace.post.detach().mean()) < 0.9
        changes = [
            synapses_in_brian2(rule, start, trace.pre[:, b], trace.post[:, b].detach(), 1.0, ["w"])["w"][-1] - start
            for b in range(SAMPLES)
        ]
        wanted = -sum(changes) / SAMPLES
        assert float(wanted.abs().max()) > 0.1
        assert float((found.grads[trace.weight] - wanted).abs().max()) < CLOSE


def test_additive_pairs_are_the_built_in_rule():
    window = Window(a_plus=0.8, a_minus=0.5, tau_plus=17.0, tau_minus=34.0, read="before")
    settings = {**ADDITIVE, "on_pre": {"w": "w -= 0.5 * Apost", "x": "Apre += 1"}}
    settings |= {"on_post": {"w2": "w += 0.8 * Apre", "y": "Apost += 1"}, "order": {"w": 0, "w2": 0, "x": 1, "y": 1}}
    for shape, hidden in (((4,), ("5r", 4)), ((1, 5, 5), ("3c3", 5))):  # weights shared in space too
        model, given = net(hidden, shape=shape), spikes(shape=shape)
        mine, other = credit(compiled(settings), model, given), credit(STDP(window), model, given)
        assert set(mine.grads) == set(other.grads)
        for name, g in other.grads.items():
            assert float((mine.grads[name] - g).abs().max()) < EXACT * float(g.abs().max())


@pytest.mark.filterwarnings("ignore::rules.diagnostics.health.HealthWarning")  # of the first steps, without a spike
def test_the_loop_with_its_cells_is_that_of_brian2():
    """With every=1 a change acts on the cells from the next step on, as in Brian2; without, only on those of a batch."""
    rule, neuron, steps = compiled(), LIF(tau_mem=5.0), 400
    model, given = net((5,)), spikes(steps, samples=1)
    start = model.get_parameter(FIRST).detach().clone()
    rules.Trainer(model, learning(rule, every=1)).step(given)
    learned = model.get_parameter(FIRST).detach()
    still = net((5,))
    rules.Trainer(still, learning(rule)).step(given)
    bias = model.get_parameter("layers.0.synapse.bias").detach()
    theirs = in_a_loop(rule, neuron, start, bias, given.x[:, 0])
    assert float((theirs - start).abs().max()) > 1
    assert float((learned - theirs).abs().max()) < CLOSE
    assert float((still.get_parameter(FIRST).detach() - theirs).abs().max()) > 0.01


def in_a_loop(rule, neuron, start, bias, x):
    """Weights `[C, K]` after Brian2 has run cells and synapses together on inputs `[T, K]`."""
    steps, inputs = x.shape
    with plain_numpy():
        clock = b2.Clock(1 * b2.ms)
        at, which = x.nonzero(as_tuple=True)
        source = b2.SpikeGeneratorGroup(inputs, which.numpy(), at.numpy() * b2.ms, clock=clock)
        units = {name: getattr(b2, unit) for name, unit in neuron.units.items()}
        target = b2.NeuronGroup(
            len(start),
            f"{neuron.equations}\nsynaptic : amp\nrest : amp\ncurrent = synaptic + rest : amp",
            threshold=neuron.threshold,
            reset=neuron.reset_code,
            method=neuron.method,
            clock=clock,
            namespace={name: getattr(neuron, name) * unit for name, unit in units.items() if hasattr(neuron, name)},
        )
        target.rest = bias.numpy() * b2.nA
        target.v = neuron.v_leak * b2.mV
        shown = b2.TimedArray(x.numpy(), dt=1 * b2.ms)
        texts = {side: {} for side in ("pre", "post")}
        for pathway in rule.prepared.text.pathways:
            texts[pathway.side][pathway.name] = "\n".join(each.text for each in pathway.statements)
        synapses = b2.Synapses(
            source,
            target,
            f"{rule.model}\nsynaptic_post = w * shown(t, i) * nA : amp (summed)",
            on_pre=texts["pre"],
            on_post=texts["post"],
            namespace={**PAIR_TIMES, "shown": shown},
            clock=clock,
        )
        synapses.connect()
        synapses.w = start.T.flatten().numpy()
        b2.Network(source, target, synapses).run(steps * b2.ms, namespace={})
        return torch.from_numpy(synapses.w[:].copy()).reshape(inputs, len(start)).T


@pytest.mark.parametrize("settings", [ADDITIVE, CLIPPED])
def test_windows_add_up_where_the_change_does_not_depend_on_the_weight(settings):
    rule, model, given = compiled(settings), net(), spikes()
    assert rule.additive == (settings is ADDITIVE)
    assert rule.continues == ("traces" if rule.additive else "state")
    whole, carry, total = credit(rule, model, given).grads, None, {}
    for x in given.x.split(17):
        part = credit(rule, model, Batch(x, carry=carry))
        carry = part.carry
        total = {name: total.get(name, 0) + g for name, g in part.grads.items()}
    apart = max(float((total[name] - g).abs().max()) for name, g in whole.items())
    assert (apart < EXACT * 100) == rule.additive  # changes of up to a hundred


def test_what_reads_the_weight_is_not_additive():
    for on_post in ("w = 1", "w *= 2", "w += w", "a = w; w += a", "w += 1; Apre = w"):
        assert not compiled({**ADDITIVE, "on_post": on_post}).additive
    assert not compiled(LITERATURE["Graupner & Brunel 2012, calcium"]).additive


def test_what_lies_behind_the_end_of_a_sample_changes_nothing():
    """Clock-driven equations stop there too."""
    settings = {
        **CLIPPED,
        "model": "dw/dt = (0.3 - w) / (50*ms) : 1 (clock-driven)\n" + PAIR.partition("\n")[2],
    }
    ends = torch.tensor([STEPS, 31, 8])
    given = spikes()._replace(lengths=ends)
    short = [credit(compiled(settings), net(), Batch(given.x[:end, n : n + 1])).grads for n, end in enumerate(ends)]
    other = given._replace(x=given.x.clone())
    for number, end in enumerate(ends):
        other.x[end:, number] = 1 - other.x[end:, number]
    one, two = (credit(compiled(settings), net(), each).grads for each in (given, other))
    for name, g in one.items():
        assert torch.equal(g, two[name])
        assert float((g - sum(each[name] for each in short) / SAMPLES).abs().max()) < EXACT * 100


def test_check_rule_passes():
    for settings in (ADDITIVE, CLIPPED, LITERATURE["Graupner & Brunel 2012, calcium"]):
        report = check_rule(learning(compiled(settings)))
        assert report.passed, str(report)


def test_a_rule_is_plain_data():
    """It prints, compares and unpickles as its fields; a configuration file names the function with its options."""
    rule = compiled({**EXAMPLES["frompapers/Graupner_Brunel_2012"]})
    again = pickle.loads(pickle.dumps(rule))
    assert again == rule
    assert hash(again) == hash(rule)
    assert eval(repr(rule), {"CompiledSynapses": CompiledSynapses}) == rule
    options = {**CLIPPED, "namespace": {"taupre": "17*ms", "taupost": "34*ms"}}
    assert Choice("sandbox:from_brian2_synapses", options).make("credit") == compiled()


def test_single_precision_stays_single():
    model, given = net().float(), spikes()._replace(x=spikes().x.float())
    found = credit(compiled(LITERATURE["Graupner & Brunel 2012, calcium"]), model, given).grads
    assert {g.dtype for g in found.values()} == {torch.float32}


def test_silence_is_a_finding_where_pairs_are_needed():
    (found,) = credit(compiled(), net((5,), scale=0.0), spikes()).findings
    assert found.cause.startswith("CompiledSynapses sees no post-synaptic spikes in 60 steps, so that no pair changes")
    assert not credit(compiled({**ADDITIVE, "on_post": None}), net((5,), scale=0.0), spikes()).findings
    assert not credit(compiled(), net((5,), scale=0.0), spikes(8)).findings  # too short for a pair


def test_a_carry_of_something_else_is_refused():
    carry = credit(compiled(), net(), spikes()).carry
    with pytest.raises(ValueError, match=r"the carry has traces of CompiledSynapses\(.*begin anew with carry=None"):
        credit(compiled(ADDITIVE), net(), spikes()._replace(carry=carry))
    with pytest.raises(
        ValueError, match=r"the carry has variables of shapes .*, and this batch has synapses \(1, 5, 1, 4"
    ):
        credit(compiled(), net((5,)), spikes(samples=1)._replace(carry=carry._replace(model=None)))


def test_a_teacher_is_refused():
    with pytest.raises(ValueError, match="CompiledSynapses learns from spikes and never asks its objective, so that"):
        rules.LearningRule(SelfEnsemble(teacher=nn.Linear(2, 3)), compiled(), SGD(1.0))


def test_costs_are_those_of_dense_statements():
    """Of every statement in every step, whether there is a spike or not; a trace of inputs costs one an input."""
    model = build((4,), 3, (5,), LIF(), LeakyIntegrator()).double()
    rule = from_brian2_synapses("w : 1\nx : 1", "x += 1", "w += 2 * x")
    cost = credit(rule, model, spikes()).cost
    traces, products = SAMPLES * 4, SAMPLES * 4 * 5
    first = 2 * traces + 2 * 4 * 5  # no sample has weights of its own before the first step
    assert cost.weight_operations in range(STEPS * (traces + 2 * products) - first, STEPS * (traces + 2 * products) + 1)
    assert cost.trace_bytes == SAMPLES * 4 * 8
    assert (cost.forwards, cost.backwards, cost.error_operations) == (1, 0, 0)


def test_an_experiment_learns_by_synapses_of_its_configuration(tmp_path):
    options = {**CLIPPED, "namespace": {"taupre": "17*ms", "taupost": "34*ms"}}
    experiment = sandbox.Experiment(
        task=sandbox.Choice("yinyang", {"train": 100, "validation": 50, "test": 50}),
        encoder=sandbox.Choice("poisson", {"steps": 10}),
        network=sandbox.NetworkConfig(hidden=["20"]),
        rule=sandbox.RuleConfig("stdp", credit=sandbox.Choice("sandbox:from_brian2_synapses", options)),
        epochs=1,
    )
    sandbox.run(experiment, tmp_path / "a")
    assert "from_brian2_synapses" in (tmp_path / "a" / "config.yaml").read_text()
    sandbox.run(experiment, tmp_path / "b")
    learned = [sandbox.read_model(tmp_path / name).state_dict() for name in "ab"]
    assert all(torch.equal(learned[0][name], p) for name, p in learned[1].items())
