"""The optimizer: pulses are what was wished for, p.data is what devices hold, and torch's habits are kept."""

from __future__ import annotations

import copy
import io
import re

import pytest
import torch
from torch import nn

import rules
from rules.plasticity import PLASTICITIES, Memristor
from rules.plasticity.memristor import (
    DEVICES,
    AccumulateAndCarry,
    ConstantStep,
    DifferentialPair,
    Direct,
    MemristorOptimizer,
    Positional,
    SoftBounds,
)
from rules.plasticity.memristor.pulses import rounded

IDEAL = ConstantStep(dw_min=0.01)
NOISY = SoftBounds(
    dw_min=0.01,
    dw_min_dtod=0.3,
    dw_min_std=3.0,
    up_down_dtod=0.1,
    w_max_dtod=0.2,
    w_min_dtod=0.2,
    write_noise=5.0,
    read_noise=0.01,
    cell_noise=0.02,
    decay=0.01,
    decay_dtod=0.3,
    base=0.1,
    stuck=0.05,
)
STORES = [Direct(), AccumulateAndCarry(threshold=3, period=4), Positional(period=10)]


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def layer(*shape, value=0.0, dtype=torch.float32):
    return nn.Parameter(torch.full(shape, value, dtype=dtype))


def stepped(optimizer, *gradients):
    for g in gradients:
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = g if isinstance(g, torch.Tensor) else torch.full_like(p, g)
        optimizer.step()


def random_steps(model, optimizer, seeds):
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        for p in model.parameters():
            p.grad = 2 * torch.randn(p.shape, generator=rng)
        optimizer.step()


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_gradient_of_whole_numbers_is_as_many_pulses():
    p = layer(3, dtype=torch.float64)
    optimizer = MemristorOptimizer([p], IDEAL, Direct(), scale=2.0)
    stepped(optimizer, torch.tensor([3.0, 0.0, -5.0], dtype=torch.float64))
    torch.testing.assert_close(p.data, torch.tensor([-0.06, 0.0, 0.10], dtype=torch.float64))
    assert optimizer.spent() == rules.contract.Cost(pulses=8)  # and not one random bit
    assert optimizer.spent().pulses == 0
    assert optimizer.writes == [8]


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("train", [None, 4])
def test_on_average_a_parameter_moves_by_lr_times_gradient(store, train):
    """20000 parameters; a pulse more or less is worth half a step at most, so four standard errors are known."""
    p = layer(20000, dtype=torch.float64)
    optimizer = MemristorOptimizer([p], IDEAL, store, scale=2.0, lr=0.003, train=train)
    stepped(optimizer, *[0.7] * 40)
    one = 2.0 * store.step(IDEAL)
    room = 4 * one * (40 * 4 / 4 / 20000) ** 0.5 + 2.0 * IDEAL.step * (store != Direct())  # the counter keeps a rest
    assert float(p.data.mean()) == pytest.approx(-40 * 0.003 * 0.7, abs=room)
    assert float(p.data.std()) > 0 or isinstance(store, AccumulateAndCarry)


def test_tiny_wishes_of_either_sign_are_pulses_alike():
    """In float32 the fraction of -1e-9 above its floor, -1, rounds to 1, so that no such wish became a pulse."""
    wish = torch.full((100_000,), 1e-9)
    wish[::2] = 2.0**-4  # some that do become pulses
    up, down = (rounded(sign * wish, torch.Generator().manual_seed(0)).n for sign in (1, -1))
    assert torch.equal(up, -down)
    assert float(up.sum()) > 0


def test_fractions_take_a_random_bit_and_whole_numbers_none():
    p = layer(4)
    optimizer = MemristorOptimizer([p], IDEAL, Direct(), scale=1.0)
    stepped(optimizer, torch.tensor([1.0, 0.5, 0.0, 0.25]))
    assert optimizer.spent().random_bits == 2


