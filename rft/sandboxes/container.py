"""Commands in a container of docker or podman, through its command line; the supervisor runs inside as process 1.

The image is the task's, else the provider's. The container has no network, no rights, a read-only root, and of the
host only the start state, the software and the interpreter, read-only. The supervisor comes out through one socket that
is shown to it as a file, so the daemon must run on this machine.
"""

import dataclasses
import functools
import importlib.util
import itertools
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rft.errors import SandboxError
from rft.interfaces import StartState
from rft.sandboxes import groups, seccomp
from rft.sandboxes.bubblewrap import HOME, SCRATCH, SCRATCH_BYTES, START, USER, WORK
from rft.sandboxes.images import Client, LocalImage, Source
from rft.sandboxes.limits import Limits, directory, environment, interpreter, programs, size
from rft.sandboxes.session import Session

LIBRARY, CHANNEL, PYTHON, BIN = "/run/rft/lib", "/run/rft/channel", "/run/rft/python", "/run/rft/bin"
LIBRARIES = f"{PYTHON}/lib:{BIN}/lib"
LABEL = "rft.owner"
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


@dataclass(kw_only=True)
class Docker(Limits):
    """A container for each sandbox. Memory and processes are docker's to limit, CPU time each process's own."""

    image: str = ""
    """The image of tasks that name none."""
    build: str = ""
    """A folder with a Dockerfile from which `image` is built when it is not there."""
    pull: bool = True
    """Pull an image that is not there; otherwise that is an error."""
    free: str = "10g"
    """Nothing is pulled or built when the disk that images lie on has less room than this."""
    user: str = f"{USER}:{USER}"
    """Who commands run as, in the container."""
    flags: list[str] = field(default_factory=list)
    """Passed to the program before its verb, such as `--host=unix:///run/other.sock` or podman's `--runtime=runc`."""
    options: list[str] = field(default_factory=list)
    """Passed to its verb `run`, such as `--ulimit=nofile=1024:1024`."""
    program: str = field(default="docker", init=False)
    _paths: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.client = Client(self.program, self.flags)
        self.source = Source(self.client, self._folder, self.pull, size("free", self.free))

    def plan(self, images: Sequence[str]) -> str:
        """Which images are here, which are to come, and the room for them; `image` for tasks that name none."""
        named = list(dict.fromkeys(image for image in (image or self.image for image in images) if image))
        if named and self.missing():
            return f"{len(named)} named, such as {named[-1]}; which of them are here is not known"
        return self.source.plan(named)

    def fetch(self, images: Sequence[str]) -> None:
        """Pull or build what is not here. Raises SandboxError when the disk is full to the watermark."""
        self.source.fetch([image for image in (image or self.image for image in images) if image])

    def missing(self) -> str:
        """Asks the daemon, and removes containers that programs left behind which are gone."""
        if shutil.which(self.program) is None:
            return f"{self.program} is not installed; install it, or choose sandbox.use=bubblewrap"
        asked = self.client("version", "--format", "{{.Server.Version}}")
        if asked.returncode != 0:
            why = asked.stderr.strip().splitlines()[-1:] or ["no answer"]
            return f"{self.program} has no daemon that answers: {why[0]}; start it, or choose sandbox.use=bubblewrap"
        self.reap()
        return ""

    def open(self, start: StartState) -> Session:
        """A sandbox on a copy of the start state in a fresh container. Raises SandboxError."""
        image = start.image or self.image
        if not image:
            raise self.client.fault("the task names no image; expected one in sandbox.image.")
        self.source.have(image)
        local = LocalImage(self.client, image)
        start = dataclasses.replace(start, path=start.path if start.unpack is None else start.unpack(local))
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
                    cwd=folder,  # podman's monitor leaves a file where it stands when memory runs out
                )
                channel = self._called(listening, process, name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

        def after() -> None:
            self._remove(name)
            shutil.rmtree(folder, ignore_errors=True)

        kills = groups.watch(_caller(channel)).memory_kills
        session = Session(process, channel, self, kind=self.program, after=after, memory_kills=kills)
        try:
            session.boot(self._settings(local, start), copy=True)
        except SandboxError:
            session.close()
            raise
        return session

    def reap(self) -> None:
        """Remove containers whose program is gone."""
        listed = self.client("ps", "-a", "--filter", f"label={LABEL}", "--format", "{{.ID}} {{.Labels}}")
        owned = re.compile(rf"{re.escape(LABEL)}[=:]{re.escape(groups.prefix())}(\d+)")
        for line in listed.stdout.splitlines():
            owner = owned.search(line)
            if owner and not Path(f"/proc/{owner[1]}").exists():
                self._remove(line.split()[0])

    # --- containers ---

    def _run(self, name: str, image: str, start: StartState, folder: Path) -> list[str]:
        """The arguments that start a container."""
        prefix = Path(sys.base_prefix).resolve()
        shown = {
            START: directory(start, self.program),
            LIBRARY: Path(__file__).parent,
            CHANNEL: folder / "channel",
            BIN: folder / "bin",
            PYTHON: prefix,
            **{str(path.absolute()): path.absolute() for path in start.software},
        }
        arguments = ["run", "--rm", "--name", name, "--label", f"{LABEL}={groups.prefix()}{os.getpid()}"]
        arguments += ["--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--read-only"]
        arguments += ["--user", self.user, "--hostname", "sandbox", "--workdir", "/", "--pull", "never"]
        arguments += ["--env", f"LD_LIBRARY_PATH={LIBRARIES}"]
        arguments += ["--memory", str(self.memory_bytes), "--memory-swap", str(self.memory_bytes)]
        arguments += ["--pids-limit", str(self.processes), "--shm-size", str(self.disk_bytes)]
        for place in (WORK, "/tmp", HOME):
            arguments += ["--tmpfs", f"{place}:rw,exec,nosuid,nodev,size={self.disk_bytes},mode=755,{self._owner()}"]
        for place in start.covered:
            arguments += ["--tmpfs", f"{place}:ro,size=4k,mode=755"]
        arguments += ["--tmpfs", f"{SCRATCH}:rw,nosuid,nodev,size={SCRATCH_BYTES},mode=700,{self._owner()}"]
        for target, source in shown.items():
            arguments += ["--volume", f"{source}:{target}" + ("" if target == CHANNEL else ":ro")]
        return [*arguments, *self.options, "--entrypoint", _python(), image, "-I", "-S", "-c", _ENTER]

    def _owner(self) -> str:
        """The mount option that makes a place in memory belong to who runs the commands."""
        user, _, group = self.user.partition(":")
        return f"uid={user},gid={group or user}"

    def _settings(self, image: LocalImage, start: StartState) -> dict[str, object]:
        if image.name not in self._paths:
            self._paths[image.name] = image.programs()
        return {
            "work": WORK,
            "start": START,
            "scratch": SCRATCH,
            "remove": "",
            "environment": environment(HOME, "/tmp", *programs(start), *start.programs, *self._paths[image.name], BIN),
            "limits": self.rlimits(has_groups=True, shares_user=False),
            "join": [],
            "closed": seccomp.no_network(),
            "usage": None,
        }

    def _folder(self, image: str) -> str:
        """Where an image is built; empty for one that is not ours to build."""
        return self.build if image == self.image else ""

    def _called(self, listening: socket.socket, process: "subprocess.Popen[bytes]", name: str) -> socket.socket:
        """The supervisor's call. Raises SandboxError when none comes."""
        deadline = time.monotonic() + self.boot
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
        why = " ".join(said.split())[-300:] or f"its supervisor did not call within the {self.boot:g} s of sandbox.boot"
        raise self.client.fault(f"the container does not start: {why}")

    def _remove(self, name: str) -> None:
        self.client("rm", "-f", name)


def _caller(channel: socket.socket) -> int:
    """The process at the other end, as this machine counts it; 0 where it cannot be seen from here."""
    credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[0])


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
        """Really starts a container, without an image, and removes those that programs left behind which are gone."""
        if shutil.which(self.program) is None:
            return f"{self.program} is not installed; install it, or choose sandbox.use=bubblewrap"
        problem = self._starts(self.flags, self.options)
        if not problem:
            self.reap()
            return ""
        for flags, options in itertools.product(([], _RUNTIME), ([], _LIMITS)):
            if not self._starts([*self.flags, *flags], [*self.options, *options]):
                more = [f"sandbox.flags=[{','.join(flags)}]"] if flags else []
                more += [f"sandbox.options=[{','.join(options)}]"] if options else []
                return f"podman starts no container here ({problem}); it does with {' and '.join(more)}"
        return f"podman starts no container here ({problem}); choose sandbox.use=bubblewrap"

    def _owner(self) -> str:
        return "U"

    def _starts(self, flags: list[str], options: list[str]) -> str:
        """What keeps a container from starting; empty when it fails for nothing but the program that is not in it."""
        with tempfile.TemporaryDirectory() as root:
            ask = ["run", "--rm", "--network", "none", *options, "--rootfs", root, "/none"]
            done = Client(self.program, flags)(*ask)
        return "" if done.returncode == 127 else " ".join(done.stderr.split())[-200:] or "no answer"


_RUNTIME = ["--runtime=runc"]
"""Starts containers where control groups of both versions are mounted at once."""
_LIMITS = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096"]
"""Limits that a process may set which has no right to raise its own."""
