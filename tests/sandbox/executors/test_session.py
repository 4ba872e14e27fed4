"""What a host may join: a folder that is here, that a caller shares, and that the same code began."""

from __future__ import annotations

import pytest

from sandbox.executors import session
from sandbox.machine import files
from sandbox.machine.host import me


def test_a_session_is_found_again(tmp_path):
    session.begin(tmp_path, 12.0, [tmp_path / "a", tmp_path / "b" / "c"])
    found = session.find(tmp_path)
    assert (found.host, found.lease, found.jobs) == (me().host, 12.0, ["a", "b/c"])


def test_a_folder_that_is_not_here(tmp_path):
    with pytest.raises(
        ValueError, match=r"gone is not a folder on .*; name the one that the caller printed, on a disk"
    ):
        session.find(tmp_path / "gone")


def test_a_folder_that_nobody_shares(tmp_path):
    with pytest.raises(ValueError, match=r"is not shared: begin it with `sandbox compare --executor shared"):
        session.find(tmp_path)


@pytest.mark.parametrize("content", [{}, [], {"host": "a"}, {"host": 1, "strange": 2}])
def test_a_damaged_session(tmp_path, content):
    files.write_json(tmp_path / session.NAME, content)
    with pytest.raises(ValueError, match="is damaged"):
        session.find(tmp_path)


@pytest.mark.parametrize(
    "said",
    [
        *({"lease": lease} for lease in ("30", None, True, 0, -1.0, float("inf"), float("nan"))),
        *({"jobs": jobs} for jobs in ("abc", None, {"a": 1}, [1], ["a\x1b[31m"])),
        *({"host": host} for host in (None, 1, "a\nb")),
    ],
)
def test_a_session_with_a_value_of_another_kind(tmp_path, said):
    session.begin(tmp_path, 30.0, [])
    assert session.find(tmp_path).jobs == []
    files.write_json(tmp_path / session.NAME, {**files.read_json(tmp_path / session.NAME), **said})
    with pytest.raises(ValueError, match=r"is damaged \(.*\); remove it and resume the caller"):
        session.find(tmp_path)


@pytest.mark.parametrize("what", ["version", "revision"])
def test_other_code_is_refused_and_both_are_named(tmp_path, what):
    session.begin(tmp_path, 30.0, [])
    content = files.read_json(tmp_path / session.NAME)
    files.write_json(tmp_path / session.NAME, {**content, "host": "anna", what: "0.0.7-theirs"})
    with pytest.raises(ValueError, match=r"was begun on anna by version .*0\.0\.7-theirs.*; this is version") as error:
        session.find(tmp_path)
    assert content[what] in str(error.value)
    assert "Install the same on all hosts" in str(error.value)