def test_a_train_clips_long_wishes_and_counts_them():
    p = layer(3)
    optimizer = MemristorOptimizer([p], IDEAL, Direct(), scale=1.0, train=2)
    stepped(optimizer, torch.tensor([5.0, -2.0, 0.0]))
    assert optimizer.clipped == 1
    assert optimizer.spent() == rules.contract.Cost(pulses=4, random_bits=4)
    torch.testing.assert_close(p.data, torch.tensor([-0.02, 0.02, 0.0]))


@pytest.mark.parametrize("store", STORES)
def test_parameters_are_what_the_devices_show(store):
    model = net()
    optimizer = MemristorOptimizer(model.parameters(), NOISY, store)
    random_steps(model, optimizer, range(12))
    for p in model.parameters():
        want = optimizer.param_groups[0]["scale"] * store.read(NOISY, optimizer.state[p]["store"])
        assert torch.equal(p.data, want)
        low, high = optimizer.bounds(p)
        assert ((optimizer.held(p) >= low - 1e-6) & (optimizer.held(p) <= high + 1e-6)).all()
        assert not torch.equal(optimizer.held(p), p.data)  # write noise is seen


def test_initial_weights_are_written_at_half_of_the_smaller_bound():
    p = nn.Parameter(torch.tensor([0.3, -0.6]))
    optimizer = MemristorOptimizer([p], ConstantStep(w_min=-0.5))
    assert optimizer.param_groups[0]["scale"] == pytest.approx(2.4)
    torch.testing.assert_close(p.data, torch.tensor([0.3, -0.6]))
    assert MemristorOptimizer([layer(2)], IDEAL).param_groups[0]["scale"] == 1.0


def test_nothing_moves_without_a_gradient_but_by_drift():
    for device in (DEVICES["reram_sb"], NOISY):
        model = net()
        optimizer = MemristorOptimizer(model.parameters(), device, Direct())
        with optimizer.reading(model, torch.Generator(), elapsed=0):
            pass
        before = weights(model)
        stepped(optimizer, 0.0)
        optimizer.zero_grad()
        optimizer.step()
        assert torch.equal(before, weights(model)) == (device.decay == 0)
        assert optimizer.spent().pulses == 0


def test_a_scheduler_thins_the_pulses():
    p = layer(4000)
    optimizer = MemristorOptimizer([p], IDEAL, Direct(), scale=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.25)
    stepped(optimizer, 1.0)
    assert optimizer.spent().pulses == 4000
    scheduler.step()
    stepped(optimizer, 1.0)
    assert optimizer.spent().pulses == pytest.approx(1000, abs=4 * (4000 * 0.25 * 0.75) ** 0.5)


def test_groups_have_their_own_rate_scale_and_train():
    a, b, c = layer(2), layer(2), layer(2)
    groups = [{"params": [a]}, {"params": [b], "lr": 0.0}, {"params": [c], "scale": 4.0, "train": 1}]
    optimizer = MemristorOptimizer(groups, IDEAL, Direct(), scale=1.0)
    stepped(optimizer, 2.0)
    torch.testing.assert_close(a.data, torch.full((2,), -0.02))
    assert not b.data.any()
    torch.testing.assert_close(c.data, torch.full((2,), -0.04))
    d = layer(2)
    optimizer.add_param_group({"params": [d], "lr": 0.03})
    d.grad = torch.ones(2)
    optimizer.step()
    torch.testing.assert_close(d.data, torch.full((2,), -0.03))
    assert len(optimizer.writes) == 4


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("device", [NOISY, DEVICES["pcm"]], ids=["cell", "pair"])
def test_resuming_is_bit_exact(device, store):
    whole, first, second = net(), net(), net(seed=1)
    made = [MemristorOptimizer(m.parameters(), device, store, seed=s) for m, s in ((whole, 0), (first, 0), (second, 5))]
    random_steps(whole, made[0], range(20))
    random_steps(first, made[1], range(9))
    file = io.BytesIO()
    torch.save(made[1].state_dict(), file)
    file.seek(0)
    made[2].load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(weights(first), weights(second))
    random_steps(second, made[2], range(9, 20))
    assert torch.equal(weights(whole), weights(second))
    assert made[0].writes == made[2].writes
    assert all(type(n) is int for n in made[2].writes)


