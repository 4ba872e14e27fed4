"""The files that a configuration depends on are found by their content, and none of them is imported."""

from __future__ import annotations

import sys

import pytest

from sandbox.config.sources import own_file, sources

LOUD = "raise SystemExit('imported')\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(folder, **texts):
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LOUD + text)


def test_imports_are_followed_and_nothing_is_imported(here):
    write(here, mine="import beside, torch, json\nfrom below import deep\n", beside="from below.deep import x\n")
    write(here, below__deep="from . import near\nfrom .near import y\n", below__near="", unused="")
    (here / "below" / "__init__.py").write_text(LOUD)
    found = sources({"rule": {"name": "mine.py:make"}})
    assert next(iter(found)) == "mine.py"
    assert set(found) == {
        "mine.py",
        *(
            f"{name} (imported by mine.py)"
            for name in ("beside.py", "below/__init__.py", "below/deep.py", "below/near.py")
        ),
    }
    before = dict(found)
    (here / "below" / "near.py").write_text("changed = 1\n")
    after = sources({"rule": {"name": "mine.py:make"}})
    assert {name for name in after if after[name] != before[name]} == {"below/near.py (imported by mine.py)"}


def test_a_package_is_found_without_importing_it(here):
    write(here, package__module="from package import other\n", package__other="")
    (here / "package" / "__init__.py").write_text(LOUD)
    assert own_file("package.module") == here / "package" / "module.py"
    assert set(sources("package.module:Name")) == {
        "package.module",
        "__init__.py (imported by package.module)",
        "other.py (imported by package.module)",
    }
    assert "package" not in sys.modules


def test_files_beside_a_file_elsewhere_are_found(here):
    """Its folder is not on Python's path, and may be when it runs."""
    write(here / "elsewhere", mine="import helper\n", helper="")
    assert set(sources("elsewhere/mine.py:make")) == {"elsewhere/mine.py", "helper.py (imported by elsewhere/mine.py)"}


@pytest.mark.parametrize("text", ["def (", "\x00", "import x." + "y." * 3])
def test_a_file_that_is_no_python_is_hashed_all_the_same(here, text):
    (here / "mine.py").write_text(text)
    assert list(sources("mine.py:make")) == ["mine.py"]


@pytest.mark.parametrize(
    "name", ["rules.recipes", "sandbox.tasks.digits", "no.such.module", "nowhere.py", "", "a b", "..", "json."]
)
def test_what_is_no_file_of_the_user(here, name):
    assert own_file(name) is None


def test_files_that_import_each_other_end(here):
    write(here, one="import two\n", two="import one\n")
    assert set(sources("one.py:x")) == {"one.py", "two.py (imported by one.py)"}
