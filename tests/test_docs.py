"""The documentation: its code runs, its links lead somewhere, its words are plain, and what is generated is complete."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

import rules
import sandbox
from rules import RULES
from rules.contract import DETACHMENTS
from rules.credit.online.legal import CHOICES
from sandbox.cli import manual
from sandbox.cli.options import COMMANDS, JSON
from sandbox.cli.parser import parser_for
from sandbox.cli.words import understood
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_words
from sandbox.tasks.base import StaticTask
from sandbox.tasks.encode import check_sequence
from tests.conftest import ROOT

DOCS = ROOT / "docs"
FOLDERS = ("", "illustrations/")  # of pages that are written by hand
PAGES = {folder + path.stem: path.read_text() for folder in FOLDERS for path in sorted(DOCS.glob(f"{folder}*.md"))}
WRITTEN = [  # by hand; the others are generated and ignored by git
    "index",
    "quickstart",
    "concepts",
    "data",
    "events",
    "networks",
    "from_brian2",
    "speech",
    "brain_signals",
    "language",
    "training",
    "circuits",
    "rule",
    "neuron",
    "device",
    "compress",
    "choose",
    "online",
    "environments",
    "plasticity",
    "hardware",
    "cells",
    "nir",
    "conformance",
    "results",
    "gallery",
    "faq",
    "illustrations/ranking",
    "illustrations/masked_pairs",
    "illustrations/retrieval",
    "illustrations/dehazing",
]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', flags=re.DOTALL | re.MULTILINE)
WITH_CODE = [name for name in WRITTEN if any(kind == "python" for kind, _, _ in BLOCK.findall(PAGES[name]))]
QUICK = ("choose",)  # under two seconds
FORBIDDEN = {  # what is not to be read anywhere, as a pattern
    "held to": "held to",
    "throws dice": "throws dice",
    "stranger": "stranger",
    "the bill": r"the bill\b",
    "is no": "(?<!there) is no ",  # "there is no reset" is plain enough
}


def module(name):
    """A file of docs/, which is not a package."""
    sys.path.insert(0, str(DOCS))
    try:
        spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """What `make docs` writes, in a folder of its own."""
    folder = tmp_path_factory.mktemp("docs")
    module("generate").generate(folder)
    return folder


def test_pages_with_code_are_found():
    assert len(WITH_CODE) == 29


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow][name in QUICK :]) for name in WITH_CODE])
def test_the_code_of_a_page_runs(name, tmp_path):
    """Blocks in order, in one namespace and one process; a block with a title is also that file."""
    script = []
    for kind, title, code in BLOCK.findall(PAGES[name]):
        if title:
            (tmp_path / title).write_text(code)
        if kind == "python":
            script.append(code)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "\n".join(script)],  # not a file, which workers would import
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "FAIL" not in done.stdout


def commands():
    for name in WRITTEN:
        for kind, _, code in BLOCK.findall(PAGES[name]):
            if kind == "bash":
                yield from ((name, line) for line in code.splitlines() if line.startswith("sandbox "))


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_a_command_of_a_page_is_understood(page, line, tmp_path, monkeypatch):
    """The parser takes it, and the encoder fits the task; files that a page has its reader write are there."""
    monkeypatch.chdir(tmp_path)
    for _, title, code in BLOCK.findall(PAGES[page]):
        if title:
            (tmp_path / title).write_text(code)
    _, name, *words = shlex.split(line, comments=True)
    parser_for(COMMANDS[name]).parse_args(understood(words, name))
    if name == "run":
        fits(words)


def fits(words):
    """Raise ValueError for names and options that do not fit each other, as far as no data are needed to tell."""
    own = [option.name.removeprefix("--").replace("-", "_") for option in (*COMMANDS["run"].options, JSON)]
    experiment, _ = from_words(Experiment, understood(words, "run"), [*own, "help_all"])
    experiment.check()
    if isinstance(experiment.task.make("task"), StaticTask):
        check_sequence(experiment.encoder.make("encoder"), sequence=False)


def test_a_command_whose_encoder_does_not_fit_is_found():
    words = ["--task", "mnist1d", "--encoder", "as_recorded"]
    with pytest.raises(ValueError, match="wants samples that are sequences, and those of this task are single"):
        fits(words)


def anchors(text):
    """The anchors that MkDocs gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("name", WRITTEN)
def test_links_lead_somewhere(name, generated):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if link.startswith(("http:", "https:")):
            continue
        path, _, anchor = link.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else ""
        target = next((folder / path for folder in (DOCS, generated) if path and (folder / path).exists()), None)
        assert target or not path, f"{name}.md: {link}"
        if anchor:
            assert anchor in anchors(target.read_text() if target else PAGES[name]), f"{name}.md: {link}"