def test_a_loaded_state_shares_nothing_with_its_source():
    model, other = net(), net()
    one, two = (MemristorOptimizer(m.parameters(), NOISY, Direct()) for m in (model, other))
    two.load_state_dict(one.state_dict())
    before = weights(model)
    random_steps(other, two, range(3))
    one.zero_grad()
    for p in model.parameters():
        one._show(p, one.param_groups[0]["scale"])
    assert torch.equal(before, weights(model))


def test_a_copy_takes_the_same_path():
    model = net()
    optimizer = MemristorOptimizer(model.parameters(), NOISY, Direct())
    random_steps(model, optimizer, range(3))
    twin_model, twin = copy.deepcopy((model, optimizer))
    random_steps(model, optimizer, range(3, 6))
    random_steps(twin_model, twin, range(3, 6))
    assert torch.equal(weights(model), weights(twin_model))


def test_two_seeds_are_two_arrays():
    a, b, c = net(), net(), net()
    for model, seed in ((a, 0), (b, 0), (c, 1)):
        random_steps(model, MemristorOptimizer(model.parameters(), NOISY, Direct(), seed=seed), range(3))
    assert torch.equal(weights(a), weights(b))
    assert not torch.equal(weights(a), weights(c))


def test_reading_adds_noise_of_the_stated_size_to_outputs():
    """20000 outputs: four standard errors of a standard deviation are 2 %."""
    model = nn.Linear(3, 20000)
    optimizer = MemristorOptimizer(model.parameters(), ConstantStep(read_noise=0.01), scale=2.0)
    x, rng = torch.ones(1, 3), torch.Generator().manual_seed(0)
    quiet = model(x)
    with optimizer.reading(model, rng):
        noisy = model(x)
        noisy.sum().backward()  # the noise is a constant of the graph
    assert float((noisy - quiet).std()) == pytest.approx(0.01 * 2.0 * 2.0, rel=0.02)
    assert torch.equal(model(x), quiet)
    assert not model._forward_hooks


def test_reading_covers_convolutions_and_leaves_the_layers_of_others():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(4, 2))
    optimizer = MemristorOptimizer(model[0].parameters(), ConstantStep(read_noise=0.1))
    x, rng = torch.ones(1, 1, 4), torch.Generator().manual_seed(0)
    quiet = model[0](x)
    with optimizer.reading(model, rng):
        assert not torch.equal(model[0](x), quiet)
        assert not model[2]._forward_hooks


def test_noise_of_cells_and_drift_pass_with_the_block():
    model = net()
    device = ConstantStep(dw_min=0.01, decay=0.1, cell_noise=0.01)
    optimizer = MemristorOptimizer(model.parameters(), device, Direct(), scale=2.0)
    before, storage = weights(model), [p.data_ptr() for p in model.parameters()]
    with optimizer.reading(model, torch.Generator().manual_seed(0)):
        assert float((weights(model) - before).std()) == pytest.approx(0.04, rel=0.4)  # 39 weights
    seen = []

    def look_and_fail():
        with optimizer.reading(model, torch.Generator().manual_seed(0), elapsed=3):
            seen.append(weights(model))
            raise KeyError

    with pytest.raises(KeyError):
        look_and_fail()
    assert float((seen[0] - 0.9**3 * before).std()) == pytest.approx(0.04, rel=0.4)
    assert torch.equal(before, weights(model))
    assert storage == [p.data_ptr() for p in model.parameters()]


def test_reading_shows_where_weights_will_have_drifted():
    model = net()
    optimizer = MemristorOptimizer(model.parameters(), ConstantStep(decay=0.1), AccumulateAndCarry())
    with optimizer.reading(model, torch.Generator(), elapsed=4):
        ahead = weights(model)
    for _ in range(4):
        optimizer.step()
    torch.testing.assert_close(ahead, weights(model))


