"""The meaning of options, from docstrings."""

from __future__ import annotations

import inspect

import pytest

from rules import RULES
from sandbox.cli import main
from sandbox.cli.catalogue import registries
from sandbox.cli.meanings import arguments, meanings


@pytest.mark.parametrize("name", RULES)
def test_every_option_of_every_rule_is_explained(name):
    known = meanings(RULES[name])
    assert set(known) == set(inspect.signature(RULES[name]).parameters)
    assert all(text.strip() for text in known.values())


def test_a_recipe_speaks_before_what_it_passes_options_to():
    """`target` is a rate of `Homeostasis`, which the recipe leaves out where it is 0."""
    assert "rests [Hz]" in meanings(RULES["stdp"])["target"]
    assert meanings(RULES["stdp"])["pairing"] == '"all" pairs, or "nearest".'  # of Window


def test_defaults_are_those_of_the_recipe():
    """`Window` says that a_plus is 1 by default, and the recipe of triplets has 0."""
    assert "default" not in meanings(RULES["triplet_stdp"])["a_plus"]


def test_entries_end_where_the_section_ends():
    text = "Sum.\n\nArgs:\n    a: one,\n        or more: two.\n\n    b: other.\n\nNote:\n    c: none."
    assert arguments(text) == {"a": "one, or more: two.", "b": "other."}
    assert arguments("Sum.") == {}


def test_the_list_prints_them(capsys):
    assert main(["list", "rules", "r_stdp"]) == 0
    assert "| `tau_e` | `500.0` | time constant of the eligibility [ms]. |" in capsys.readouterr().out
    assert main(["list", "rules", "tcl"]) == 0
    assert "|t - t'|" not in capsys.readouterr().out.replace("\\|", "")


@pytest.mark.parametrize("name", [name for name, model in registries()["model"].items() if inspect.isfunction(model)])
def test_a_page_of_a_model_can_be_printed(name, capsys):
    assert main(["list", "models", name]) == 0
    assert "## Options" in capsys.readouterr().out
