"""Commands in a container of docker or podman, through its command line; the supervisor runs inside as process 1.

The image is the task's, else the provider's. The container has no network, no rights, a read-only root, and of the
host only the start state, the software and the interpreter, read-only. The supervisor comes out through one socket that
is shown to it as a file, so the daemon must run on this machine.
"""

import functools
import importlib.util
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from rft.errors import SandboxError
from rft.interfaces import StartState
from rft.sandboxes import groups, seccomp
from rft.sandboxes.bubblewrap import HOME, SCRATCH, SCRATCH_BYTES, START, USER, WORK
from rft.sandboxes.limits import Limits, environment, interpreter, programs, size
from rft.sandboxes.session import Session

LIBRARY, CHANNEL, PYTHON, BIN = "/run/rft/lib", "/run/rft/channel", "/run/rft/python", "/run/rft/bin"
LIBRARIES = f"{PYTHON}/lib:{BIN}/lib"
LABEL = "rft.owner"
BOOT = 60.0
"""Seconds that a container may take until its supervisor calls."""
_ENTER = (
    "import os, socket, sys\n"
    "channel = socket.socket(socket.AF_UNIX)\n"
    f"channel.connect({CHANNEL!r})\n"
    "os.dup2(channel.fileno(), 0)\n"
    "channel.close()\n"
    f"sys.path.insert(0, {LIBRARY!r})\n"
    "import supervisor\n"
    "supervisor.main()\n"
)
_count = itertools.count()
_pulling = threading.Lock()


