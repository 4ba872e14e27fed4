"""Readers and frames of event cameras against SpikingJelly's, on files that the tests of our readers write."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from sandbox.cameras import by_number, events_of, in_windows, read
from tests.peers.zoo import present
from tests.sandbox.cameras import writers

pytestmark = pytest.mark.skipif(not present("spikingjelly"), reason="spikingjelly is not installed: make peers")
ROWS = [(t, (7 * t) % 128, (t * t) % 128, t % 3 == 0) for t in range(0, 400, 3)]


@pytest.fixture
def theirs(monkeypatch):
    """Imports a module of `spikingjelly.datasets`, whose face asks for torchvision, which is not installed."""

    def stand_in(name, **members):
        made = types.ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    stand_in("torchvision", transforms=None, __path__=[])
    stand_in("torchvision.datasets", DatasetFolder=object, __path__=[])
    stand_in("torchvision.datasets.utils", check_integrity=None, download_url=None, extract_archive=None)
    folder = Path(importlib.util.find_spec("spikingjelly").submodule_search_locations[0]) / "datasets"
    stand_in("spikingjelly.datasets", __path__=[str(folder)])

    def load(name):
        whole = f"spikingjelly.datasets.{name}"
        module = importlib.import_module(whole)
        for known in [key for key in sys.modules if key.startswith("spikingjelly.datasets.")]:
            monkeypatch.delitem(sys.modules, known)
        return module

    return load


def test_aedat_3_is_read_as_they_read_it(theirs, tmp_path):
    path = tmp_path / "gesture.aedat"
    path.write_bytes(writers.aedat3(ROWS, turns=2))
    wanted, found = theirs("utils").load_aedat_v3(path), read(path)
    for name in "txyp":
        assert np.array_equal(getattr(found, name), wanted[name]), name


def test_cifar10_dvs_is_read_as_they_read_it(theirs, tmp_path):
    """They turn the image by a right angle: their column is 127 less our row, their row our column."""
    path = tmp_path / "cifar10_cat_0.aedat"
    path.write_bytes(writers.aedat2(ROWS))
    wanted, found = theirs("cifar10_dvs")._load_origin_data(path), read(path)
    assert np.array_equal(found.t, wanted["t"])
    assert np.array_equal(found.p, wanted["p"])
    assert np.array_equal(found.x, wanted["y"])
    assert np.array_equal(127 - found.y, wanted["x"])


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("split", ["time", "number"])
def test_frames_are_theirs(theirs, steps, split):
    found = events_of(*zip(*ROWS), sensor=(128, 128))
    given = {name: getattr(found, name) for name in "txyp"}
    wanted = theirs("utils").integrate_events_by_fixed_frames_number(given, split, steps, 128, 128)
    ours = in_windows(found, steps) if split == "time" else by_number(found, steps=steps)
    assert np.array_equal(ours, wanted)
