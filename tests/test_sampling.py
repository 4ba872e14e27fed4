"""The slow tier has a third of the cases of each large family and of all other slow tests; each has its turn."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from tests.conftest import in_turn


class Item(SimpleNamespace):
    __hash__ = object.__hash__


def item(name, slow=True, **marks):
    found = [SimpleNamespace(kwargs=marks)] if slow else []
    return Item(nodeid=name, iter_markers=lambda _: iter(found))


def test_every_case_has_its_turn():
    many = [item(f"t.py::many[{n}]", minutes=1) for n in range(10)]
    others = [*(item(f"t.py::few[{n}]") for n in range(6)), item("t.py::alone"), item("t.py::long", minutes=3)]
    kept = [*(item(f"t.py::quick[{n}]", slow=False) for n in range(10)), item("t.py::readme", always=True)]
    turns = [in_turn([*many, *others, *kept], 3, first) for first in range(6)]
    ran = Counter(each.nodeid for found in turns for each in found)
    assert {ran[each.nodeid] for each in many} == {2}
    assert {ran[each.nodeid] for each in others} == {2}
    assert {ran[each.nodeid] for each in kept} == {6}
    assert {len(found) for found in turns} <= {3 + 2 + 11, 3 + 3 + 11, 4 + 3 + 11}
