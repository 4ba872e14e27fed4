"""Two hundred runs on two hosts that share a folder, under thirty kills: none lost, none made twice, the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from sandbox.executors import claims, session
from sandbox.machine.files import read_json
from sandbox.machine.host import is_gone, me
from tests.sandbox.executors.conformance import hashes
from tests.sandbox.executors.hosts import on_host
from tests.slow.killing import finish, only, workers

pytestmark = [
    pytest.mark.slow(minutes=2),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc"),
]
RUNS = 100
KILLS = 18
PLAN = f"""\
seeds: {RUNS // 2}
rules: [bptt, readout_only]
experiment:
  epochs: 1
  batch_size: 20
  checkpoint_steps: 1
  network: {{hidden: [4]}}
  encoder: {{name: constant, options: {{steps: 2}}}}
  task: {{name: yinyang, options: {{train: 60, validation: 10, test: 10}}}}
"""
LINK = "[0-9]" * 4  # of a chain of claims
LEASE = 4.0  # [s] so that the other host need not wait long


class Hosts:
    """A caller and one that joins it, each with two workers; whoever is killed as a whole is started again."""

    def __init__(self, home: Path, words: list[str]) -> None:
        self.home, self.words = home, words
        self.anna = self.call()
        self.folder = self.session()
        self.bert = self.join()

    def call(self):
        return on_host("anna", self.home / "anna", *self.words)

    def session(self):
        while not (found := list(self.home.glob(f"both/*/{session.NAME}"))):
            assert self.anna.poll() is None, self.anna.communicate()
            time.sleep(0.01)
        return found[0].parent

    def join(self):
        return on_host("bert", self.home / "bert", "compare", "--join", str(self.folder), "--jobs", "2")

    def done(self):
        return len(list(self.folder.glob("*/result.json")))

    def kill_a_worker(self, dice):
        for host in dice.sample([self.anna, self.bert], 2):
            for pid in dice.sample(found := workers(host), len(found)):
                os.kill(pid, signal.SIGKILL)
                return 1
        return 0

    def kill_a_host(self, dice):
        name = dice.choice(["anna", "bert"])
        host = getattr(self, name)
        if host.poll() is not None:
            return 0
        host.kill()
        host.communicate()
        setattr(self, name, self.call() if name == "anna" else self.join())
        return 1


def same(folder):
    """What must not depend on kills: all but how often test sets were evaluated, because killed evaluations count."""
    table = read_json(folder / "table.json")
    for row in table["rows"]:
        del row["test_evaluations"]
    return {**hashes(folder), "table.json": table}


def ended(process):
    """Whether a process of either host has ended; both are on this machine."""
    return is_gone(process._replace(host=me().host))


def test_a_hundred_runs_on_two_hosts_under_eighteen_kills(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    plan = ["compare", "--config", str(path), "--jobs", "2"]
    finish(*plan, "--out", str(tmp_path / "quiet"))
    shared = ["--executor", "shared", "--executor-options", f"{{lease: {LEASE}}}", "--out", str(tmp_path / "both")]
    hosts, dice, killed, wanted = Hosts(tmp_path, [*plan, *shared]), random.Random(0), Counter(), 1
    deadline = time.monotonic() + 300
    while killed.total() < KILLS and hosts.done() < RUNS and time.monotonic() < deadline:
        time.sleep(dice.uniform(0.002, 0.05))
        if hosts.done() < wanted:  # kills fall on the whole grid
            continue
        whom = "host" if killed.total() % 6 == 5 else "worker"
        hit = hosts.kill_a_host(dice) if whom == "host" else hosts.kill_a_worker(dice)
        if hit:  # on a busy machine there may be no worker yet
            killed[whom] += 1
            wanted = hosts.done() + dice.randint(1, 6)
    ends = [host.communicate(timeout=300) for host in (hosts.anna, hosts.bert)]
    assert [hosts.anna.returncode, hosts.bert.returncode] == [0, 0], ends
    assert killed["worker"] >= KILLS * 2 // 3
    assert killed["host"] >= 3
    assert killed.total() == KILLS
    quiet = only(tmp_path / "quiet", "compare-*")
    assert same(hosts.folder) == same(quiet)
    assert len(same(quiet)) == 1 + 3 * RUNS
    chains = {run.parent: claims.newest(run.parent) for run in hosts.folder.glob("*/result.json")}
    assert len(chains) == RUNS
    left = [place for place, chain in chains.items() if chain.state != "done"]
    assert all(chains[place].state == "held" and ended(chains[place].by) for place in left), "given up by the living"
    assert len(left) <= 2 * killed["host"], "a host writes `done` after its worker has written the result"
    at = Counter(host for run in hosts.folder.glob(f"*/.claims/{LINK}") for host in [read_json(run)["by"][0]])
    assert min(at["anna"], at["bert"]) > 2
    for place in chains:
        states = [read_json(link)["state"] for link in sorted(place.glob(f".claims/{LINK}"))]
        assert states.count("done") == (place not in left), "a run that is done is not begun again"
        assert place in left or not list(place.glob(".claims/*.beat*"))
