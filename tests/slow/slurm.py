"""A real SLURM of one node in a temporary folder, with its own configuration, key and ports, without systemd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CONF = """ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
MinJobAge=10
KillWait=1
MaxArraySize={array}
SlurmdTimeout=20
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
"""


def missing() -> str:
    """Why SLURM cannot be raised here; empty if it can."""
    absent = [name for name in DAEMONS if shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None]
    if absent:
        return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "the daemons of SLURM need root"


@contextmanager
def raised(place: Path, cpus: int = 2, array: int = 1001, hidden: Path | None = None) -> Iterator[dict[str, str]]:
    """Raise it, and give the environment in which its commands work; end every daemon and job afterwards.

    The node does not see the folder `hidden`, as if it were on a disk of the caller's machine.
    """
    (place / "state").mkdir(parents=True)
    (place / "spool").mkdir()
    host = socket.gethostname()
    conf = place / "slurm.conf"
    conf.write_text(CONF.format(host=host, place=place, ports=_free_ports(2), cpus=cpus, array=array))
    key = place / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    environment = {**os.environ, "SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    files = {name: f"{place}/munge.{name}" for name in ("socket", "pid", "log", "seed")}
    munge = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={files['socket']}"]
    munge += [f"--pid-file={files['pid']}", f"--log-file={files['log']}", f"--seed-file={files['seed']}"]
    node = ["slurmd", "-D", "-c"]
    if hidden is not None:
        cover = 'mount -t tmpfs none "$0" && exec "$@"'
        node = ["unshare", "--mount", "--propagation=private", "sh", "-c", cover, str(hidden), *node]
    daemons: list[subprocess.Popen] = []
    try:
        for command in (munge, ["slurmctld", "-D", "-c"], node):
            with open(place / f"{len(daemons)}.out", "wb") as out:
                daemons.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))
            time.sleep(0.5)
        _await_idle(environment, place)
        yield environment
    finally:
        subprocess.run(["scancel", "--quiet", "--signal=KILL", "--user=root"], env=environment, capture_output=True)
        subprocess.run(["scancel", "--quiet", "--user=root"], env=environment, capture_output=True)
        _await(lambda: not squeue(environment), 15)
        subprocess.run(["scontrol", "shutdown"], env=environment, capture_output=True)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def squeue(environment: dict[str, str], fields: str = "%i %T") -> list[list[str]]:
    """The queue, a list of the fields of each job."""
    command = ["squeue", "--noheader", "--array", f"--format={fields}"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True)
    return [line.split() for line in said.stdout.splitlines()]


def restart_controller(environment: dict[str, str], seconds: float) -> None:
    """End the controller as a reboot of its machine would, and start it again after a while."""
    subprocess.run(["scontrol", "shutdown", "slurmctld"], env=environment, check=True, capture_output=True)
    time.sleep(seconds)
    subprocess.run(["slurmctld"], env=environment, check=True, capture_output=True)  # in the background


def _await_idle(environment: dict[str, str], place: Path) -> None:
    def idle() -> bool:
        said = subprocess.run(["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True)
        return said.stdout.strip() == "idle"

    if not _await(idle, 120):
        logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(place.glob("*.log")))
        raise RuntimeError(f"SLURM did not become idle:\n{logs}")


def _await(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return bool(condition())


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
