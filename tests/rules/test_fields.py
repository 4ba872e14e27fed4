"""Values are checked against the types that fields and options declare."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import rules
from rules.fields import admit
from rules.options import built
from rules.plasticity import SGD
from rules.views import VIEWS
from sandbox.config.registry import Choice
from sandbox.tasks.encode import Constant

REFUSED = [
    (True, float, "x=True: give a finite number; true and false are not numbers"),
    (True, int | None, "x=True: give a whole number of at most 63 bits or nothing (null); true and false"),
    ("0.1", float, "x='0.1': give a finite number; this is text, leave out its quotes"),
    ("2 ms", float, "x='2 ms': give a finite number; this is text"),
    (math.nan, float, "x=nan: give a finite number"),
    (-math.inf, float | None, "x=-inf: give a finite number or nothing (null)"),
    (10**400, float, "x=1000"),
    (2.0, int, "x=2.0: give a whole number of at most 63 bits, 2"),
    (2.5, int, "x=2.5: give a whole number"),
    (2**63, int, "x=9223372036854775808: give a whole number of at most 63 bits"),
    (10**5000, int, "x=a whole number of 16610 bits: give"),
    (None, float, "x=None: give a finite number"),
    (7, str, "x=7: give text; put it in quotes if it is a name, '7'"),
    (1, bool, "x=1: give true or false"),
    ("b", Literal["aa", "bb"], "unknown x 'b'; nearest: 'bb'; valid: aa, bb"),
    (3, Literal["aa", "bb"], "x=3: give 'aa' or 'bb'"),
    ([1, True], list[int], "x[1]=True: give a whole number"),
    ("ab", list[str], "x='ab': give a list of text"),
    ((0.9,), tuple[float, float], "x=(0.9,): give 2 values, and these are 1"),
    ([], dict[str, Any], "x=[]: give names with their values"),
    ({"a": math.nan}, dict[str, Any], "x.a=nan: give a value that is finite"),
    ({1: 2}, dict[str, Any], "x: the key 1 is not text"),
    (torch.ones(2), float, "x=tensor([1., 1.]): give a finite number"),
    (5, Callable[[float], float] | None, "x=5: give"),
]


@pytest.mark.parametrize(("value", "hint", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_named(value, hint, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        admit("x", value, hint)


@pytest.mark.parametrize(
    ("value", "hint", "plain"),
    [
        (np.float32(0.5), float, 0.5),
        (np.float64(0.5), Any, 0.5),
        (np.int64(3), int, 3),
        (np.bool_(True), bool, True),
        (torch.tensor(2), int | None, 2),
        (Path("a/b"), str, "a/b"),
        (1, float, 1.0),
        ((3, "r"), list[int | str], [3, "r"]),
        ([16, 32], tuple[int, ...], (16, 32)),
    ],
)
def test_what_fits_becomes_plain(value, hint, plain):
    found = admit("x", value, hint)
    assert (found, type(found)) == (plain, type(plain))


def test_options_of_a_member_are_checked():
    with pytest.raises(ValueError, match=r"rule 'bptt', options.lr=True: give a finite number"):
        rules.make("bptt", lr=True)
    with pytest.raises(ValueError, match=r"rule 'spsa', options.draws=2.0: give a whole number .*, 2"):
        rules.make("spsa", draws=2.0)  # an option that the credit takes
    with pytest.raises(ValueError, match=r"with options.drop=-1.0: FeatureDrop\(probability=-1.0\): give a prob"):
        built("views", "vector", VIEWS["vector"], {"drop": -1})


def test_settings_made_in_python_are_checked():
    with pytest.raises(ValueError, match="gain=nan: give a finite number"):
        Constant(gain=math.nan)
    with pytest.raises(ValueError, match="momentum=1.0: give the share that is kept"):
        SGD(momentum=1)


def test_a_choice_holds_plain_data():
    assert Choice("lif", {"tau_mem": np.float32(2), "path": Path("a")}).options == {"tau_mem": 2.0, "path": "a"}
    with pytest.raises(ValueError, match=r"options.tau_mem of 'lif' is a Tensor, which a configuration cannot hold"):
        Choice("lif", {"tau_mem": torch.ones(2)})
