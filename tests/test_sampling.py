"""The slow tier has a third of the cases of large families; each has its turn, and no other test is left out."""

from __future__ import annotations

from types import SimpleNamespace

from tests.conftest import in_turn


class Item(SimpleNamespace):
    __hash__ = object.__hash__


def item(name, slow=True, **marks):
    found = [SimpleNamespace(kwargs=marks)] if slow else []
    parametrised = {"callspec": None} if "[" in name else {}
    return Item(nodeid=name, iter_markers=lambda _: iter(found), **parametrised)


def test_every_case_has_its_turn_and_the_rest_always_runs():
    many = [item(f"t.py::many[{n}]") for n in range(10)]
    rest = [
        *(item(f"t.py::few[{n}]") for n in range(6)),
        *(item(f"t.py::long[{n}]", minutes=1) for n in range(10)),
        *(item(f"t.py::quick[{n}]", slow=False) for n in range(10)),
        item("t.py::alone"),
    ]
    turns = [in_turn([*many, *rest], 3, first) for first in range(3)]
    assert all(found[-len(rest) :] == rest for found in turns)
    assert sorted(each.nodeid for found in turns for each in found[: -len(rest)]) == sorted(
        each.nodeid for each in many
    )
    assert {len(found) - len(rest) for found in turns} == {3, 4}
