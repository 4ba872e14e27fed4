"""A plan is made again when something that the step reads has changed."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from sandbox import kernels, simulate
from sandbox.kernels import plans, using
from sandbox.neurons import LIF, base
from sandbox.neurons.base import toward

CURRENTS = 3 * torch.rand(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MODULE = types.ModuleType("settings_of_a_user")
sys.modules[MODULE.__name__] = MODULE


class Settings:
    """An object with an identity, whose contents change."""

    def __init__(self, gain):
        self.gain = gain


GAIN, SCALE, OFFSET = 0.1, 0.1, 0.1
LIST, DICT, ARRAY, TENSOR, OBJECT = [0.1], {"gain": 0.1}, np.array([0.1]), torch.tensor(0.1), Settings([0.1])
MODULE.gain = 0.1


def helper(x):
    return SCALE * x


def one(x):
    return 0.1 * x


def other(x):
    return 0.4 * x


FUNCTIONS = {"gain": one}


@dataclass(frozen=True)
class Cell(LIF):
    """Moves toward its current by a part."""

    given: Any = None
    gain: ClassVar[float] = 0.1

    def part(self, x):
        return 0.1 * x


def cell(part):
    """A new class whose step calls `part(self, x)`, and a cell of it."""

    @dataclass(frozen=True)
    class Mine(Cell):
        def integrate(self, current, state, dt):
            return state._replace(v=state.v + part(self, current - state.v))

    return Mine


def closing():
    gain = 0.1

    def change():
        nonlocal gain
        gain = 0.4

    return cell(lambda self, x: gain * x), change


def put(name, value=0.4):
    return lambda kind, made: globals().__setitem__(name, value)


def filled(place, key):
    return lambda kind, made: place.__setitem__(key, 0.4)


CHANGES = {
    "a global": (cell(lambda self, x: GAIN * x), put("GAIN"), None),
    "a global of a function": (cell(lambda self, x: helper(x)), put("SCALE"), None),
    "a function": (cell(lambda self, x: helper(x)), put("helper", other), None),
    "a function in a table": (
        cell(lambda self, x: FUNCTIONS["gain"](x)),
        lambda k, m: FUNCTIONS.update(gain=other),
        None,
    ),
    "the code of a function": (
        cell(lambda self, x: one(x)),
        lambda k, m: setattr(one, "__code__", other.__code__),
        None,
    ),
    "a list": (cell(lambda self, x: LIST[0] * x), filled(LIST, 0), None),
    "a table": (cell(lambda self, x: DICT["gain"] * x), filled(DICT, "gain"), None),
    "an array": (cell(lambda self, x: float(ARRAY[0]) * x), filled(ARRAY, 0), None),
    "a tensor": (cell(lambda self, x: TENSOR * x), lambda k, m: TENSOR.fill_(0.4), None),
    "an object": (cell(lambda self, x: OBJECT.gain[0] * x), filled(OBJECT.gain, 0), None),
    "a module": (cell(lambda self, x: MODULE.gain * x), lambda k, m: setattr(MODULE, "gain", 0.4), None),
    "a class variable": (cell(lambda self, x: self.gain * x), lambda k, m: setattr(k, "gain", 0.4), None),
    "a method": (cell(lambda self, x: self.part(x)), lambda k, m: setattr(k, "part", lambda self, x: 0.4 * x), None),
    "the step": (
        cell(lambda self, x: 0.1 * x),
        lambda k, m: setattr(k, "integrate", lambda self, c, s, dt: s._replace(v=s.v + 0.4 * (c - s.v))),
        None,
    ),
    "an attribute that is no field": (
        cell(lambda self, x: self.gain * x),
        lambda k, m: object.__setattr__(m, "gain", 0.4),
        None,
    ),
    "an object in a field": (
        cell(lambda self, x: self.given.gain * x),
        lambda k, m: setattr(m.given, "gain", 0.4),
        lambda: Settings(0.1),
    ),
    "a global of a function in a field": (
        cell(lambda self, x: self.given(x)),
        put("OFFSET"),
        lambda: lambda x: OFFSET * x,
    ),
    "a list in a field": (
        cell(lambda self, x: self.given[0] * x),
        lambda k, m: m.given.__setitem__(0, 0.4),
        lambda: [0.1],
    ),
    "a variable of an enclosing function": (*closing(), None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name, monkeypatch):
    for each in ("GAIN", "SCALE", "OFFSET", "helper"):
        monkeypatch.setitem(globals(), each, globals()[each])
    kind, change, given = CHANGES[name]
    made = kind(given=given() if given else None)
    answers = []
    for at in ("before", "after"):
        if at == "after":
            change() if name.startswith("a variable") else change(kind, made)
        for mode in ("numba", "plain"):
            with using(mode):
                answers.append(simulate(made, CURRENTS).v)
    ours, plain, ours_after, plain_after = answers
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)  # roundings
    assert not torch.allclose(plain, plain_after, rtol=1e-3)
    torch.testing.assert_close(ours_after, plain_after, rtol=1e-12, atol=1e-12)


LONG, TABLE = np.full(2000, 0.1), torch.tensor([0.1, 1.0])


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (lambda self, x: float(LONG[1500]) * x, lambda: LONG.__setitem__(1500, 0.4)),
        (lambda self, x: TABLE[0] * x, lambda: TABLE.data.__setitem__(0, 0.4)),
        (lambda self, x: TABLE[0] * x, lambda: TABLE.numpy().__setitem__(0, 0.4)),
    ],
    ids=["a long array", "behind autograd", "through numpy"],
)
def test_numbers_that_change_in_place_are_seen(body, change, monkeypatch):
    """In ways that torch does not count."""
    monkeypatch.setitem(globals(), "LONG", np.full(2000, 0.1))
    monkeypatch.setitem(globals(), "TABLE", torch.tensor([0.1, 1.0]))
    made, found = cell(body)(given=None), []
    for _ in range(2):
        for mode in ("numba", "plain"):
            with using(mode):
                found.append(simulate(made, CURRENTS).v)
        change()
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[2], found[3], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found[0], found[2], rtol=1e-3)


def test_a_tensor_beside_the_fields_has_its_gradient():
    """The plain loop runs; without gradients, a kernel may."""
    currents = CURRENTS.repeat(20, 40)
    table = torch.tensor([0.1, 0.4], dtype=torch.float64, requires_grad=True)
    made, found = cell(lambda self, x: table[0] * x)(given=None), []
    for mode in ("plain", "auto"):
        with using(mode):
            found += torch.autograd.grad(simulate(made, currents).v.sum(), table)
    assert torch.equal(*found)
    assert found[0][0]
    with using("numba"), pytest.raises(RuntimeError, match="requires a gradient and is not a field: make it one"):
        simulate(made, currents)
    with using("numba"), torch.no_grad():
        assert simulate(made, currents).v.shape == currents.shape


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad], ids=["vmap", "grad"])
def test_a_tensor_of_a_transform_is_left_to_the_plain_loop(transform):
    """Its numbers cannot be read."""
    currents = CURRENTS.repeat(20, 40)  # large enough for a kernel
    gains = torch.tensor([0.1, 0.4], dtype=torch.float64)
    given = gains if transform is torch.func.vmap else gains[0]

    def run(gain):
        table = torch.stack([gain, 2 * gain])
        return simulate(cell(lambda self, x: table[0] * x)(given=None), currents).v.sum()

    found = []
    for mode in ("plain", "auto"):
        with using(mode):
            found.append(transform(run)(given))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)
    assert found[0].any()


@pytest.mark.parametrize("name", ["LONG", "TABLE"])
def test_an_object_in_the_place_of_a_freed_one_is_another(name, monkeypatch):
    """Python gives a new object the id of one that has ended."""
    body = {"LONG": lambda self, x: float(LONG[1500]) * x, "TABLE": lambda self, x: TABLE[0] * x}[name]
    made = cell(body)(given=None)
    for step in range(8):
        monkeypatch.setitem(globals(), name, None)
        value = 0.1 + 0.05 * step
        monkeypatch.setitem(globals(), name, np.full(2000, value) if name == "LONG" else torch.tensor([value, 1.0]))
        found = []
        for mode in ("numba", "plain"):
            with using(mode):
                found.append(simulate(made, CURRENTS).v)
        torch.testing.assert_close(*found, rtol=1e-12, atol=1e-12)


def test_a_method_of_ours_that_is_replaced_is_seen(monkeypatch):
    with using("numba"):
        before = simulate(LIF(), CURRENTS).v
        monkeypatch.setattr(LIF, "integrate", lambda self, c, s, dt: s._replace(v=s.v + 0.5 * (c - s.v)))
        changed = simulate(LIF(), CURRENTS).v
        monkeypatch.undo()
        assert torch.equal(simulate(LIF(), CURRENTS).v, before)
    assert not torch.equal(before, changed)


def test_a_time_step_that_is_filled_in_place_is_seen():
    dt = torch.tensor(1.0, dtype=torch.float64)
    made = LIF(tau_mem=torch.tensor(5.0, dtype=torch.float64))
    with using("numba"):
        simulate(made, CURRENTS, dt)
        dt.fill_(2.0)
        found = simulate(made, CURRENTS, dt).v
    with using("plain"):
        torch.testing.assert_close(found, simulate(made, CURRENTS, dt).v, rtol=1e-12, atol=1e-12)


def test_code_of_ours_is_read_again_after_forget(monkeypatch):
    """What a function of this project reads counts as fixed, until `forget`."""
    made = LIF(tau_mem=4.5)
    with using("numba"):
        before = simulate(made, CURRENTS).v
        monkeypatch.setattr(sys.modules[LIF.__module__], "toward", lambda target, x, kept: toward(target, x, kept / 2))
        assert torch.equal(simulate(made, CURRENTS).v, before)
        kernels.forget()
        assert not torch.equal(simulate(made, CURRENTS).v, before)
    monkeypatch.undo()
    kernels.forget()
    assert base.toward is toward


def test_a_step_that_changes_what_it_reads_is_refused():
    seen = []
    kind = cell(lambda self, x: (seen.append(len(seen)), 0.1 * x)[1])
    with using("numba"):
        for _ in range(2):
            with pytest.raises(
                RuntimeError, match="the step changes what it reads outside of its state|another one at"
            ):
                simulate(kind(), CURRENTS)


def test_equal_cells_share_a_plan_and_others_do_not():
    one_cell, kind = LIF(tau_mem=5.0), CHANGES["a global"][0]
    assert plans.identity(one_cell) == plans.identity(LIF(tau_mem=5.0)) != plans.identity(LIF(tau_mem=6.0))
    assert plans.identity(kind(given=1)) != plans.identity(kind(given=True)) != plans.identity(kind(given=1.0))
    assert plans.identity(kind(given=[1.0])) == plans.identity(kind(given=[1.0]))
