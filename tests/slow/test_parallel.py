"""One run on several processes: every recipe, torchrun, kills, and other numbers of processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import rules
from rules.team import digest
from sandbox.machine.locks import held
from tests.conftest import ROOT
from tests.rules import team_work as work

CLOSE = 1e-12  # float64, whose sums over shares are rounded in another order
NET = """
from torch import nn
def net(shape, classes, *, seed):
    import torch
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(shape[0], 12), {middle}, nn.Linear(12, classes)).double()
"""
SMALL = [
    *("--task.options", "{train: 200, validation: 40, test: 40}", "--encoder.options", "{steps: 3}"),
    *("--epochs", "4", "--batch_size", "15", "--checkpoint_steps", "1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "size"), [("walk", 2), ("walk", 3), ("spiking", 2), ("spiking", 3)])
def test_every_recipe(tmp_path, task, size):
    """Processes agree in every bit; where no process draws numbers of its own, they learn what one learns."""
    found = work.run_team(tmp_path, task, size)
    cells = {name for name in rules.RULES if {"cells", "carry"} & rules.make(name).needs}
    chained = {name for name in rules.RULES if "chain" in rules.make(name).needs}
    assert set(found[0]) == set(rules.RULES) - ({*work.STATISTICAL, *chained} if task == "spiking" else cells)
    for name, first in found[0].items():
        assert all(digest(other[name]["state"]) == digest(first["state"]) for other in found), name
        # each process draws bits, signs, labels or spikes of its own
        if name in (*work.STATISTICAL, "uoro", "forward_forward", "escape_noise"):
            continue
        one = work.recipe(name, net=work.spiking_net(name) if task == "spiking" else None)
        assert torch.equal(first["state"]["rng"], one["state"]["rng"]), name
        assert first["losses"] == pytest.approx(one["losses"], abs=10 * CLOSE), name
        for key, weight in one["weights"].items():
            near = 1e-9 if name == "usf" else 10 * CLOSE  # Adam divides by small sums, of errors of one size in usf
            torch.testing.assert_close(first["weights"][key], weight, atol=near, rtol=0, msg=f"{name} {key}")


@pytest.mark.slow
def test_rules_that_draw_bits_learn_the_same_on_average(tmp_path):
    """Of 48 weights none differs by five standard errors over 400 seeds (one in 35,000 runs would, by chance)."""
    two, one = work.run_team(tmp_path, "noisy")[0], work.noisy(None)
    assert float(one.std(0).min()) > 0
    error = ((one.var(0) + two.var(0)) / len(one)).sqrt()
    assert float(((one.mean(0) - two.mean(0)) / error).abs().max()) < 5


def command(tmp_path: Path, count: int, words: list[str]) -> list[str]:
    many = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"] if count > 1 else []
    return [sys.executable, "-m", *many, "sandbox", *words]


def begin(tmp_path: Path, count: int, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(tmp_path, count, list(words)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen, code: int | None = 0) -> tuple[str, str]:
    try:
        said = process.communicate(timeout=200)
    finally:
        process.kill()
    assert code is None or process.returncode == code, said
    return said


def words_of(tmp_path: Path, rule: str = "bptt", middle: str = "nn.Tanh()") -> list[str]:
    file = tmp_path / "net.py"
    file.write_text(NET.format(middle=middle))
    return ["run", "--task", "yinyang", *SMALL, "--rule", rule, "--network.model.name", f"{file}:net"]


def folder_of(out: Path) -> Path:
    (found,) = (path.parent for path in out.glob("*/config.yaml"))
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["trainer"]["model"]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def run(tmp_path: Path, count: int, name: str, **how) -> Path:
    end(begin(tmp_path, count, *words_of(tmp_path, **how), "--out", str(tmp_path / name)))
    return folder_of(tmp_path / name)


def stopped(tmp_path: Path, count: int, name: str, rank: int | None = None, **how) -> Path:
    """Begin a run, and kill one of its processes, the last by default, in the second epoch; the others end, too."""
    process = begin(tmp_path, count, *words_of(tmp_path, **how), "--out", str(tmp_path / name))
    deadline = time.monotonic() + 150
    while not (found := list((tmp_path / name).glob("*/metrics.jsonl"))) or found[0].read_text().count("\n") < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pid = process.pid if count == 1 else ranks(process.pid)[count - 1 if rank is None else rank]
    os.kill(pid, signal.SIGKILL)
    end(process, None)
    assert process.returncode != 0
    folder = folder_of(tmp_path / name)
    assert not (folder / "result.json").exists()
    return folder


def ranks(parent: int) -> dict[int, int]:
    """The process of each rank under a torchrun."""
    found = {}
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        entries = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        found |= {int(entry[5:]): int(child) for entry in entries if entry.startswith(b"RANK=")}
    return found


def lives(pid: int) -> bool:
    """Whether a process is there and does more than wait to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def same(one: Path, other: Path, tolerance: float = CLOSE) -> None:
    for key, weight in weights(one).items():
        torch.testing.assert_close(weights(other)[key], weight, atol=tolerance, rtol=0)
    for mine, theirs in zip(metrics(one), metrics(other), strict=True):
        for key in ("epoch", "step", "train_loss", "validation_loss", "validation_accuracy"):
            assert theirs[key] == pytest.approx(mine[key], abs=tolerance)
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    assert results[0]["test"] == pytest.approx(results[1]["test"], abs=tolerance)
    assert results[0]["steps"] == results[1]["steps"]


