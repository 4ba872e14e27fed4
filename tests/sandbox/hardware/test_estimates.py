"""Energy of training by hand: golden numbers, laws of scaling, the order of rules, and sums that add up."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.hardware import ANCHOR, HARDWARE, OPTIMIZERS, Layer, Workload, estimate, plan_of
from sandbox.hardware.report import ENGINES, KINDS

EXAMPLE = Layer("hidden", 700, 128, steps=100)
SYNAPSES = {name: replace(each, engines=replace(each.engines, soma_forward=0.0, soma_backward=0.0))
            for name, each in HARDWARE.items()}  # fmt: skip
NO_TIME = replace(plan_of("sampled"), sampled=10**9, state="steps")  # all steps, but no path in time
NAMES = list(HARDWARE)


def alone(layer, classes=20):
    return Workload((layer,), classes)


def compute(layer, plan=NO_TIME, hardware="neuromc", **options):
    found = estimate(alone(layer), plan, hardware, **options)
    return [found.sum(engine, "compute") for engine in ENGINES[:3]]


def test_the_engines_of_neuromc():
    """0.548 + 0.548 / 16 and 0.548 + 0.812 pJ; cells 1.56 and 4.38, to the digits that the specification has."""
    engines = HARDWARE["neuromc"].engines
    assert (engines.ac, engines.mac) == (0.548 + 0.548 / 16, 0.548 + 0.812)
    assert (round(engines.ac, 3), round(engines.mac, 3)) == (0.582, 1.360)
    assert (round(engines.soma_forward, 2), round(engines.soma_backward, 2)) == (1.56, 4.38)


def test_the_worked_example():
    """700 to 128, T = 100, batch 1, synapses alone: 5.22, 12.19 and 5.22 uJ dense. 0.5 % is the rounding to 0.582."""
    dense = compute(EXAMPLE, hardware=SYNAPSES["neuromc"])
    assert [part * 1e-6 for part in dense] == pytest.approx([5.22, 12.19, 5.22], rel=5e-3)
    sparse = replace(EXAMPLE, spikes=0.05, errors=0.2)
    skipping = compute(sparse, hardware=SYNAPSES["neuromc_sparse"])
    assert [part * 1e-6 for part in skipping] == pytest.approx([0.26, 2.44, 0.05], abs=5e-3)  # of two digits
    assert compute(sparse, hardware=SYNAPSES["neuromc"]) == dense


def test_the_anchor_of_the_abstract():
    """1.05 TFLOPS/W at two FLOP a multiply-accumulate are 1.90 pJ, everything included."""
    assert pytest.approx(1.90, abs=5e-3) == ANCHOR


def test_sata_by_the_formulas_of_its_code():
    """(1 - rho) C R2 K E2 T for each engine, each layer added, dense layers with their zeros: the two mends."""
    convolution = Layer(
        "conv", 3, 8, 4, places=(6, 5), kernel=(3, 3), spikes=0.1, errors=0.3, graded=False, passes=False
    )
    dense, out = Layer("dense", 240, 20, 4, spikes=0.2, errors=0.3), Layer("out", 20, 5, 4, spikes=0.1, errors=0.4)
    found = estimate(Workload((convolution, dense, out)), NO_TIME, "sata")
    pairs = {"conv": 3 * 9 * 8 * 30 * 4, "dense": 240 * 20 * 4, "out": 20 * 5 * 4}
    cells = {"conv": 8 * 30 * 4, "dense": 20 * 4, "out": 5 * 4}
    spikes, errors = {"conv": 0.1, "dense": 0.2, "out": 0.1}, {"conv": 0.0, "dense": 0.3, "out": 0.4}
    lif = 0.00967 + 0.00309 + 2 * 0.00172 + 3 * 0.0301 + 0.00605
    gradient = 0.239 + 2 * 0.00967 + 0.00172 + 2 * 0.00605
    for name in pairs:
        accumulated = spikes[name] * pairs[name] * (0.000794 + 0.0389)
        assert found.sum("forward", "compute", name) == pytest.approx(accumulated + cells[name] * lif)
        wanted = errors[name] * pairs[name] * (0.239 + 0.0389) + cells[name] * gradient
        assert found.sum("backward", "compute", name) == pytest.approx(wanted)
        assert found.sum("weight", "compute", name) == pytest.approx(accumulated)
    assert found.sum("forward", "compute") == pytest.approx(
        sum(spikes[n] * pairs[n] * 0.039694 + cells[n] * lif for n in pairs)
    )


def test_prices_of_sata_are_as_one_to_seven_to_two_hundred():
    memory = HARDWARE["sata"].memory
    mac = HARDWARE["sata"].engines.mac
    assert [memory.weight.read / mac, memory.dram.read / mac] == pytest.approx([7, 200], rel=3e-3)


SIZES = st.builds(
    Layer,
    st.just("layer"),
    st.integers(1, 50),
    st.integers(1, 50),
    steps=st.integers(1, 20),
    batch=st.integers(1, 4),
    places=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    spikes=st.floats(0.01, 0.5),
    errors=st.floats(0.01, 0.5),
    weights=st.floats(0.01, 0.5),
)


@settings(max_examples=40, deadline=None)
@given(layer=SIZES, name=st.sampled_from(NAMES), factor=st.sampled_from(["steps", "batch"]))
def test_operations_are_linear_in_steps_and_samples(layer, name, factor):
    twice = replace(layer, **{factor: 2 * getattr(layer, factor)})
    wanted = [2 * part for part in compute(layer, hardware=name)]
    assert compute(twice, hardware=name) == pytest.approx(wanted, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(layer=SIZES, name=st.sampled_from(NAMES))
def test_operations_of_synapses_are_linear_in_the_density_of_weights(layer, name):
    twice = replace(layer, weights=2 * layer.weights)
    wanted = [2 * part for part in compute(layer, hardware=SYNAPSES[name])]
    assert compute(twice, hardware=SYNAPSES[name]) == pytest.approx(wanted, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(layer=SIZES)
def test_skipped_zeros_count_once_in_each_engine(layer):
    """Forward and weight gradients are linear in r_s, backward and weight gradients in r_g."""
    bare = SYNAPSES["neuromc_sparse"]
    ahead, back, weight = compute(layer, hardware=bare)
    spikes = compute(replace(layer, spikes=2 * layer.spikes), hardware=bare)
    errors = compute(replace(layer, errors=2 * layer.errors), hardware=bare)
    assert spikes == pytest.approx([2 * ahead, back, 2 * weight], rel=1e-12)
    assert errors == pytest.approx([ahead, 2 * back, 2 * weight], rel=1e-12)


@pytest.mark.parametrize("name", ["neuromc_sparse", "sata"])
def test_without_spikes_cells_still_cost(name):
    silent = replace(EXAMPLE, spikes=0.0)
    ahead, _, weight = compute(silent, hardware=name)
    assert ahead == pytest.approx(100 * 128 * HARDWARE[name].engines.soma_forward)
    assert ahead > 0 == weight == compute(silent, hardware=SYNAPSES[name])[0]


def test_dense_hardware_does_not_see_zeros():
    assert compute(replace(EXAMPLE, spikes=0.0, errors=0.0, fires=0.0)) == compute(EXAMPLE)


TWO = Workload((Layer("hidden", 700, 256, 100, passes=False), Layer("out", 256, 20, 100)))


@pytest.mark.parametrize(("kind", "sampled"), [("compute", 50), ("compute", 99), (None, 80), (None, 99)])
def test_rules_are_ordered_by_what_they_leave_out(kind, sampled):
    """With memory only for most steps: a local rule adds to weight gradients in SRAM at every one of them."""
    some = replace(plan_of("sampled"), sampled=sampled)
    plans = ["forward", "three_factor_local", some, "bptt"]
    spent = [estimate(EVERY, plan, "neuromc_sparse", dram=False).sum(kind=kind) for plan in plans]
    assert spent == sorted(spent)
    assert len(set(spent)) == 4


# Errors reach most cells, and one input in ten is a spike; errors go down through every layer.
EVERY = Workload(tuple(Layer(str(n), 256, 256, 100, spikes=0.1, errors=0.5) for n in range(3)), classes=20)


def test_the_order_of_local_rules_turns_where_few_steps_are_sampled():
    """Not for every k: with weight gradients at every step a local rule takes more than errors at one step."""
    one = estimate(EVERY, "sampled", "neuromc").sum(kind="compute")
    assert estimate(EVERY, "three_factor_local", "neuromc").sum(kind="compute") > one


def test_online_rules_compute_more_and_keep_less():
    """Traces of presynaptic cells make it more than errors of single steps; the state is O(N) and not O(T N)."""
    every = replace(plan_of("sltt"))
    for name in NAMES:
        online = estimate(EVERY, "ottt", name)
        assert online.sum(kind="compute") > estimate(EVERY, every, name).sum(kind="compute")
    longer = Workload(tuple(replace(layer, steps=1000) for layer in EVERY.layers), classes=20)
    assert estimate(longer, "ottt").state_bytes == estimate(EVERY, "ottt").state_bytes
    assert estimate(longer, "bptt").state_bytes == 10 * estimate(EVERY, "bptt").state_bytes
    assert estimate(EVERY, "ottt").state_bytes < estimate(EVERY, "bptt").state_bytes


@pytest.mark.parametrize("optimizer", [None, "sgd"])
@pytest.mark.parametrize("rule", ["bptt", "eprop", "spsa", "dfa", "readout_only"])
@pytest.mark.parametrize("name", NAMES)
def test_totals_are_sums(name, rule, optimizer):
    found = estimate(TWO, rule, name, optimizer=optimizer)
    layers = [layer.name for layer in TWO.layers]
    parts = [found.sum(*each) for each in itertools.product(ENGINES, KINDS, layers)]
    assert found.total == pytest.approx(sum(parts), rel=1e-12)
    assert len({each[:3] for each in found.entries}) == len(found.entries)
    assert found.facts()["total"] == found.total > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_engines_that_a_rule_uses_spend(engine):
    spent = {rule: estimate(TWO, rule, "neuromc").sum(engine) for rule in ("forward", "bptt", "stdp", "readout_only")}
    assert (spent["forward"] > 0) == (engine == "forward")
    assert (spent["bptt"] > 0) == (engine != "optimizer")
    assert (spent["stdp"] > 0) == (engine in ("forward", "weight"))
    out = estimate(TWO, "readout_only", "neuromc")
    assert out.sum("weight", layer="hidden") == 0 < out.sum("weight", layer="out")


def test_a_dense_update_lies_near_the_anchor(record_property):
    """Memory included, between 1 and 10 pJ for each product of three engines; the abstract has 1.90."""
    found = {}
    for name in ("neuromc", "neuromc_sparse"):
        found[name] = estimate(alone(EXAMPLE), "bptt", name).per_mac
        record_property(f"pJ per multiply-accumulate, {name}", found[name])
        assert 1 <= found[name] <= 10
    assert found["neuromc"] == pytest.approx(ANCHOR, rel=0.1)


def test_an_unusual_total_is_flagged():
    """One step of one cell with one input: cells take far more than the single product."""
    odd, usual = (estimate(alone(layer, 1)) for layer in (Layer("one", 1, 1, 1), EXAMPLE))
    assert (odd.unusual, usual.unusual) == (True, False)
    assert "which is unusual: 1 to 10 are expected" in str(odd)
    assert "unusual" not in str(usual)
    assert odd.facts()["unusual"]


def test_narrow_weights_take_less_forward_alone():
    """b/16 of an addition, and of the accesses to weights; weight gradients stay at 16 bits."""
    narrow = replace(EXAMPLE, bits=4)
    ahead, back, weight = compute(EXAMPLE, hardware=SYNAPSES["neuromc_sparse"])
    assert compute(narrow, hardware=SYNAPSES["neuromc_sparse"]) == pytest.approx([ahead / 4, back, weight])
    memory = [
        estimate(alone(layer), "forward", "neuromc_sparse").sum("forward", "memory") for layer in (EXAMPLE, narrow)
    ]
    saved = HARDWARE["neuromc_sparse"].memory.weight.reading(700 * 128 * 12)
    assert memory[0] - memory[1] == pytest.approx(saved)


@pytest.mark.parametrize("reach", [100, 8])
def test_parallel_neurons_weigh_the_steps_that_they_see(reach):
    """T T or T k multiply-accumulates of each neuron, forward and back."""
    bare = HARDWARE["neuromc"]
    cells = replace(EXAMPLE, spikes=0.0, errors=0.0, reach=reach)
    ahead, back, _ = compute(cells, hardware=replace(bare, skips=HARDWARE["neuromc_sparse"].skips))
    assert ahead == back == pytest.approx(128 * 100 * reach * bare.engines.mac)


def test_a_tensor_is_in_sram_if_it_fits():
    """Weights of 700 x 128 x 16 bits are 179,200 bytes: a buffer of a byte less sends them to DRAM, and no other."""
    small = replace(EXAMPLE, steps=1)
    fits = estimate(alone(small), "forward", "neuromc_sparse", buffer=179_200)
    lacks = estimate(alone(small), "forward", "neuromc_sparse", buffer=179_199)
    memory = HARDWARE["neuromc_sparse"].memory
    more = memory.dram.reading(179_200 * 8) - memory.weight.reading(179_200 * 8)
    assert lacks.total - fits.total == pytest.approx(more)
    assert [sum(each.dram for each in found.entries) for found in (fits, lacks)] == [
        0.0,
        pytest.approx(179_200 * 8 / 64 * 1300),
    ]
    without = estimate(alone(small), "forward", "neuromc_sparse", buffer=179_199, dram=False)
    assert lacks.total - without.total == pytest.approx(memory.dram.reading(179_200 * 8))


def test_dram_is_left_out_of_dense_totals_unless_asked():
    plain, asked = (estimate(alone(EXAMPLE), "bptt", "neuromc", buffer=1, dram=dram) for dram in (None, True))
    assert (plain.dram, asked.dram) == (False, True)
    assert plain.total == estimate(alone(EXAMPLE), "bptt", "neuromc").total < asked.total


@settings(max_examples=40, deadline=None)
@given(layer=SIZES, buffers=st.tuples(st.integers(0, 10**5), st.integers(0, 10**5)), name=st.sampled_from(NAMES[:3]))
def test_a_larger_buffer_never_costs_more(layer, buffers, name):
    spent = [estimate(alone(layer), "bptt", name, buffer=buffer, dram=True).total for buffer in sorted(buffers)]
    assert spent[0] >= spent[1] * (1 - 1e-12)


def test_optimizers_by_their_operations():
    """Weights of 700 x 128: an addition and a multiplication each, or with Adam 4, 11 and a square root."""
    weights = 700 * 128
    wanted = {"sgd": 0.548 + 0.812, "momentum": 2 * (0.548 + 0.812), "adam": 4 * 0.548 + 11 * 0.812 + 0.514}
    for name in OPTIMIZERS:
        found = estimate(alone(EXAMPLE), "bptt", "neuromc", optimizer=name)
        assert found.sum("optimizer", "compute") == pytest.approx(weights * wanted[name])
    line = (2 * 458.1830181 + 375.0422185) * 32 / 256
    sgd = estimate(alone(EXAMPLE), "bptt", "neuromc", optimizer="sgd", updates=3)
    assert sgd.sum("optimizer", "memory") == pytest.approx(3 * weights * line)


def test_batch_normalisation_by_its_operations():
    normed, plain = (compute(replace(EXAMPLE, normed=normed)) for normed in (True, False))
    numbers, channels = 128 * 100, 128 * 100
    ahead = numbers * 3 * (0.548 + 0.812) + channels * (2 * 0.548 + 4 * 0.812 + 0.514)
    back = numbers * (7 * 0.548 + 3 * 0.812) + channels * 22 * 0.812
    assert [a - b for a, b in zip(normed, plain, strict=True)] == pytest.approx([ahead, back, 0.0], abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_report_says_what_it_depends_on(name):
    found = estimate(alone(replace(EXAMPLE, spikes=0.05, errors=0.2)), "eprop", name, optimizer="sgd")
    text, facts = str(found), found.facts()
    for line in ("estimator: ", "constants: ", "covers: ", "included: backward yes, ", "kept for learning: "):
        assert f"\n{line}" in text
    assert "rates: r_s = 0.05, r_g = 0.2 (shares as given)" in text
    assert "estimated, not measured" in text
    assert facts["includes"]["optimizer"] == "sgd"
    assert facts["rates"]["r_s"] == 0.05
    assert facts["layers"]["hidden"] == {"r_s": 0.05, "r_g": 0.2, "d_w": 1.0, "bits": 16, "macs": 8_960_000}
    assert facts["unit"] == found.hardware.unit


@pytest.mark.parametrize("name", NAMES)
def test_constants_say_where_they_come_from(name):
    each = HARDWARE[name]
    assert each.name == name
    assert all(getattr(each, field.name) != "" for field in fields(each))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: estimate(TWO, "bptt", "neurmoc"), "unknown hardware 'neurmoc'; nearest: 'neuromc'; valid: neuromc, "),
        (lambda: estimate(TWO, "bptt", optimizer="adan"), "unknown optimizer 'adan'; nearest: 'adam'; valid: sgd, "),
        (lambda: estimate(TWO, "bptt", "sata", optimizer="adam"), "sata has no price of a square root, which Adam"),
        (lambda: estimate(TWO, "bpt"), "unknown rule or family 'bpt'; nearest: 'bptt'; valid: bptt, "),
        (lambda: estimate(TWO, "hzo"), "no estimate for 'hzo': how often a layer runs again depends on its place"),
        (lambda: Workload(()), "a workload needs a layer"),
        (lambda: replace(EXAMPLE, spikes=1.5), "layer 'hidden': spikes=1.5: give a share between 0 and 1"),
        (lambda: replace(EXAMPLE, steps=0), "layer 'hidden': steps=0: give whole numbers, at least 1"),
        (lambda: replace(EXAMPLE, kernel=(3, 0)), r"layer 'hidden': kernel=\(3, 0\): give whole numbers, at least 1"),
        (lambda: replace(EXAMPLE, reach=0), "layer 'hidden': reach=0: give whole numbers, at least 1"),
    ],
)
def test_refusals(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


def test_gradients_move_where_a_sample_adds_to_them():
    """Ten samples, an input in ten, an error in two: 1 - 0.95^10 of the gradients at each step, read and written."""
    some = replace(EXAMPLE, batch=10, spikes=0.1, errors=0.5)
    near = HARDWARE["neuromc_sparse"]
    every = replace(near, skips=near.skips._replace(gradients=False))
    less = [estimate(alone(some), NO_TIME, each).sum("weight", "memory") for each in (every, near)]
    all_of_them = 100 * 700 * 128 * 2 * near.memory.weight.reading(16)
    assert less[0] - less[1] == pytest.approx(all_of_them * 0.95**10)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"engine": "forwards"}, "unknown engine 'forwards'; nearest: 'forward'"),
        ({"kind": "computing"}, "unknown kind 'computing'; nearest: 'compute'"),
        ({"layer": "hiden"}, "unknown layer 'hiden'; nearest: 'hidden'"),
    ],
)
def test_a_sum_of_nothing_is_refused(names, message):
    found = estimate(Workload((Layer("hidden", 4, 4, 2),)))
    assert found.sum("optimizer") == 0.0
    with pytest.raises(ValueError, match=message):
        found.sum(**names)