@dataclass(kw_only=True)
class Docker(Limits):
    """A container for each sandbox. Memory and processes are docker's to limit, CPU time each process's own.

    A command that the memory limit ends is told as ended by signal 9.
    """

    image: str = ""
    """The image of tasks that name none."""
    build: str = ""
    """A folder with a Dockerfile from which `image` is built when it is not there."""
    pull: bool = True
    """Pull an image that is not there; otherwise that is an error."""
    free: str = "10g"
    """Nothing is pulled or built when the disk of the temporary folder has less room than this."""
    user: str = f"{USER}:{USER}"
    """Who commands run as, in the container."""
    flags: list[str] = field(default_factory=list)
    """Passed to the program before its verb, such as `--cgroup-manager=cgroupfs`."""
    options: list[str] = field(default_factory=list)
    """Passed to `run`, such as `--runtime=runc`."""
    program: str = field(default="docker", init=False)
    _paths: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.free_bytes = size("free", self.free)

    def missing(self) -> str:
        """Asks the daemon, and removes containers that programs left behind which are gone."""
        if shutil.which(self.program) is None:
            return f"{self.program} is not installed; install it, or choose sandbox.use=bubblewrap"
        asked = self._call("version", "--format", "{{.Server.Version}}")
        if asked.returncode != 0:
            why = asked.stderr.strip().splitlines()[-1:] or ["no answer"]
            return f"{self.program} has no daemon that answers: {why[0]}; start it, or choose sandbox.use=bubblewrap"
        self.reap()
        return ""

    def open(self, start: StartState) -> Session:
        """A sandbox on a copy of the start state in a fresh container. Raises SandboxError."""
        image = start.image or self.image
        if not image:
            raise SandboxError(f"sandbox {self.program}: the task names no image; expected one in sandbox.image.")
        self._have(image)
        folder = Path(tempfile.mkdtemp(prefix=f"rft-{os.getpid()}-"))
        name = f"{groups.prefix()}{os.getpid()}-{next(_count)}"
        try:
            _lay_out_python(folder / "bin")
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(folder / "channel"))
                (folder / "channel").chmod(0o666)  # the folder above is ours alone
                listening.listen(1)
                process = subprocess.Popen(
                    [self.program, *self.flags, *self._run(name, image, start, folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                channel = self._called(listening, process, name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

        def after() -> None:
            self._remove(name)
            shutil.rmtree(folder, ignore_errors=True)

        session = Session(
            process,
            channel,
            self,
            kind=self.program,
            after=after,
            memory_kills=lambda: 0,
        )
        try:
            session.boot(self._settings(image, start), copy=True)
        except SandboxError:
            session.close()
            raise
        return session

    def reap(self) -> None:
        """Remove containers whose program is gone."""
        listed = self._call("ps", "-a", "--filter", f"label={LABEL}", "--format", '{{.ID}} {{.Label "' + LABEL + '"}}')
        for line in listed.stdout.splitlines():
            identity, _, owner = line.partition(" ")
            process = owner.removeprefix(groups.prefix())
            if process != owner and process.isdigit() and not Path(f"/proc/{process}").exists():
                self._remove(identity)

    # --- images ---

    def _have(self, image: str) -> None:
        """See to it that an image is there: one thread at a time builds or pulls."""
        if self._call("image", "inspect", image).returncode == 0:
            return
        with _pulling:
            if self._call("image", "inspect", image).returncode == 0:
                return
            room = shutil.disk_usage(tempfile.gettempdir()).free
            if room < self.free_bytes:
                raise SandboxError(
                    f"sandbox {self.program}: image '{image}' is not there and the disk has {room >> 20} MiB left; "
                    f"expected {self.free} (sandbox.free). Make room."
                )
            if self.build and image == self.image:
                made = self._call("build", "-q", "-t", image, self.build, within=3600)
            elif self.pull:
                made = self._call("pull", "-q", image, within=3600)
            else:
                raise SandboxError(f"sandbox {self.program}: image '{image}' is not there, and sandbox.pull is off.")
        if made.returncode != 0:
            last = " ".join(made.stderr.split())[-300:]
            raise SandboxError(f"sandbox {self.program}: image '{image}' cannot be had: {last}")

    # --- containers ---

    def _run(self, name: str, image: str, start: StartState, folder: Path) -> list[str]:
        """The arguments that start a container."""
        prefix = Path(sys.base_prefix).resolve()
        shown = {
            START: start.path.absolute(),
            LIBRARY: Path(__file__).parent,
            CHANNEL: folder / "channel",
            BIN: folder / "bin",
            PYTHON: prefix,
            **{str(path.absolute()): path.absolute() for path in start.software},
        }
        user, _, group = self.user.partition(":")
        owner = f"uid={user},gid={group or user}"
        arguments = ["run", "--rm", "--name", name, "--label", f"{LABEL}={groups.prefix()}{os.getpid()}"]
        arguments += ["--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"]
        arguments += ["--user", self.user, "--hostname", "sandbox", "--workdir", "/", "--pull", "never"]
        arguments += ["--env", f"LD_LIBRARY_PATH={LIBRARIES}"]
        arguments += ["--memory", str(self.memory_bytes), "--memory-swap", str(self.memory_bytes)]
        arguments += ["--pids-limit", str(self.processes), "--shm-size", str(self.disk_bytes)]
        for place in (WORK, "/tmp", HOME):
            arguments += ["--tmpfs", f"{place}:rw,exec,nosuid,nodev,size={self.disk_bytes},mode=755,{owner}"]
        arguments += ["--tmpfs", f"{SCRATCH}:rw,nosuid,nodev,size={SCRATCH_BYTES},mode=700,{owner}"]
        for target, source in shown.items():
            arguments += ["--volume", f"{source}:{target}" + ("" if target == CHANNEL else ":ro")]
        return [*arguments, *self.options, "--entrypoint", _python(), image, "-I", "-S", "-c", _ENTER]

    def _settings(self, image: str, start: StartState) -> dict[str, object]:
        path = self._path(image)
        return {
            "work": WORK,
            "start": START,
            "scratch": SCRATCH,
            "remove": "",
            "environment": environment(HOME, "/tmp", *programs(start), *path, BIN),
            "limits": self.rlimits(has_groups=True, shares_user=False),
            "join": [],
            "closed": seccomp.no_network(),
            "usage": None,
        }

    def _path(self, image: str) -> tuple[str, ...]:
        """Where the image looks for programs; asked once for each image."""
        if image not in self._paths:
            self._paths[image] = self._asked_path(image)
        return self._paths[image]

    def _asked_path(self, image: str) -> tuple[str, ...]:
        told = self._call("image", "inspect", "--format", "{{json .Config.Env}}", image)
        variables = json.loads(told.stdout or "null") or []
        path = next((value[5:] for value in variables if value.startswith("PATH=")), "")
        return tuple(folder for folder in path.split(":") if folder.startswith("/"))

    def _called(self, listening: socket.socket, process: "subprocess.Popen[bytes]", name: str) -> socket.socket:
        """The supervisor's call. Raises SandboxError when none comes."""
        deadline = time.monotonic() + BOOT
        listening.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                return listening.accept()[0]
            except TimeoutError:
                if process.poll() is not None:
                    break
        process.kill()
        self._remove(name)
        said = (process.stderr.read() if process.stderr else b"").decode(errors="replace")
        why = " ".join(said.split())[-300:] or f"its supervisor did not call within {BOOT:g} s"
        raise SandboxError(f"sandbox {self.program}: the container does not start: {why}")

    def _remove(self, name: str) -> None:
        self._call("rm", "-f", name)

    def _call(self, *arguments: str, within: float = 60) -> "subprocess.CompletedProcess[str]":
        command = [self.program, *self.flags, *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=within)
        except (OSError, subprocess.TimeoutExpired) as error:
            return subprocess.CompletedProcess(command, 1, "", str(error))


def _python() -> str:
    """This program's interpreter, where a container sees it."""
    return f"{PYTHON}/{interpreter().relative_to(Path(sys.base_prefix).resolve())}"


def _lay_out_python(folder: Path) -> None:
    """What `python` starts where an image has none, and the libraries that the interpreter takes from this system."""
    (folder / "lib").mkdir(parents=True)
    for library in _libraries():
        shutil.copy(library, folder / "lib")
    for name in ("python", "python3"):
        (folder / name).write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={LIBRARIES} exec {_python()} "$@"\n')
        (folder / name).chmod(0o755)


@functools.cache
def _libraries() -> list[Path]:
    """Shared libraries of the modules that a supervisor needs, beyond those of every C library."""
    found: set[Path] = set()
    for module in ("_ctypes", "zlib"):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.origin and Path(spec.origin).is_file():
            linked = subprocess.run(["ldd", spec.origin], capture_output=True, text=True, check=False).stdout
            found |= {Path(word) for word in linked.split() if word.startswith("/")}
    return sorted(
        path for path in found if not re.match(r"(?:ld-|libc\.|libm\.|libdl|libpthread|libpython)", path.name)
    )


@dataclass(kw_only=True)
class Podman(Docker):
    """The same with podman, which needs no daemon."""

    program: str = field(default="podman", init=False)

    def missing(self) -> str:
        """Asks podman what it is, and removes containers that programs left behind which are gone."""
        if shutil.which(self.program) is None:
            return f"{self.program} is not installed; install it, or choose sandbox.use=bubblewrap"
        asked = self._call("info", "--format", "{{.Host.OCIRuntime.Name}}")
        if asked.returncode != 0:
            return f"podman does not work here: {' '.join(asked.stderr.split())[-200:]}; choose sandbox.use=bubblewrap"
        self.reap()
        return ""
