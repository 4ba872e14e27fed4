"""The name of a folder: one safe component of a path for any text, and today's names for ordinary texts."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox import Choice, Experiment
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid
from sandbox.config.identity import KEPT, SHORT, folder_name
from sandbox.config.names import fitting
from sandbox.config.rule import RuleConfig
from sandbox.tuning.tuning import Tuning

NASTY = (
    "/abs/dir/t.py:T",
    "../er/t.py:T",
    "..",
    ".",
    "...",
    "",
    " ",
    "a\\b",
    "C:\\x",
    "new\nline",
    "\x00\x1b[31m",
    "x" * 300,
    "é" * 150,
    "con",
    "NUL.txt",
    "--out",
    "Straße",
    unicodedata.normalize("NFD", "é"),
    "\u202egnp.exe",
    "~",
    "$HOME",
    "*?<>|\"'",
    "trailing ",
    "\U0001f600",
)


def anything(test):
    """Run a test with the nasty texts and with those that are drawn."""
    for text in NASTY:
        test = example(text)(test)
    return given(st.text(max_size=400))(test)


@anything
def test_a_name_is_one_component_that_every_file_system_takes(text):
    name = folder_name(text, "0123abcd")
    assert (Path("/out") / name).parent == Path("/out")
    assert not re.search(r"[/\\:*?<>|\"\x00-\x1f\x7f]", name)
    assert not re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name)
    assert text[:1] == "" or name[0] not in " -"  # an empty text leaves the dash before the mark
    assert name.endswith("-0123abcd")
    assert len(name.encode()) <= (SHORT if len(text.encode()) > KEPT else KEPT)
    assert unicodedata.normalize("NFC", name) == name


@given(st.lists(st.text(max_size=200), min_size=2, max_size=2, unique=True))
def test_texts_that_look_alike_have_names_of_their_own(texts):
    """What a path is separated by is the exception: such texts are told apart by the mark."""
    plain = [text.translate({58: ".", 47: "_", 92: "_"}) for text in texts]
    one, two = (folder_name(text, "0123abcd") for text in texts)
    assert one != two or plain[0] == plain[1]


@pytest.mark.parametrize(
    ("experiment", "name"),
    [
        (Experiment(), "yinyang-bptt-s0-44136fa3"),
        (Experiment(task=Choice("path/to/file.py:Mine")), "path_to_file.py.Mine-bptt-s0-b39a254f"),
        (
            Experiment(task=Choice("my tasks/t.py:T"), rule=RuleConfig(label="lr=0.1 (a)")),
            "my_tasks_t.py.T-lr=0.1_(a)-s0-24457cc7",
        ),
    ],
)
def test_names_that_were_safe_stay_the_same(experiment, name):
    """As earlier versions made them, so that their folders are found."""
    assert experiment.identity == name


@pytest.mark.parametrize("text", NASTY)
def test_every_kind_of_folder_is_a_direct_child(text, tmp_path):
    experiment = Experiment(task=Choice(text))
    comparison = Comparison(experiment)
    grid = Grid([comparison], name=fitting(text))
    for name in (experiment.identity, comparison.identity, grid.identity, Tuning(grid).identity):
        (tmp_path / name).mkdir()
        assert (tmp_path / name).resolve().parent == tmp_path
    for study in Tuning(grid).studies(tmp_path):
        assert study.folder.resolve().parent == tmp_path / "studies"


def test_labels_that_differ_only_in_capitals_are_refused():
    """They would share a folder where a file system does not tell them apart; other options give other folders."""
    with pytest.raises(ValueError, match="labels 'Mine' and 'mine' would share the folder"):
        Comparison(rules=[RuleConfig(label="Mine"), RuleConfig(label="mine", epochs=30)]).experiments()
    other = [RuleConfig(label="Mine"), RuleConfig(label="mine", options={"lr": 0.1})]
    assert list(Comparison(rules=other).experiments()) == ["Mine", "mine", "readout_only"]
