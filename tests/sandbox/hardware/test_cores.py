"""A chip of cores by closed forms and by loops that touch every number."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.hardware import ANCHOR, Chip, Layer, Workload, simulate_chip, speed_up
from sandbox.hardware.arrays import DATAFLOWS, Product, loops

FREE = Chip(cores=1, bandwidth=math.inf)
EVEN = Workload((Layer("a", 64, 128, steps=16, batch=2), Layer("b", 128, 32, steps=16, batch=2)))


def tiles(size, step):
    return [range(start, min(start + step, size)) for start in range(0, size, step)]


def weights_held(p, rows, columns):
    """Hold a tile of weights, let all places pass, and count every access."""
    reads, inputs, sums, outputs = 0, 0, 0, 0
    seen = set()
    for made, summed, _ in itertools.product(tiles(p.made, columns), tiles(p.summed, rows), range(p.kernel)):
        reads += len(made) * len(summed)
        for at in range(p.places):
            inputs += len(summed)
            for out in made:
                sums += (at, out) in seen
                seen.add((at, out))
                outputs += 1
    return reads, inputs, sums, outputs


def outputs_held(p, rows, columns):
    """Hold a tile of sums until it is complete, and count every access."""
    reads, inputs, outputs = 0, 0, 0
    for made, places in itertools.product(tiles(p.made, columns), tiles(p.places, rows)):
        for _ in range(p.summed * p.kernel):
            reads += len(made)
            inputs += len(places)
        outputs += len(made) * len(places)
    return reads, inputs, 0, outputs


@settings(max_examples=30, deadline=None)
@given(
    summed=st.integers(1, 7),
    made=st.integers(1, 7),
    kernel=st.sampled_from([1, 4, 9]),
    places=st.integers(1, 9),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
)
def test_accesses_by_loops_over_a_small_convolution(summed, made, kernel, places, rows, columns):
    product = Product(summed, made, kernel, places)
    for name, brute in {"weight_stationary": weights_held, "output_stationary": outputs_held}.items():
        assert DATAFLOWS[name].accesses(product, rows, columns) == brute(product, rows, columns)


@pytest.mark.parametrize("layer", EVEN.layers)
def test_what_an_array_holds_moves_once(layer):
    """Weight stationary: every weight is read once. Output stationary: every output is written once."""
    for product in loops(layer).values():
        weights = DATAFLOWS["weight_stationary"].accesses(product, 16, 16).weights
        assert weights == product.summed * product.made * product.kernel
        written = DATAFLOWS["output_stationary"].accesses(product, 16, 16)
        assert (written.outputs, written.sums_read) == (product.made * product.places, 0)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_one_core_takes_the_sum_of_work_over_throughput(dataflow):
    """Sizes are multiples of the array, and nothing waits for DRAM."""
    found = simulate_chip(EVEN, replace(FREE, dataflow=dataflow))
    assert found.cycles == 3 * EVEN.macs / (16 * 16)
    assert found.utilisation == 1.0
    assert found.anchored == pytest.approx(ANCHOR * 3 * EVEN.macs)


def test_cores_divide_the_work():
    assert [speed_up(EVEN, replace(FREE, cores=cores)) for cores in (1, 2)] == [1.0, 2.0]


def test_overlapping_engines_take_as_long_as_the_busiest():
    found = simulate_chip(EVEN, replace(FREE, overlapped=True))
    assert found.cycles * 3 == simulate_chip(EVEN, FREE).cycles
    assert found.utilisation == 1.0


def test_the_input_of_the_first_layer_gets_no_error():
    data = Workload((replace(EVEN.layers[0], passes=False), EVEN.layers[1]))
    saved = simulate_chip(EVEN, FREE).cycles - simulate_chip(data, FREE).cycles
    assert saved == EVEN.layers[0].macs / 256
    assert sorted({each.engine for each in simulate_chip(data).passes}) == ["backward", "forward", "weight"]


def test_zeros_that_are_skipped_take_no_time():
    sparse = Workload(tuple(replace(layer, spikes=0.25, errors=0.5) for layer in EVEN.layers))
    dense, skipping = (simulate_chip(sparse, replace(FREE, skips=skips)) for skips in (False, True))
    assert dense.cycles == simulate_chip(EVEN, FREE).cycles
    assert skipping.cycles == dense.cycles / 3 * (0.25 + 0.5 + 0.125)


def test_traffic_to_dram_by_hand():
    """One core, everything fits: forward weights, spikes and currents; back weights and errors; then the gradients."""
    layer = Layer("a", 64, 128, steps=16, batch=2)
    spikes, cells, back, weights = 32 * 64 / 8, 32 * 128 * 2, 32 * 64 * 2, 64 * 128 * 2
    found = {each.engine: each.dram_bytes for each in simulate_chip(Workload((layer,)), FREE).passes}
    assert found == {
        "forward": weights + spikes + cells,
        "backward": weights + cells + back,
        "weight": cells + spikes + weights,
    }
    small = replace(FREE, buffer=weights // 4)  # the weights are held in four parts, and inputs pass four times
    assert simulate_chip(Workload((layer,)), small).passes[0].dram_bytes == weights + 4 * spikes + cells
    uneven = replace(FREE, buffer=weights * 2 // 3)  # one part and a half are two
    assert simulate_chip(Workload((layer,)), uneven).passes[0].dram_bytes == weights + 2 * spikes + cells
    held = replace(small, dataflow="output_stationary", buffer=cells // 2)  # sums in two parts, and weights twice
    assert simulate_chip(Workload((layer,)), held).passes[0].dram_bytes == 2 * weights + spikes + cells


def test_time_is_that_of_dram_where_it_is_longer():
    slow = replace(FREE, bandwidth=1.0)
    found = simulate_chip(EVEN, slow)
    assert found.cycles == sum(max(each.busy, math.ceil(each.dram_bytes)) for each in found.passes)
    assert found.cycles > simulate_chip(EVEN, FREE).cycles


LAYERS = st.builds(
    Layer,
    st.just("layer"),
    st.integers(1, 90),
    st.integers(1, 90),
    steps=st.integers(1, 9),
    batch=st.integers(1, 3),
    places=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.sampled_from([(1, 1), (3, 3)]),
    spikes=st.floats(0, 1),
    errors=st.floats(0, 1),
    passes=st.booleans(),
)
CHIPS = st.builds(
    Chip,
    cores=st.integers(1, 40),
    rows=st.sampled_from([1, 4, 16]),
    columns=st.sampled_from([1, 4, 16]),
    buffer=st.sampled_from([1, 100, 10**4, 10**6]),
    bandwidth=st.sampled_from([0.1, 8.0, math.inf]),
    dataflow=st.sampled_from(list(DATAFLOWS)),
    skips=st.booleans(),
    overlapped=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(layers=st.lists(LAYERS, min_size=1, max_size=3), chip=CHIPS)
def test_cores_are_never_faster_than_their_number_nor_busier_than_always(layers, chip):
    """Each part of each pass divides into whole tiles and whole parts, of which N cores need at least one N-th.

    Work that is spread over a share of zeros is rounded to whole cycles, up.
    """
    work = Workload(tuple(layers))
    found = simulate_chip(work, chip)
    assert speed_up(work, chip) <= chip.cores
    assert 0 <= found.utilisation <= 1 + 1e-12
    assert all(each.cycles >= each.busy for each in found.passes)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"cores": 0}, "cores=0: give a whole number, at least 1"),
        ({"buffer": 0}, "buffer=0: give a whole number, at least 1"),
        ({"bandwidth": 0.0}, "bandwidth=0.0: give bytes in a cycle, above 0; math.inf for no limit"),
        (
            {"dataflow": "weights"},
            "unknown dataflow 'weights'; nearest: 'weight_stationary'; valid: weight_stationary, ",
        ),
    ],
)
def test_refusals(settings_, message):
    with pytest.raises(ValueError, match=message):
        Chip(**settings_)
