"""Options of `slurm` and what is said where there is none; tests/slow/test_slurm.py has a real one."""

from __future__ import annotations

import sys

import pytest

from sandbox.executors import make
from tests.sandbox.executors.toys import Steps

FALSE = [
    ({"partiton": "a"}, "unknown option.*'partiton'; nearest: 'partition'"),
    ({"partition": "a\n#SBATCH --uid=0"}, "partition=.*: write it as sbatch takes it, without spaces"),
    ({"account": "a b"}, "account='a b'"),
    ({"gres": "$(id)"}, "gres="),
    ({"qos": "'"}, "qos="),
    ({"constraint": 3}, "constraint=3"),
    ({"exclude": ""}, "exclude=''"),
    ({"mem": "4 GB"}, "mem="),
    ({"mem": "lots"}, 'give a whole number and a unit, such as "4G"'),
    ({"mem": "-4G"}, "mem="),
    ({"time": "1:00"}, "time='1:00': give a whole number"),
    ({"time": 0}, "time=0"),
    ({"cpus": True}, "cpus=True"),
    ({"cpus": 1.5}, "cpus=1.5"),
    ({"poll": 0}, "poll=0.0: give seconds, more than 0"),
    ({"poll": float("nan")}, "poll=nan"),
    ({"setup": ["a\nb"]}, "setup=.*each without a line break"),
    ({"setup": [1]}, r"setup\[0\]=1: give text"),
    ({"setup": {"a": 1}}, "setup="),
]


@pytest.mark.parametrize(("options", "message"), FALSE)
def test_a_value_that_slurm_would_not_read(options, message):
    pytest.importorskip("submitit")
    with pytest.raises(ValueError, match=message):
        make("slurm", 2, options)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ImportError, match=r"needs submitit.*pip install 'learning-rule-sandbox\[slurm\]'"):
        make("slurm", 2)


def test_a_machine_without_slurm(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="sbatch is not on PATH: run this on a machine that submits to SLURM"):
        make("slurm", 2).submit([Steps(tmp_path / "a")], tmp_path)
    assert not (tmp_path / "a").exists()


def test_a_folder_whose_name_slurm_would_change(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr("sandbox.executors.slurm.require_commands", lambda: None)
    with pytest.raises(ValueError, match="SLURM replaces %.*use a folder of another name"):
        make("slurm", 2).submit([Steps(tmp_path / "50%j" / "a")], tmp_path / "50%j")
