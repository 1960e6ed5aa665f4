"""A real Slurm on the loopback interface: a controller and two nodes, each a ``slurmd`` of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.serving.loopback import free_port, only_loopback

PROGRAMS = ("munged", "slurmctld", "slurmd", "scontrol", "sbatch", "squeue", "sinfo")
NODES = ("n1", "n2")

_CONFIG = """
ClusterName=loopback
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
JobRequeue=1
ReturnToService=2
SlurmdTimeout=4
MessageTimeout=2
TCPTimeout=1
KillWait=1
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
{nodes}
PartitionName=chest Nodes=n1,n2 Default=YES State=UP MaxTime=INFINITE
"""


def why_not() -> str | None:
    """Why no cluster can be started here; None where one can."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None and not Path("/usr/sbin", name).exists()]:
        return f"needs slurm-wlm and munge (lacks {', '.join(missing)})"
    return None if os.geteuid() == 0 else "needs root, for munge and a network namespace"


class Cluster:
    """A running cluster.

    Args:
        folder: For configuration, state and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        (self.folder / "state").mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        nodes = "\n".join(
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={free_port()} CPUs=1 RealMemory=4000"
            for name in NODES
        )
        text = _CONFIG.format(folder=self.folder, controller=free_port(), nodes=nodes)
        (self.folder / "slurm.conf").write_text(text)
        files = [f"--{name}={self.folder}/munge.{name}" for name in ("socket", "pid-file", "seed-file", "log-file")]
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", *files)
        _until(lambda: (self.folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D")
        for name in NODES:
            self._daemon("slurmd", "-D", "-N", name, name=name)
        _until(lambda: self.states() == {"n1": "idle", "n2": "idle"})

    def states(self) -> dict[str, str]:
        """State of each node; empty while the controller does not answer."""
        asked = subprocess.run(["sinfo", "-h", "-N", "-o", "%N %T"], capture_output=True, text=True, timeout=30)
        return dict(line.split()[:2] for line in asked.stdout.splitlines())

    def kill_node(self, name: str) -> None:
        """What a power cut does: the daemon and all that it has begun are gone at once.

        They are stopped first, so that none lives to report the end of another.
        """
        gone = {psutil.Process(self.daemons[name].pid)}
        for process in psutil.process_iter():
            if self._is_of(process, name):
                with suppress(psutil.Error):
                    gone |= {process, *(one for one in process.parents() if one.name().startswith("slurmstepd"))}
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for one in gone:
                with suppress(psutil.Error):
                    one.send_signal(number)
        self.daemons.pop(name).wait()

    def stop(self) -> None:
        for name in list(self.daemons):
            if name in NODES:
                self.kill_node(name)
        for daemon in reversed(self.daemons.values()):
            daemon.kill()
            daemon.wait()

    def _is_of(self, process: psutil.Process, node: str) -> bool:
        """Whether a process belongs to a job on a node; the daemons of its steps leave the process tree."""
        with suppress(psutil.Error):
            environment = process.environ()
            here = environment.get("SLURM_CONF") == str(self.folder / "slurm.conf")
            return here and environment.get("SLURMD_NODENAME") == node
        return False

    def _daemon(self, program: str, *options: str, name: str | None = None) -> None:
        path = shutil.which(program) or f"/usr/sbin/{program}"
        with (self.folder / f"{name or program}.out").open("wb") as out:
            self.daemons[name or program] = subprocess.Popen([path, *options], stdout=out, stderr=out)


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster in a network namespace of this thread.

    Raises:
        OSError: The system does not allow it.
    """
    before = os.environ.get("SLURM_CONF")
    with only_loopback():
        # Where there is no address but 127.0.0.1, glibc finds none to listen on; this one is reached from here alone.
        subprocess.run(["ip", "address", "add", "192.0.2.1/32", "dev", "lo"], check=True)
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        cluster = Cluster(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            os.environ.pop("SLURM_CONF")
            if before is not None:
                os.environ["SLURM_CONF"] = before


def _until(holds: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError("the cluster does not start")
        time.sleep(0.2)