def test_reading_draws_from_the_generator_that_it_is_given():
    model = net()
    optimizer = MemristorOptimizer(model.parameters(), NOISY, Direct())
    x, kept, own = torch.ones(2, 5), torch.get_rng_state(), optimizer.state_dict()["memristor"]["generator"]
    outputs = []
    for seed in (1, 1, 2):
        with optimizer.reading(model, torch.Generator().manual_seed(seed)):
            outputs.append(model(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert torch.equal(kept, torch.get_rng_state())
    assert torch.equal(own, optimizer.state_dict()["memristor"]["generator"])


def test_a_closure_is_called_with_gradients_on():
    model = net()
    optimizer = MemristorOptimizer(model.parameters(), IDEAL, Direct())

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(1, 5)).square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure)) > 0


@pytest.mark.parametrize(("device", "store"), [("ideal", "direct"), ("capacitor", "accumulate_and_carry")])
def test_a_network_learns_on_a_device(device, store):
    model = net()
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    y = x.argmax(1) % 3
    plasticity = Memristor(device, store, lr=0.3)
    rule = rules.LearningRule(rules.make("bptt").objective, rules.BPTT(), plasticity)
    losses = [info.loss for info in rules.Trainer(model, rule).fit([(x, y)], epochs=60)]
    assert losses[-1] < 0.75 * losses[0]


def test_the_recipe_takes_names_objects_and_options():
    assert PLASTICITIES["memristor"] is Memristor
    recipe = Memristor("pcm", "positional", {"cell": {"dw_min_std": 0.1}, "refresh": 5}, {"period": 20}, seed=3)
    optimizer = recipe([layer(2)])
    assert (optimizer.device.cell.dw_min_std, optimizer.device.refresh) == (0.1, 5)
    assert (optimizer.store.period, optimizer.seed) == (20, 3)
    assert Memristor(NOISY, Direct())([layer(2)]).device is not None
    assert Memristor() == Memristor("ideal", "accumulate_and_carry")


@pytest.mark.parametrize("device", ["ideal", "pcm"])
def test_the_recipe_gives_room_and_a_pulse_in_units_of_the_parameters(device):
    a, b = layer(2, value=0.25), layer(2)
    recipe = Memristor(device, "direct", w_max=2.0, pulse=0.02)
    optimizer = recipe([{"params": [("a", a)]}, {"params": [("b", b)], "lr": 0.0}])
    for group in optimizer.param_groups:
        assert group["scale"] * min(-optimizer.device.range[0], optimizer.device.range[1]) == pytest.approx(2.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.02)
    assert optimizer.param_groups[0]["scale"] * optimizer.device.step == pytest.approx(0.02)


def test_without_them_every_group_finds_its_own_scale():
    groups = [{"params": [layer(2, value=0.25)]}, {"params": layer(2, value=0.5)}]
    assert [g["scale"] for g in Memristor()(groups).param_groups] == [0.5, 1.0]