@pytest.mark.slow(minutes=2)
@pytest.mark.parametrize("rule", ["tcl", "spsa"])
def test_torchrun_learns_what_one_process_learns(tmp_path, rule):
    one, two = (run(tmp_path, count, f"by {count}", rule=rule) for count in (1, 2))
    same(one, two)
    assert [json.loads((folder / "provenance.json").read_text())["processes"] for folder in (one, two)] == [1, 2]
    assert one.name == two.name


@pytest.mark.slow(minutes=3)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, before, after):
    one = run(tmp_path, 1, "whole")
    folder = stopped(tmp_path, before, "stopped")
    end(begin(tmp_path, after, "resume", str(folder)))
    same(one, folder)


@pytest.mark.slow(minutes=3)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all_and_the_run_goes_on_bit_for_bit(tmp_path, rank):
    """With dropout, so that every process draws numbers of its own."""
    how = {"middle": "nn.Dropout(0.2)"}
    whole = run(tmp_path, 2, "whole", **how)
    folder = stopped(tmp_path, 2, "stopped", rank, **how)
    end(begin(tmp_path, 2, "resume", str(folder)))
    same(whole, folder, tolerance=0)
    states = [torch.load(each / "checkpoint.pt", weights_only=True)["trainer"] for each in (whole, folder)]
    assert digest(states[0]) == digest(states[1])


@pytest.mark.slow
def test_a_killed_torchrun_ends_its_processes(tmp_path):
    process = begin(tmp_path, 2, *words_of(tmp_path), "--epochs=100000", "--out", str(tmp_path / "out"))
    deadline = time.monotonic() + 150
    while not list((tmp_path / "out").glob("*/checkpoint.pt")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = ranks(process.pid).values()
    assert len(pids) == 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    try:
        while any(map(lives, pids)) or held(folder_of(tmp_path / "out")):
            assert time.monotonic() < deadline, "they live on"
            time.sleep(0.1)
    finally:
        for pid in filter(lives, pids):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow(minutes=2)
@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("raise KeyError('gone')", "error: process 1 of 2: KeyError: 'gone'"),
        ("return x * float('nan')", "error: process 1 of 2: step 1: the loss is nan"),
    ],
)
def test_an_error_of_one_process_ends_all(tmp_path, where, said):
    broken = "type('Broken', (nn.Module,), {'forward': lambda self, x: broken(x)})()"
    words = words_of(tmp_path, middle=broken)
    with open(tmp_path / "net.py", "a") as file:
        file.write(
            "import os, torch\ndef broken(x):\n    if os.environ['RANK'] == '1' and torch.is_grad_enabled():\n"
            f"        {where}\n    return x\n"
        )
    process = begin(tmp_path, 2, *words, "--confirm", "false", "--out", str(tmp_path / "out"))
    _, errors = end(process, 1)  # torchrun's own code
    assert errors.count("error: ") == 1
    assert said in errors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list"], "error: torchrun is for run and resume; start 'list' without it"),
        (["run", "--device", "cuda:0", "--out", "x"], "device='cuda:0': each of 2 processes takes a GPU of its own"),
        (["run", "--rule", "bpt", "--out", "x"], "error: unknown rule 'bpt'"),
    ],
)
def test_what_torchrun_is_not_for(tmp_path, words, said):
    words = [str(tmp_path / word) if word == "x" else word for word in words]
    _, errors = end(begin(tmp_path, 2, *words), 1)
    assert said in errors
    assert not list(tmp_path.glob("x/*"))