def test_every_rule_and_public_name_is_documented(generated):
    assert {path.stem for path in (generated / "rules").glob("*.md")} == {*RULES, "index"}
    for package in (rules, sandbox):
        page = (generated / f"api/{package.__name__}.md").read_text()
        assert all(f"::: {package.__name__}.{name}\n" in page for name in package._HOMES)
    help_page = (generated / "cli.md").read_text()
    assert all(f"## sandbox {name}\n" in help_page for name in COMMANDS)
    assert {path.name for path in (generated / "gallery").iterdir()} == {
        path.name for path in (ROOT / "notebooks").glob("*.ipynb")
    }
    assert all(f"gallery/{path.name}" in PAGES["gallery"] for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_page_on_choosing_names_every_rule():
    assert all(f"](rules/{name}.md)" in PAGES["choose"] for name in RULES)


CREDITS = {name: recipe().credit for name, recipe in RULES.items()}
ONLINE = {
    name: credit.online if isinstance(credit, rules.Spatial) else credit
    for name, credit in CREDITS.items()
    if isinstance(credit, (rules.Online, rules.Spatial))
}


def test_the_page_on_online_rules_says_what_each_drops():
    """Rows of its first table: what a rule leaves out of the gradient and claims by default."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGES["online"].splitlines()]
    said = {re.search(r"`(\w+)`", row[0])[1]: row for row in rows if len(row) == 5 and row[0].startswith("[")}
    assert said.keys() == ONLINE.keys()
    for name, (_, trace, signal, dropped, claim) in said.items():
        credit = ONLINE[name]
        assert f"`{credit.trace}`" in trace
        assert f"`{credit.signal}`" in signal
        assert set(re.findall(r"`(\w+)`", dropped)) == credit.detaches, name
        assert claim == f"`{credit.claim}`"
    assert all(f"| `{key}` | {what} |" in PAGES["online"] for key, what in DETACHMENTS.items())


def test_the_page_on_online_rules_says_which_signals_each_takes():
    """Its second table has every signal; the sentence above it names the recipes with that option, and no others."""
    (sentence,) = re.findall(r"([^.\n]*) have an option `signal`", PAGES["online"])
    with_option = {name for name, recipe in RULES.items() if "signal" in inspect.signature(recipe).parameters}
    assert set(re.findall(r"`(\w+)`", sentence)) == with_option
    table = PAGES["online"].partition("| signal | says")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == CHOICES["signal"]


def test_the_page_on_choosing_has_one_row_for_each_online_rule():
    rows = [line for line in PAGES["choose"].splitlines() if line.startswith("| ")]
    named = [name for line in rows for name in re.findall(r"\]\(rules/(\w+)\.md\)", line)]
    assert sorted(name for name in named if name in ONLINE) == sorted(ONLINE)


def test_a_docstring_becomes_markdown():
    text = module("docstrings").markdown(
        "Add.\n\nArgs:\n    a: one,\n        or more.\n\n>>> 1 + 1\n2\n\nReference: me."
    )
    assert text == "Add.\n\n**Args**\n\n- `a`: one, or more.\n\n```python\n>>> 1 + 1\n2\n```\n\nReference: me."


def texts():
    """Every text that a reader meets, with its file and first line."""
    ignored = {"changelog", "cli", "contributing", "neurons", "security", "tasks"}
    pages = [path for path in DOCS.glob("*.md") if path.stem not in ignored]
    shown = [*(ROOT / "sandbox").glob("**/*.html"), *(ROOT / "sandbox").glob("**/*.md")]
    for path in [*pages, *DOCS.glob("neurons/*.md"), *DOCS.glob("illustrations/*.md"), ROOT / "README.md", *shown]:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            yield f"{path.relative_to(ROOT)}:{number}", line
    for name, text in {"overview": manual.overview(), **{name: manual.page(name) for name in COMMANDS}}.items():
        for number, line in enumerate(text.splitlines(), start=1):
            yield f"help of {name}:{number}", line


def strings():
    """Every string constant of both packages, docstrings and parts of f-strings included."""
    for path in [*ROOT.glob("rules/**/*.py"), *ROOT.glob("sandbox/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for offset, line in enumerate(node.value.splitlines()):
                    yield f"{path.relative_to(ROOT)}:{node.lineno + offset}", line


@pytest.mark.parametrize("words", FORBIDDEN)
@pytest.mark.parametrize("source", [texts, strings])
def test_the_words_are_plain(source, words):
    found = [f"{place}: {line.strip()}" for place, line in source() if re.search(FORBIDDEN[words], line.lower())]
    assert not found, f"say {words!r} in plain English:\n" + "\n".join(found)


def test_the_citation_is_complete():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == sandbox.__version__
    assert cited["license"] == "MIT"
    assert {"title", "message", "authors", "keywords", "abstract"} <= set(cited)


@pytest.mark.parametrize("name", ["bug_report", "question", "config"])
def test_the_templates_of_issues_are_valid(name):
    template = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text())
    if name != "config":
        assert {"name", "description", "body"} <= set(template)
        assert all(part["type"] in ("markdown", "textarea", "input", "dropdown") for part in template["body"])