def another(device=IDEAL, store=None, size=2):
    return MemristorOptimizer([layer(size)], device, store or Direct())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: stepped(another(), torch.tensor([1.0, float("nan")])),
            r"the gradient of parameter 0, \(2,\), has a NaN",
        ),
        (
            lambda: stepped(another(), torch.tensor([1.0, float("inf")])),
            "has a NaN or an infinity; no pulse was applied",
        ),
        (
            lambda: stepped(MemristorOptimizer([("w", layer(2))], IDEAL), torch.tensor([1.0, float("nan")])),
            r"the gradient of parameter 0 \(w\)",
        ),
        (
            lambda: MemristorOptimizer([layer(2, value=3.0)], IDEAL, scale=1.0),
            "initial weights from 3 to 3 do not fit the bounds of the device times scale=1, -1 to 1: raise scale",
        ),
        (lambda: MemristorOptimizer([layer(2)], IDEAL, scale=0.0), "scale=0.0: parameter = scale"),
        (lambda: MemristorOptimizer([layer(2)], IDEAL, lr=-1.0), "lr=-1.0: give at least 0"),
        (lambda: MemristorOptimizer([layer(2)], IDEAL, train=0), "train=0: a pulse train has at least 1 pulse"),
        (lambda: MemristorOptimizer([layer(2, dtype=torch.float16)], IDEAL), "a parameter of torch.float16"),
        (lambda: another(DEVICES["pcm"].cell), "holds 0.0 to 2.0: weights need both signs; use a DifferentialPair"),
        (
            lambda: another(DEVICES["reram_array_om"], Positional()),
            "must not exceed the bound 1, .*set period to at most 6",
        ),
        (
            lambda: another(size=3).load_state_dict(another().state_dict()),
            r"parameter 0 is \(3,\), the devices of the state",
        ),
        (
            lambda: another(store=Positional(period=9)).load_state_dict(another().state_dict()),
            r"the state is of ConstantStep\(.*AccumulateAndCarry\(.*, this is .*Positional\(",
        ),
        (
            lambda: another().load_state_dict(torch.optim.SGD([layer(2)]).state_dict()),
            "the state is of another optimizer",
        ),
        (lambda: Memristor("reram_s")([layer(2)]), "unknown device 'reram_s'; nearest: 'reram_sb'"),
        (lambda: Memristor(store="positinal")([layer(2)]), "unknown store 'positinal'; nearest: 'positional'"),
        (
            lambda: Memristor(device_options={"dw_mn": 1.0})([layer(2)]),
            "unknown field of ConstantStep 'dw_mn'; nearest: 'dw_min'",
        ),
    ],
)
def test_bad_input_is_refused_with_a_way_out(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_a_refused_gradient_changes_nothing():
    a, b = layer(2), layer(2)
    optimizer = MemristorOptimizer([a, b], NOISY, Direct(), scale=1.0)
    before, dice = a.data.clone(), optimizer.state_dict()["memristor"]["generator"]
    a.grad, b.grad = torch.ones(2), torch.tensor([0.0, float("nan")])
    with pytest.raises(ValueError, match=re.escape("parameter 1, (2,)")):
        optimizer.step()
    assert torch.equal(before, a.data)
    assert torch.equal(dice, optimizer.state_dict()["memristor"]["generator"])


def test_a_refused_group_leaves_no_trace():
    optimizer = another()
    with pytest.raises(ValueError, match="do not fit"):
        optimizer.add_param_group({"params": [layer(2, value=3.0)], "scale": 1.0})
    assert len(optimizer.param_groups) == len(optimizer.state) == 1


def test_a_reading_inside_a_reading_leaves_the_outer_one_closed():
    model = net()
    optimizer = MemristorOptimizer(list(model.parameters()), NOISY, Direct())
    rng = torch.Generator().manual_seed(0)
    with optimizer.reading(model, rng):
        with optimizer.reading(model, rng):
            pass
        with pytest.raises(RuntimeError, match="leave the block first"):
            optimizer.step()
    optimizer.step()


@pytest.mark.parametrize("train", [None, 4])
def test_pulses_do_not_depend_on_the_layout_of_memory(train):
    """Draws are made in the order of the indices: a channels-last weight or gradient gets the same pulses."""
    weights = []
    for last in (False, True):
        p = nn.Parameter(torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)))
        gradient = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(1))
        if last:
            p = nn.Parameter(p.detach().to(memory_format=torch.channels_last))
            gradient = gradient.to(memory_format=torch.channels_last)
        optimizer = MemristorOptimizer([p], NOISY, Direct(), train=train, lr=0.1)
        p.grad = gradient
        optimizer.step()
        weights.append(p.detach().contiguous())
    assert torch.equal(*weights)


def test_no_step_inside_a_reading():
    model = net()
    optimizer = MemristorOptimizer(model.parameters(), IDEAL)
    with optimizer.reading(model, torch.Generator()), pytest.raises(RuntimeError, match="leave the block first"):
        optimizer.step()
    optimizer.step()


def test_a_pair_is_held_like_any_device():
    model = net()
    optimizer = MemristorOptimizer(model.parameters(), DifferentialPair(IDEAL), Direct())
    stepped(optimizer, 1.0)
    assert optimizer.spent().pulses == 2 * weights(model).numel()
