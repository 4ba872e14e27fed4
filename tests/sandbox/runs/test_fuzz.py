"""Mutated checkpoints and results: no traceback, nothing run, the damage is named."""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
from dataclasses import replace

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, FAILED, FOUND_WRONG
from sandbox.comparisons.rows import BASELINE, make_rows
from sandbox.comparisons.verify import verify
from sandbox.config.rule import RuleConfig
from sandbox.runs.book import RunFailed
from sandbox.runs.finished import read_run, sort_out
from sandbox.runs.run import run
from sandbox.runs.seal import EVIDENCE, broken, write_seal
from sandbox.runs.verify import FAILS
from tests.sandbox.runs.test_run import TINY, Stop, _stop

VALUES = ["x", "", [], {}, True, None, 2.5, -1, 7, 2**70, 10**400, float("nan"), float("-inf"), "\x00", [[]], {"a": 1}]
ONE = replace(TINY, epochs=1)
RUNNING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")
heard: list[str] = []
listening = False


def hear(event, arguments):
    if listening and event in RUNNING and "git" not in str(arguments):  # the project asks git for its revision
        heard.append(f"{event} {arguments}")


@pytest.fixture(scope="module", autouse=True)
def ears():
    global listening
    sys.addaudithook(hear)
    listening = True
    yield
    listening = False
    assert heard == []


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    run(ONE, place / "done" / ONE.identity)
    other = replace(ONE, rule=RuleConfig("readout_only"), seed=1)
    run(other, place / "other" / other.identity)
    for name, experiment in (("stopped", TINY), ("seed1", replace(TINY, seed=1))):
        with pytest.raises(Stop):
            run(experiment, place / name, progress=_stop)
    return place


def mutated(content, dice, others):
    """Return other bytes: with bits flipped, cut, with a part doubled, or those of another file."""
    kind = dice.randrange(5)
    if kind == 0:
        spoilt = bytearray(content)
        for _ in range(dice.randint(1, 4)):
            spoilt[dice.randrange(len(spoilt))] ^= 1 << dice.randrange(8)
        return bytes(spoilt)
    if kind == 1:
        return content[: dice.randrange(len(content))]
    if kind == 2:
        start = dice.randrange(len(content))
        return content[:start] + content[dice.randrange(len(content)) :] + bytes(dice.randrange(3))
    if kind == 3:
        start = dice.randrange(len(content))
        return content[:start] + dice.randbytes(dice.randint(1, 64)) + content[start + 1 :]
    return dice.choice(others)


def edited(tree, dice):
    """Return a copy of nested JSON in which one value is replaced, removed or added."""
    tree = copy.deepcopy(tree)
    place, inner = [], tree
    while isinstance(inner, (dict, list)) and inner and (not place or dice.random() < 0.8):
        key = dice.choice(sorted(inner)) if isinstance(inner, dict) else dice.randrange(len(inner))
        place.append((inner, key))
        inner = inner[key]
    if not place or dice.random() < 0.05:
        return dice.choice(VALUES)
    holder, key = place[-1]
    if dice.random() < 0.15:
        del holder[key]
    elif dice.random() < 0.1 and isinstance(holder, dict):
        holder["added"] = dice.choice(VALUES)
    else:
        holder[key] = dice.choice(VALUES)
    return tree


def fuzz_checkpoints(made, place, number, seed):
    shutil.copytree(made / "stopped", place)
    path, dice = place / "checkpoint.pt", random.Random(seed)
    content = path.read_bytes()
    others = [(made / "seed1" / "checkpoint.pt").read_bytes(), b"", (place / "metrics.jsonl").read_bytes()]
    lines = (place / "metrics.jsonl").read_bytes()
    for _ in range(number):
        spoilt = mutated(content, dice, others)
        if spoilt == content:
            continue
        path.write_bytes(spoilt)
        with pytest.raises((RunFailed, ValueError), match=r"cannot be read|is the checkpoint of another run"):
            run(TINY, place)
        assert path.read_bytes() == spoilt
        assert (place / "metrics.jsonl").read_bytes() == lines
    assert main(["resume", str(place)]) in (BAD_INPUT, FAILED)
    path.write_bytes(content)
    assert run(TINY, place)["steps"] == 12


def fuzz_files(made, place, number, seed):
    """Bytes of any file of a finished run: the seal finds each change, and every reader says so."""
    folder, dice = place / ONE.identity, random.Random(seed)
    shutil.copytree(made / "done", place)
    names = [name for name in EVIDENCE if (folder / name).exists()]
    (other,) = (path for path in (made / "other").iterdir() if path.is_dir())
    for turn in range(number):
        name = dice.choice(names)
        content = (folder / name).read_bytes()
        spoilt = mutated(content, dice, [(other / name).read_bytes(), b"", b"null", b"[]"])
        if spoilt == content:
            continue
        (folder / name).write_bytes(spoilt)
        assert any(name in line for line in broken(folder))
        assert sort_out({"bptt": {0: folder}}).damaged.keys() == {folder.name}
        if turn % 10 == 0:
            assert any(finding.state == FAILS for finding in verify(folder)["."])
            assert main(["resume", str(folder)]) == BAD_INPUT
            assert main(["verify", str(folder)]) == FOUND_WRONG
        (folder / name).write_bytes(content)
    assert broken(folder) == []


def fuzz_values(made, place, number, seed):
    """Values of any kind, in folders that are sealed again: impossible ones are named, others make a table."""
    folder, dice = place / ONE.identity, random.Random(seed)
    shutil.copytree(made / "done", place)
    names = ["result.json", "metrics.jsonl", "test.json", "timing.json", "provenance.json"]
    for turn in range(number):
        name = dice.choice(names)
        content = (folder / name).read_text()
        if name == "metrics.jsonl":
            tree = edited([json.loads(line) for line in content.splitlines()], dice)
            lines = tree if isinstance(tree, list) else [tree]
            text = "".join(json.dumps(line) + "\n" for line in lines)
        else:
            text = json.dumps(edited(json.loads(content), dice))
        (folder / name).write_text(text)
        write_seal(folder, ONE.identity)
        try:
            found = read_run(folder, "bptt", 0, folder)
        except ValueError:
            (why,) = sort_out({"bptt": {0: folder}}).damaged.values()
            assert name in why
        else:
            make_rows({BASELINE: [found], "bptt": [found]})
        if turn % 5 == 0:
            verify(folder)
        (folder / name).write_text(content)
        write_seal(folder, ONE.identity)


FUZZ = {"checkpoints": fuzz_checkpoints, "files": fuzz_files, "values": fuzz_values}


@pytest.mark.parametrize("what", FUZZ)
def test_a_few_mutations(made, tmp_path, what):
    FUZZ[what](made, tmp_path / "place", 40, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("what", FUZZ)
def test_a_thousand_mutations(made, tmp_path, what):
    FUZZ[what](made, tmp_path / "place", {"checkpoints": 300, "files": 350, "values": 350}[what], seed=1)
