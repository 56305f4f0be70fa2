"""A Slurm of Debian's packages for a test: munged, slurmctld and two slurmd on this machine, all in one folder."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
NODES = ("one", "two")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=20
KillWait=5
MessageTimeout=30
MailProg=/bin/true
SlurmdParameters=config_overrides
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={one} CPUs=4 RealMemory=1000
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={two} CPUs=4 RealMemory=1000
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Which of Slurm's programs are not here, in words; empty when all are and it can run as root."""
    if os.geteuid() != 0:
        return "slurmd starts jobs only as root"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"no {', '.join(absent)}; Debian: apt-get install slurmctld slurmd slurm-client munge" if absent else ""


class Slurm:
    """The daemons, and what a user types."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    @contextlib.contextmanager
    def up(self) -> Iterator["Slurm"]:
        """Start everything; at the end nothing of it, and nothing that its jobs started, is left."""
        self._configure()
        try:
            self._start("munged", "--foreground", "--force", *self._munge_files())
            self.wait_for(lambda: (self.folder / "munge.socket").exists(), 20)
            self._start("slurmctld", "-D", "-c", "-i")
            for node in NODES:
                self.start_node(node)
            self.wait_for(lambda: self._idle() == len(NODES), 60)
            yield self
        finally:
            _kill(self._started)
            for process in self.daemons.values():
                process.wait()

    def start_node(self, node: str) -> None:
        """Start a node's slurmd, or start it again."""
        self._start("slurmd", "-D", "-N", node, name=node)

    def kill_node(self, node: str) -> None:
        """kill -9 of a node's slurmd and all that its jobs run there, as when the machine goes."""
        _kill(lambda: self._on(node))
        self.daemons[node].wait()

    def submit(self, script: Path) -> str:
        """The id of the job."""
        return self.run("sbatch", "--parsable", str(script)).strip()

    def job(self, number: str) -> dict[str, str]:
        """What scontrol says of a job."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.partition("=")[::2] for word in words if "=" in word)

    def wait_for(self, ready: Callable[[], Any], seconds: float) -> None:
        """Raises AssertionError with the daemons' words when it does not come about."""
        limit = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < limit, "\n".join(
                f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in self.folder.glob("*.log")
            )
            time.sleep(0.2)

    def run(self, *command: str) -> str:
        """One of Slurm's commands."""
        done = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def _configure(self) -> None:
        (self.folder / "state").mkdir(parents=True)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        control, one, two = _free_ports(3)
        host = socket.gethostname().partition(".")[0]
        text = CONFIG.format(folder=self.folder, host=host, user="root", control=control, one=one, two=two)
        (self.folder / "slurm.conf").write_text(text)

    def _munge_files(self) -> list[str]:
        names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "munge.log"}
        return [f"--{option}={self.folder / f'munge.{name}'}" for option, name in names.items()]

    def _start(self, program: str, *arguments: str, name: str = "") -> None:
        name = name or program
        with (self.folder / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [shutil.which(program, path=_path()) or program, *arguments],
                env=self.environment | {"TEST_NODE": str(self.folder / name)},
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def _started(self) -> list[int]:
        return _processes(f"SLURM_CONF={self.folder / 'slurm.conf'}")

    def _on(self, node: str) -> list[int]:
        """slurmd and slurmstepd have the one variable, what they run has the other."""
        words = (f"TEST_NODE={self.folder / node}", f"SLURMD_NODENAME={node}")
        there = {one for word in words for one in _processes(word)}
        return [one for one in self._started() if one in there]

    def _idle(self) -> int:
        done = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%t"], env=self.environment, capture_output=True, text=True
        )
        return done.stdout.split().count("idle")


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]


def _kill(find: Callable[[], list[int]]) -> None:
    """SIGKILL until none is found: those that were being started are found the next time."""
    while found := find():
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def _processes(word: str) -> list[int]:
    """Those that have a variable with this value in their environment; a zombie has none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
