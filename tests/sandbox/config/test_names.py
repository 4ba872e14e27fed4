"""Labels and names: what separates paths is refused with an answer, and whatever is accepted is one part of a path."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rules import RULES
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid, grid_from, read_grid
from sandbox.comparisons.sweep import varied
from sandbox.config.experiment import Experiment
from sandbox.config.names import LONGEST, fitting, of_a_row, require_label, require_member
from sandbox.config.registry import Choice, find
from sandbox.config.rule import RuleConfig
from sandbox.report.tuning import place
from tests.sandbox.config.test_identity import NASTY

BAD = [
    "a/b",
    "a\\b",
    "a\nb",
    "a\0b",
    ".hidden",
    "..",
    "a:b",
    "",
    " ",
    "\t",
    " a",
    "a ",
    "x" * 61,
    "a|b",
    "*",
    "\u202ea",
]
GOOD = ["bptt", "lr=0.1 (a)", "A#2", "window 1", "x" * LONGEST, "+, -", "émile", "0.5"]
TEXTS = st.text(max_size=80)


def answer(what, text):
    """The whole message of a refusal."""
    return re.escape(
        f"{what}={text!r} is part of the name of a folder: give 1 to 60 letters, digits, spaces and any of "
    )


@pytest.mark.parametrize("text", BAD)
def test_a_label_that_is_no_part_of_a_path_is_refused(text):
    with pytest.raises(ValueError, match=answer("label", text)) as refused:
        RuleConfig(label=text)
    advised = str(refused.value).rpartition("such as ")[2]
    assert RuleConfig(label=advised.strip("'"))


@pytest.mark.parametrize("text", BAD)
def test_the_name_of_a_grid_too(text):
    with pytest.raises(ValueError, match=answer("name", text)):
        Grid([Comparison()], name=text)
    with pytest.raises(ValueError, match=answer("name", text)):
        grid_from({"name": text, "comparisons": [{"seeds": 2}]})


@pytest.mark.parametrize("text", GOOD)
def test_ordinary_ones_are_taken(text):
    assert RuleConfig(label=of_a_row(text)).title == of_a_row(text)
    assert Grid([Comparison()], name=text).identity.startswith(text)


@settings(deadline=None)
@given(TEXTS.filter(lambda text: text not in RULES))  # the names of rules are rows of their own
def test_what_is_taken_is_one_part_of_a_path_and_what_is_advised_is_taken(text):
    require_label("label", fitting(text))
    try:
        require_label("label", text)
    except ValueError:
        assert fitting(text) != text
    else:
        assert fitting(text) == text
        assert PurePosixPath(text).parts == (text,) == PureWindowsPath(text).parts
        assert "/" not in Experiment(rule=RuleConfig(label=of_a_row(text))).identity


@pytest.mark.parametrize(("text", "instead"), [("hzo = bptt", "hzo=bptt"), ("not above, bptt", "not above,bptt")])
def test_a_label_that_reads_as_two_rules_is_refused(text, instead):
    with pytest.raises(ValueError, match=f"stands between rules in tables: take '{instead}'"):
        RuleConfig(label=text)


@given(st.text("abc/.:é ", min_size=1, max_size=80), TEXTS)
def test_the_settings_of_a_sweep_make_a_label_for_any_rule(name, value):
    rule = varied(RuleConfig(name), [(["options", "lr"], value)])
    require_label("label", rule.title)
    assert rule.options == {"lr": value}


@pytest.mark.parametrize("name", ["a grid; of mine", ".hidden", "x" * 100])
def test_a_file_of_any_name_is_a_grid(name, tmp_path):
    path = tmp_path / f"{name}.yaml"
    path.write_text("experiment: {epochs: 1}\n")
    require_label("name", read_grid(str(path)).name)


@pytest.mark.parametrize("kind", ["rule", "task", "encoder", "model"])
@pytest.mark.parametrize(
    "name", [":", ":T", " :T", "..:T", "a..b:T", "mine:", "a\0.py:T", "a\n.py:T", "mine.py:", "mine.py:a.b", "x.py: T"]
)
def test_a_name_that_nothing_can_be_imported_by_is_refused(kind, name):
    message = f"{kind} {name!r} is not package.module:Name or path/to/file.py:Name"
    with pytest.raises(ValueError, match=re.escape(message)):
        find(kind, name)


@pytest.mark.parametrize("name", [*NASTY, "x" * 5000 + ".py:T", ".:T", "/.py:T"])
def test_a_task_of_any_name_is_answered_before_anything_runs(name):
    with pytest.raises(ValueError, match=r"unknown task|cannot be loaded|is not package\.module:Name"):
        Experiment(task=Choice(name)).check()


def test_a_path_that_is_a_folder_is_answered(tmp_path):
    (tmp_path / "mine.py").mkdir()
    with pytest.raises(ValueError, match="cannot be loaded"):
        find("task", f"{tmp_path}/mine.py:T")


@given(st.text("/.ab:é", min_size=1, max_size=40))
@example("../my rules/mine.py:sign")
def test_paths_of_users_stay_allowed(path):
    require_member("rule", f"{path}.py:sign")


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_a_study_has_its_comparison_and_its_rule_back(task, rule):
    comparison = Comparison(Experiment(task=Choice(task))).identity
    name = f"{comparison}/{rule}/3"
    assert place({"studies": {name: {"search": 3}}}, name) == (comparison, comparison, rule, 3)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["own/mine.py:sign", "x" * 60, "x" * 58 + "yy", "bptt", "..:é"]), max_size=12))
def test_rules_of_one_name_get_labels_of_their_own(names):
    rules = [RuleConfig(name, {"lr": 1.0 + number}) for number, name in enumerate(names)]
    found = Comparison(rules=rules).experiments()
    made = [runs[0].rule for label, runs in found.items() if label != "readout_only"]
    assert [(rule.name, rule.options) for rule in made] == [(rule.name, rule.options) for rule in rules]
    assert len({runs[0].identity for runs in found.values()}) == len(found)
