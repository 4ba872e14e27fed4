"""BCPNN: by a loop over steps, samples and pairs; independent and identical trains; windows; what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.contract import Batch
from rules.credit.spike_timing.bcpnn import BCPNN, Chances, Seen, evidence
from rules.models.admission import UnfitModel
from sandbox import build
from sandbox.neurons import LIF
from tests.rules.credit.spike_timing.nets import credit, net, spikes

EXACT = 1e-11  # float64 sums of some thousand products of order one, filtered twice


def looped(rule, entry, cell, counts, before, dt=1.0):
    """The probabilities after some steps, one step, sample and pair at a time; activity is 1 for certain."""
    steps, samples, inputs, cells = *entry.shape, cell.shape[2]
    z, e, p = ([1 - math.exp(-dt / tau) if tau else 1.0 for tau in (rule.tau_z, rule.tau_e)] + [None])[:3]
    p = rule.k * (1 - math.exp(-dt / rule.tau_p))
    low = rule.floor
    zi, zj = [[low] * inputs for _ in range(samples)], [[low] * cells for _ in range(samples)]
    ei, ej = [[low] * inputs for _ in range(samples)], [[low] * cells for _ in range(samples)]
    eij = [[[low * low] * inputs for _ in range(cells)] for _ in range(samples)]
    pi, pj, pij = before.entry.tolist(), before.cell.tolist(), before.both.tolist()
    for t in range(steps):
        for b in range(samples):
            for i in range(inputs):
                zi[b][i] += z * (low + (1 - low) * float(entry[t, b, i]) - zi[b][i])
                ei[b][i] += e * (zi[b][i] - ei[b][i])
            for j in range(cells):
                zj[b][j] += z * (low + (1 - low) * float(cell[t, b, j]) - zj[b][j])
                ej[b][j] += e * (zj[b][j] - ej[b][j])
                for i in range(inputs):
                    eij[b][j][i] += e * (zi[b][i] * zj[b][j] - eij[b][j][i])
        there = [b for b in range(samples) if counts[t, b]]
        if there:
            for i in range(inputs):
                pi[i] += p * (sum(ei[b][i] for b in there) / len(there) - pi[i])
            for j in range(cells):
                pj[j] += p * (sum(ej[b][j] for b in there) / len(there) - pj[j])
                for i in range(inputs):
                    pij[j][i] += p * (sum(eij[b][j][i] for b in there) / len(there) - pij[j][i])
    return Chances(*(torch.tensor(each, dtype=torch.float64) for each in (pi, pj, pij)))


def trains(seed, steps=12, samples=3, inputs=4, cells=2):
    rng = torch.Generator().manual_seed(seed)
    draw = [torch.rand(steps, samples, n, generator=rng, dtype=torch.float64) < 0.4 for n in (inputs, cells)]
    return draw[0].double(), draw[1].double(), rng


def taken(rule, entry, cell, counts, before, dt=1.0):
    low = rule.floor
    seen = Seen(low + (1 - low) * entry[:, :, None], low + (1 - low) * cell[..., None], counts)
    return rule.chances(seen, before, rule.blank(seen), dt)[0]


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    tau_z=st.sampled_from([0.0, 3.0, 10.0]),
    tau_e=st.sampled_from([0.0, 5.0]),
    k=st.sampled_from([1.0, 0.3]),
    dt=st.sampled_from([0.5, 1.0]),
)
def test_equals_the_loop(seed, tau_z, tau_e, k, dt):
    rule = BCPNN(tau_z=tau_z, tau_e=tau_e, tau_p=20.0, k=k, floor=0.05)
    entry, cell, rng = trains(seed)
    counts = (torch.rand(12, 3, generator=rng) < 0.8).double()
    counts[5] = 0
    before = Chances(*(torch.rand(*shape, generator=rng).double() for shape in ((4,), (2,), (2, 4))))
    found, wanted = taken(rule, entry, cell, counts, before, dt), looped(rule, entry, cell, counts, before, dt)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=EXACT, atol=0)


def stationary(rule, entry, cell):
    """Evidence after a long run whose memory is the whole of it."""
    steps = len(entry)
    ones = torch.ones(steps, 1, dtype=torch.float64)
    low = rule.floor
    before = Chances(*(torch.full(s, v, dtype=torch.float64) for s, v in (((1,), low), ((1,), low), ((1, 1), low**2))))
    return taken(rule, entry, cell, ones, before)


def poisson(seed, chance, steps=200_000):
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, 1, 1, generator=rng) < chance).double()


def test_independent_trains_have_no_evidence():
    """Of 200,000 steps 20,000 are remembered: p is 0.1 to within 0.2 %, p_ij to 1 % standard error."""
    rule = BCPNN(tau_z=0.0, tau_p=20_000.0, floor=1e-4)
    chances = stationary(rule, poisson(0, 0.1), poisson(1, 0.1))
    assert abs(float(evidence(chances))) < 0.05
    assert float(chances.cell) == pytest.approx(0.1, rel=0.05)


def test_identical_trains_have_that_of_their_rarity():
    """`E[z^2] / p^2` in closed form for a z of 1 and `floor`; nearly -log p."""
    rule = BCPNN(tau_z=0.0, tau_p=20_000.0, floor=1e-4)
    train = poisson(0, 0.1)
    chances = stationary(rule, train, train)
    p = float(chances.cell)
    share = (p - 1e-4) / (1 - 1e-4)
    wanted = math.log((share + (1 - share) * 1e-8) / p**2)
    assert float(evidence(chances)) == pytest.approx(wanted, abs=1e-9)
    assert float(evidence(chances)) == pytest.approx(-math.log(p), abs=2e-3)


def test_inputs_and_cells_change_places():
    rule = BCPNN(tau_z=5.0, tau_e=7.0, tau_p=30.0)
    entry, cell, _ = trains(3)
    ones = torch.ones(12, 3, dtype=torch.float64)

    def start(inputs, cells):
        shapes = ((inputs,), 0.01), ((cells,), 0.01), ((cells, inputs), 1e-4)
        return Chances(*(torch.full(shape, value, dtype=torch.float64) for shape, value in shapes))

    one, other = taken(rule, entry, cell, ones, start(4, 2)), taken(rule, cell, entry, ones, start(2, 4))
    torch.testing.assert_close(evidence(one), evidence(other).T, rtol=EXACT, atol=EXACT)
    assert float(evidence(one).abs().max()) > 0.01


def test_a_gain_of_0_learns_nothing():
    model, given = net((5,)), spikes()
    rule = BCPNN(taught=False, k=0.0)
    state = rule.init(model, torch.Generator())
    after = rule.assign(model, None, given, state, torch.Generator()).state
    for name, chances in state.items():
        assert all(torch.equal(*pair) for pair in zip(chances, after[name], strict=True))
    moved = BCPNN(taught=False).assign(model, None, given, state, torch.Generator()).state
    assert not torch.equal(moved["layers.0"].both, state["layers.0"].both)


def labelled(steps=30, samples=6, seed=0, **fields):
    y = torch.arange(samples) % 3
    return spikes(steps, samples, seed=seed)._replace(y=y, **fields)


def test_sgd_with_a_rate_of_1_sets_weights_and_biases():
    """Those of the last layer, whose cells are what the labels say; the other layers stay as they are."""
    model, given = net((5,)), labelled()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = rules.Trainer(model, rules.make("bcpnn"))
    trainer.step(given)
    with torch.no_grad():
        heard = model(given.x, record=True).traces[0].post
    rule, shapes = BCPNN(), (((5,), 0.01), ((3,), 0.01), ((3, 5), 1e-4))
    start = Chances(*(torch.full(shape, value, dtype=torch.float64) for shape, value in shapes))
    answers = nn.functional.one_hot(given.y, 3).double().expand(30, 6, 3)
    wanted = looped(rule, heard, answers, torch.ones(30, 6), start)
    last = model.layers[-1].synapse
    torch.testing.assert_close(last.weight.detach(), evidence(wanted), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(last.bias.detach(), wanted.cell.log(), rtol=1e-9, atol=1e-9)
    assert torch.equal(model.layers[0].synapse.weight, before["layers.0.synapse.weight"])


def test_windows_go_on_where_the_last_one_ended():
    model, given = net((5,)), labelled()
    rule = BCPNN(tau_e=20.0)
    state = rule.init(model, torch.Generator())
    whole = rule.assign(model, None, given, state, torch.Generator())
    first = rule.assign(model, None, given._replace(x=given.x[:13]), state, torch.Generator())
    rest = given._replace(x=given.x[13:], carry=first.carry)
    second = rule.assign(model, None, rest, first.state, torch.Generator())
    for mine, theirs in zip(second.state["layers.1"], whole.state["layers.1"], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=EXACT, atol=0)


def test_padding_and_ignored_steps_teach_nothing():
    model, given = net((5,)), labelled()
    lengths = torch.tensor([30, 12, 30, 9, 30, 30])
    given = given._replace(lengths=lengths)
    loud = given._replace(x=torch.where(torch.arange(30)[:, None, None] < lengths[:, None], given.x, 1 - given.x))
    rule = BCPNN()
    one, other = (credit(rule, model, each).grads["layers.1.synapse.weight"] for each in (given, loud))
    torch.testing.assert_close(one, other, rtol=EXACT, atol=EXACT)
    targets = torch.where(torch.arange(30)[:, None] < lengths, given.y, -100)
    by_step = credit(rule, model, given._replace(lengths=None, y=None, targets=targets)).grads[
        "layers.1.synapse.weight"
    ]
    torch.testing.assert_close(one, by_step, rtol=EXACT, atol=EXACT)


def test_it_tells_classes_apart():
    """Each class has two inputs of its own: a classifier of one layer, by counting."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    chance = 0.05 + 0.25 * (torch.arange(6)[None] // 2 == y[:, None])
    x = (torch.rand(40, 60, 6, generator=rng) < chance).float()
    trainer = rules.Trainer(build((6,), 3, hidden=(), seed=0), rules.make("bcpnn"))
    assert trainer.evaluate([(x, y)])["accuracy"] < 0.7
    trainer.step((x, y))
    assert trainer.evaluate([(x, y)])["accuracy"] > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_p": 0.0}, r"tau_p=0.0: give a time constant above 0, in ms"),
        ({"tau_z": -1.0}, r"tau_z=-1.0"),
        ({"k": 1.5}, r"k=1.5: give 0 to 1"),
        ({"f_max": 0.0}, r"f_max=0.0: give a rate above 0, in Hz, or None"),
        ({"floor": 0.0}, r"floor=0.0: give the least probability, above 0 and below 1"),
        ({"gain": 0.0}, r"gain=0.0: give a number above 0"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        BCPNN(**options)


def test_a_rate_that_stands_for_certainty():
    model, given = net((5,)), labelled()
    rule = BCPNN(f_max=500.0)
    model_ = rule.assign(model, None, given, rule.init(model, torch.Generator()), torch.Generator()).state["layers.1"]
    doubled = (
        BCPNN().assign(model, None, given, rule.init(model, torch.Generator()), torch.Generator()).state["layers.1"]
    )
    low = 0.01
    torch.testing.assert_close(model_.entry - low, 2 * (doubled.entry - low), rtol=1e-9, atol=0)


def test_recurrent_cells_cannot_be_taught():
    model = net(("5r",), readout=LIF())
    model.layers = model.layers[:1]
    with pytest.raises(UnfitModel, match=r"the cells of layers\.0, the last layer, hear each other"):
        BCPNN().parameters(model)


def test_labels_are_needed_where_it_is_taught():
    with pytest.raises(rules.MissingNeed, match="labels"):
        rules.Trainer(net((5,)), rules.make("bcpnn")).step(spikes())
    rules.Trainer(net((5,)), rules.make("bcpnn", taught=False)).step(spikes())


def test_the_carry_of_another_rule():
    model, given = net((5,)), labelled()
    first = credit(BCPNN(), model, given)
    with pytest.raises(ValueError, match="continue a sequence with the rule that began it"):
        credit(BCPNN(tau_z=3.0), model, Batch(given.x, given.y, carry=first.carry))


def test_steps_without_a_label_leave_no_trace_of_a_class():
    """Class 0 is never taught: it stays as rare as class 2."""
    model = build((4,), 3, (), LIF(), LIF()).double()
    x = torch.zeros(40, 1, 4).double()
    x[20:, 0, 0] = 1
    targets = torch.full((40, 1), -100)
    targets[30:] = 1
    rule = BCPNN()
    found = rule.assign(model, None, Batch(x, targets=targets), rule.init(model, torch.Generator()), torch.Generator())
    chances = found.state["layers.0"].cell
    assert float(chances[0]) == float(chances[2]) == pytest.approx(0.01, rel=1e-9)
    assert float(chances[1]) > 0.0115
