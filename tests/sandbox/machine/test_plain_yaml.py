"""YAML of others is plain data of bounded size, or a sentence that names the file."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sandbox.machine import plain_yaml
from sandbox.machine.plain_yaml import dump_yaml, parse_yaml, read_yaml
from tests.speed import within

NINE = ", ".join(["*{0}"] * 9)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{NINE.format(before)}]\n" for before, name in zip("abcdefgh", "bcdefghi")
)
LIMIT = 5.0  # [s]; a bomb took minutes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "holds more than 200000 values"),
        ("a: &a [1, *a]", r"holds the alias \*a, which stands for itself"),
        ("[" * 100_000, "is nested more than 100 deep"),
        ("{a: " * 100_000, "is nested more than 100 deep"),
        ("- " * 5000 + "a", "is nested more than 100 deep"),
        ("x: " + "1:" * 60_000 + "1", "holds a word of 120001 characters"),
        ("a: b: c", r"is not valid YAML \(mapping values are not allowed in this context, line 1\)"),
        ("a: [1", "is not valid YAML"),
        ("a: \0", r"is not valid YAML \(control characters are not allowed\)"),
        ("!!python/object/apply:os.system [touch x]", "could not determine a constructor for the tag"),
        ("a: !!python/name:os.system", "could not determine a constructor for the tag"),
        ("? [a]\n: b", "is not valid YAML"),
        ("9" * 5000, "is not valid YAML"),
        ("a: !!int x", "is not valid YAML"),
        ("a: !!timestamp x", "is not valid YAML"),
        ("a\n---\nb", "is not valid YAML"),
    ],
)
def test_what_is_not_plain_and_small_is_named(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    begun = time.perf_counter()
    with pytest.raises(ValueError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert within(time.perf_counter() - begun, LIMIT)


def test_a_file_that_is_too_large_or_no_text_is_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a" * (plain_yaml.BYTES + 1))
    with pytest.raises(ValueError, match=r"config.yaml is too large for a configuration: 4194305 bytes"):
        read_yaml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"config.yaml is not a text in UTF-8"):
        read_yaml(path)


def test_aliases_of_a_reasonable_size_are_read():
    assert parse_yaml("a: &a {lr: 0.1}\nb: {<<: *a, c: 2}\nd: [*a, *a]", "f") == {
        "a": {"lr": 0.1},
        "b": {"lr": 0.1, "c": 2},
        "d": [{"lr": 0.1}] * 2,
    }


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN | st.sampled_from(["1e-3", "1e5", "-.5e3", "12e03", "2001-01-01", "yes", "0x1F", "1:30", "~", "=", "<<"]))
def test_what_is_written_is_read(value):
    assert parse_yaml(dump_yaml({"value": value}), "f") == {"value": value}


@pytest.mark.parametrize("text", ["1:30", "1_0", "010", "0x3", "0b11", "0o7", "1_0.5", "1:30.5", "+-1"])
def test_only_decimal_numbers_are_numbers(text):
    """YAML 1.1 reads 1:30 as 90, and 010 as 8."""
    assert parse_yaml(text, "f") == text
    assert [parse_yaml(each, "f") for each in ("10", "-3", "+4", "0", "1e-3", "1.5e3", ".5")] == [
        *(10, -3, 4, 0, 1e-3, 1.5e3, 0.5)
    ]


@given(PLAIN)
def test_older_folders_read_as_they_were_written(value):
    """Earlier versions wrote with `safe_dump`; words like 1e-3, which their parser turned into numbers, they never had."""
    text = yaml.safe_dump({"value": value})
    assert parse_yaml(text, "f") == yaml.safe_load(text) or "e" in text.lower()
