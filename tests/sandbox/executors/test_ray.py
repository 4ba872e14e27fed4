"""Options of `ray` and what is said where there is no cluster; tests/slow/test_ray.py raises one."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace

import pytest

from sandbox.executors import make
from sandbox.executors import ray as executor_ray
from tests.sandbox.executors.toys import Steps

FALSE = [
    ({"adress": "auto"}, "unknown option.*'adress'; nearest: 'address'"),
    ({"address": "somewhere"}, "address='somewhere': give \"auto\" or HOST:PORT"),
    ({"address": 6379}, "address=6379"),
    ({"cpus": 0}, "cpus=0.0: give a number, more than 0"),
    ({"cpus": "2"}, "cpus='2'"),
    ({"cpus": True}, "cpus=True"),
    ({"gpus": -1}, "gpus=-1.0: give a number, 0 or more"),
    ({"gpus": float("nan")}, "gpus=nan"),
]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Ray itself takes a second to import; here it need not be there."""
    fake = SimpleNamespace(__version__="2.60.0", is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return fake


@pytest.mark.parametrize(("options", "message"), FALSE)
def test_a_value_that_is_none(options, message):
    with pytest.raises(ValueError, match=message):
        make("ray", 2, options)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"needs Ray.*pip install 'learning-rule-sandbox\[ray\]'"):
        make("ray", 2)


SAID = [
    (
        RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1\nThis process on node "
            "10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.11.2\n"
        ),
        r"the cluster runs Ray 2.9.0 and Python 3.10.1, this process Ray 2.60.0 and Python \d.*; use the same on both",
    ),
    (ConnectionError("refused"), "no cluster answers at 10.0.0.1:6379 .*start one with `ray start --head`"),
]


@pytest.mark.parametrize(("error", "message"), SAID)
def test_a_cluster_that_does_not_take_us(tmp_path, installed, monkeypatch, error, message):
    def init(**settings):
        assert settings["address"] == "10.0.0.1:6379"
        raise error

    installed.init = init
    monkeypatch.setattr(socket, "create_connection", lambda place, timeout: SimpleNamespace(close=lambda: None))
    with pytest.raises(ValueError, match=message):
        make("ray", 2, {"address": "10.0.0.1:6379"}).submit([Steps(tmp_path / "a")], tmp_path)


def test_without_an_address_a_cluster_is_raised(tmp_path, installed):
    """Whatever cluster somebody else has raised on this machine, and which Ray would find by itself."""

    def init(**settings):
        assert (settings["address"], settings["num_cpus"]) == ("local", 2)
        raise RuntimeError("seen")

    installed.init = init
    with pytest.raises(ValueError, match="Ray does not start: seen"):
        make("ray", 2).submit([Steps(tmp_path / "a")], tmp_path)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_answers_is_refused_before_ray_tries(tmp_path, installed, monkeypatch, scheme):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = f"no cluster answers at {scheme}127.0.0.1:{port} .Connection refused.; start one with `ray start --head`"
    with pytest.raises(ValueError, match=said):  # and `init`, which the fake lacks, is not called
        make("ray", 2, {"address": f"{scheme}127.0.0.1:{port}"}).submit([Steps(tmp_path / "a")], tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:99999")
    with pytest.raises(ValueError, match="no cluster answers at 127.0.0.1:99999"):
        make("ray", 2).submit([Steps(tmp_path / "a")], tmp_path)


def test_a_node_that_does_not_see_the_folder(tmp_path):
    with pytest.raises(OSError, match="does not see .*every node must see the run folders"):
        executor_ray._task(Steps(tmp_path / "absent"), "ticket", tmp_path, {})
