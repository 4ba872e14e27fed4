"""Each test of the slow tier, and each of those that take longer in the fast one, has its turn."""

from __future__ import annotations

import re
from collections import Counter
from types import SimpleNamespace

from tests.conftest import FEW, LONG, ROOT, family, in_turn, left_to_slow


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


def test_a_twentieth_of_what_takes_longer_is_fast():
    long = [item(f"t.py::long[{n}]", slow=False) for n in range(2 * FEW + 3)]
    others = [item("t.py::quick", slow=False), item("t.py::slow[1]")]
    turns = [left_to_slow([*others, *long], {"t.py::long", "t.py::slow"}, first) for first in range(FEW)]
    left = Counter(each.nodeid for found in turns for each in found)
    assert left == {each.nodeid: FEW - 1 for each in long}


def test_what_takes_longer_is_there():
    """A family that was renamed would be fast again, and its name stay; `make test-times` writes the file anew."""
    names = LONG.read_text().split()
    assert names == sorted({family(name) for name in names})
    written = {
        name for path in (ROOT / "tests").rglob("*.py") for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    for name in names:
        file, *inside = name.split("::")
        assert (ROOT / file).is_file(), name
        assert not file.startswith("tests") or inside[-1] in written, name  # other folders have doctests
