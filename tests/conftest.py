"""What all tests share: one thread, the offline data mirror where there is one, and small experiments."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.browser import chromium

ROOT = Path(__file__).parent.parent
MIRROR = ROOT.parent / "shared" / "data"

if "SANDBOX_DATA" not in os.environ and MIRROR.is_dir():
    os.environ["SANDBOX_DATA"] = str(MIRROR)

os.environ.setdefault("SANDBOX_KERNELS", "plain")  # what is tested is the step; tests/sandbox/kernels compiles
if "SANDBOX_KEY" not in os.environ:  # and not the key of whoever runs the tests
    os.environ["SANDBOX_KEY"] = str(Path(tempfile.mkdtemp(prefix="sandbox-key-")) / "key")
os.environ["SANDBOX_SYNAPSES"] = "dense"  # the same bits on every machine; tests/sandbox/synapses weighs by events


class AtOnce:
    """Names a failure, and a test of minutes, at once: a run of the slow tier may be cut off before its summary."""

    LONG = 30.0  # [s]

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        if report.failed or report.duration > self.LONG:
            said = f"{report.outcome} after {report.duration:.0f} s: {report.nodeid} ({report.when})"
            self.config.get_terminal_writer().line(f"\n{said}")


def pytest_configure(config):
    if not os.environ.get("TIMES"):
        config.pluginmanager.register(Tiers())
    if not hasattr(config, "workerinput"):  # a process of xdist, whose reports the first one gets
        config.pluginmanager.register(AtOnce(config))
        if os.environ.get("TIMES"):
            config.pluginmanager.register(Stopwatch())


class Stopwatch:
    """Writes the families of tests whose cases take long, on average, into `tests/long.txt`: make test-times."""

    LEAST = 0.1  # [s]

    def __init__(self):
        self.seconds = Counter()

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self):
        families = {}
        for case, seconds in self.seconds.items():
            families.setdefault(family(case), []).append(seconds)
        long = sorted(name for name, found in families.items() if sum(found) / len(found) >= self.LEAST)
        LONG.write_text("\n".join([*long, ""]))


class Tiers:
    """Marks tests as slow that the fast tier leaves to the slow one, before `-m` chooses: see `left_to_slow`."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        for item in left_to_slow(items, set(LONG.read_text().split()), turn()):
            item.add_marker(pytest.mark.slow(always=True))


MOST_LEFT = 2 * 2**30  # bytes; two processes hold at most 12 GB each on a machine of 24
SHARE = int(os.environ.get("SHARE", "1"))  # of a large family of slow cases, one in so many
LARGE = 6  # cases
LONG = ROOT / "tests" / "long.txt"  # families of tests that take long
FEW = 20  # the fast tier has one in so many of these
COVERED = tuple(os.environ.get("COVERED", "").split())  # folders whose fast tests `make coverage` has, all of them


def family(case):
    """Return the name of a test without the parameters of the case."""
    return case.partition("[")[0]


def left_to_slow(items, long, first):
    """Return the cases of long families but one in `FEW`, from the one numbered `first` on: each has its turn."""
    cases = [
        item
        for item in items
        if family(item.nodeid) in long and not any(item.iter_markers("slow")) and not item.nodeid.startswith(COVERED)
    ]
    return [item for number, item in enumerate(cases) if (number - first) % FEW]


def in_turn(items, share, first):
    """Return items without those slow tests whose turn is not now.

    One slow test in `share` is kept, from the one numbered `first` on, so that each has its turn; the same is done for
    the cases of each large family, a parametrised test of many slow ones. `slow(always=True)` is kept.
    """
    families = {}
    for item in items:
        marks = list(item.iter_markers("slow"))
        if marks and not any(mark.kwargs.get("always") for mark in marks):
            families.setdefault(family(item.nodeid), []).append(item)
    large = [cases for cases in families.values() if len(cases) > LARGE]
    others = [item for cases in families.values() if len(cases) <= LARGE for item in cases]
    idle = {item for group in (*large, others) for number, item in enumerate(group) if (number - first) % share}
    return [item for item in items if item not in idle]


def turn():
    """Return a number of the commit: all processes, and everybody who runs this commit, have the same cases."""
    said = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return int(said.stdout.strip() or "0", 16)


@pytest.hookimpl(trylast=True)  # of those that are left
def pytest_collection_modifyitems(config, items):
    if SHARE > 1:
        kept = in_turn(items, SHARE, turn())
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    order(items)


def order(items):
    """Tests of minutes first, dealt to both halves of the list: each process begins with its own, and no one is last.

    Those that must not run side by side (`by_itself`) begin the first half, so that one process has them all.
    """
    alone = [item for item in items if "by_itself" in getattr(item, "fixturenames", ())]
    items[:] = [item for item in items if item not in alone]
    minutes = {item: sum(mark.kwargs.get("minutes", 0) for mark in item.iter_markers("slow")) for item in items}
    long = sorted((item for item in items if minutes[item]), key=lambda item: -minutes[item])
    others = [item for item in items if not minutes[item]]
    middle = max((len(items) + len(alone)) // 2 - len(alone) - len(long[::2]), 0)  # xdist hands out halves
    items[:] = alone + long[::2] + others[:middle] + long[1::2] + others[middle:]


def pytest_collection_finish():
    """Eight thousand tests and their libraries stay: looking for garbage among them takes a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def seed():
    """Seed the global generators, which what is drawn without a generator of its own is drawn from."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart(collector):
    """The same cases of parametrised tests in every run, and in every process."""
    if isinstance(collector, pytest.Module):
        seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """The same numbers whatever ran before."""
    seed()


@pytest.fixture(autouse=True)
def one_thread():
    """Two test processes on two cores: one thread each, so that sums have one order."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def what_stays():
    """Two processes share the memory of the machine: one that grows by gigabytes ends the other without a word."""
    before = resident()
    yield
    grown = resident() - before
    assert grown < MOST_LEFT, f"{grown / 2**30:.1f} GB stay in memory after this test: free what it holds"


def resident():
    """Return the bytes that this process has in memory; 0 where the system does not say."""
    said = Path("/proc/self/statm")
    return int(said.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") if said.exists() else 0


@pytest.fixture
def rng():
    """Return a new, seeded generator."""
    return torch.Generator().manual_seed(0)


WHOLE_MNIST = pytest.mark.skipif(
    not (Path(os.environ.get("SANDBOX_DATA", "")) / "mnist").is_dir(),
    reason="MNIST is not here: set SANDBOX_DATA to a folder with mnist/",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium for all tests."""
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
