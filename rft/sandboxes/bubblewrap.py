"""Commands in a bubblewrap sandbox: no network, nothing of the host but a read-only system, a throw-away overlay.

Two ways lead in. As root, a thread with its own mount namespace lays an overlay of the start state and hands it to
`bwrap`, which runs as a user that owns nothing on this machine: a sandbox of root's own user, without any right,
could still write kernel parameters. Where owners cannot be mapped, the start state is copied instead of overlaid.
As anyone else, `bwrap` runs as that user, the start state is copied into memory, and the disk limit holds for each
writable place by itself. Inside, both look the same.
"""

import contextlib
import functools
import logging
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rft.errors import SandboxError
from rft.interfaces import StartState
from rft.sandboxes import groups, mounts, seccomp
from rft.sandboxes.limits import Limits, directory, environment, interpreter, programs, supervise
from rft.sandboxes.session import Session

log = logging.getLogger(__name__)

WORK, HOME = "/testbed", "/home/agent"
START, LIBRARY, SCRATCH, BIN = "/run/rft/start", "/run/rft/lib", "/run/rft/scratch", "/run/rft/bin"
USER = 1000
STRANGER = 1_100_000_000
"""Host users from here on own nothing; each program that opens sandboxes takes one of them."""
ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "magic")
FILES = {
    "/etc/passwd": f"agent:x:{USER}:{USER}:agent:{HOME}:/bin/bash\n",
    "/etc/group": f"agent:x:{USER}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
SCRATCH_BYTES = 192 << 20
sysconfig.get_config_vars()  # filled here, by one thread: two that come to it first at once find half of it


@dataclass(kw_only=True)
class Bubblewrap(Limits):
    """A sandbox that holds against a command that wants out; see the escape suite in its tests.

    Memory, processes and CPU time are limited by control groups of either version where they can be written, else
    for each process by resource limits.
    """

    readable: list[str] = field(default_factory=list)
    """More directories that commands may read, at their own paths."""

    def missing(self) -> str:
        """Really opens a sandbox, once in a program."""
        return _probe()

    def open(self, start: StartState) -> Session:
        """A sandbox on an overlay or a copy of the start state. Raises SandboxError."""
        directory(start, "bubblewrap")  # raises here, before there is a thread
        try:
            group = groups.make(self.memory_bytes, self.processes)
        except OSError as error:
            raise SandboxError(f"sandbox bubblewrap: no control group ({error}).") from None
        try:
            return self._open(start, group)
        except (SandboxError, OSError) as error:
            group.remove()
            if isinstance(error, SandboxError):
                raise
            raise SandboxError(f"sandbox bubblewrap: cannot be opened ({error}).") from None

    def _open(self, start: StartState, group: groups.Group) -> Session:
        ours, theirs = socket.socketpair()
        way = Way()
        keeper = Keeper(functools.partial(self._start, start, group, theirs, way))
        try:
            process = keeper.start()
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        settings = {
            "work": WORK,
            "start": START,
            "scratch": SCRATCH,
            "remove": "",
            "environment": environment(HOME, "/tmp", *programs(start), BIN, str(interpreter().parent)),
            "limits": self.rlimits(has_groups=bool(group.folders), shares_user=False),
            "join": list(group.members),
            "closed": seccomp.no_network(),
            "usage": group.usage,
        }
        group.release()
        session = Session(process, ours, self, kind="bubblewrap", after=group.remove, memory_kills=group.memory_kills)
        try:
            session.boot(settings, copy=not way.is_overlaid)
        except SandboxError:
            session.close()
            raise
        return session

    def _start(
        self, start: StartState, group: groups.Group, channel: socket.socket, way: "Way"
    ) -> "subprocess.Popen[bytes]":
        """Start bwrap from the calling thread, which stays until bwrap ends."""
        prefix = Path(sys.base_prefix).resolve()
        start_state = directory(start, "bubblewrap")
        readable = [prefix, *map(Path, self.readable), *(path.absolute() for path in start.software)]
        shown = [str(path) for path in dict.fromkeys(readable) if not path.is_relative_to("/usr")]
        wrapper: list[str] = []
        place: list[str] = []
        if os.geteuid() == 0:
            sources = self._stage(start_state, shown, way)
            wrapper = as_stranger(stranger())
            place += [
                "--bind",
                str(mounts.STAGE / "work") if way.is_overlaid else str(mounts.STAGE / "disk/work"),
                WORK,
            ]
            for name, target in (("tmp", "/tmp"), ("shm", "/dev/shm"), ("home", HOME)):
                place += ["--bind", str(mounts.STAGE / "disk" / name), target]
        else:
            sources = {START: str(start_state), LIBRARY: str(Path(__file__).parent)} | {path: path for path in shown}
            for target in (WORK, "/tmp", "/dev/shm", HOME):
                place += ["--size", str(self.disk_bytes), "--tmpfs", target]
        with Descriptors() as data:
            arguments = [*wrapper, "bwrap", *system(data), *place]
            for target, source in sources.items():
                arguments += ["--ro-bind", source, target]
            arguments += hide_packages(prefix)
            arguments += ["--size", str(SCRATCH_BYTES), "--tmpfs", SCRATCH]
            arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]
            arguments += ["--seccomp", str(data("seccomp", seccomp.program()))]
            arguments += ["--", *supervise(LIBRARY)]
            return subprocess.Popen(
                arguments,
                stdin=channel.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
                cwd="/",
                pass_fds=[*data.made, *group.descriptors()],
            )

    def _stage(self, start_state: Path, shown: list[str], way: "Way") -> dict[str, str]:
        """Lay out, as root, what the stranger's bwrap will bind; target to source."""
        stage, disk = mounts.STAGE, mounts.STAGE / "disk"
        mounts.enter_namespace()
        pieces = {path: mounts.piece(Path(path)) for path in shown}
        pieces[LIBRARY] = mounts.piece(Path(__file__).parent)
        try:
            status = start_state.stat()
            pieces[START] = mounts.piece(start_state, mounts.owner_map(status.st_uid, status.st_gid, stranger()))
            way.is_overlaid = True
        except OSError as error:
            log.info("sandbox bubblewrap: owners cannot be mapped (%s); the start state is copied", error)
            pieces[START] = mounts.piece(start_state)
        mounts.mount("tmpfs", stage, "mode=755")
        mounts.mount("tmpfs", disk, f"size={self.disk_bytes},nr_inodes={max(4096, self.disk_bytes >> 12)},mode=755")
        sources = {}
        for number, (target, tree) in enumerate(pieces.items()):
            sources[target] = str(stage / str(number))
            mounts.lay(tree, stage / str(number))
        for name in ("upper", "overlay", "work", "tmp", "shm", "home"):
            (disk / name).mkdir()
            os.chown(disk / name, stranger(), stranger())
        if way.is_overlaid:
            layers = f"lowerdir={sources[START]},upperdir={disk}/upper,workdir={disk}/overlay"
            mounts.mount("overlay", stage / "work", layers)
        else:
            sources[START] = str(give(Path(sources[START]), stage / "given"))
        return sources


@dataclass
class Way:
    """How a sandbox was opened."""

    is_overlaid: bool = False
    """The working directory is an overlay; otherwise the supervisor fills it."""


class Keeper:
    """A thread that starts a process and stays until it ends.

    Two things hang on the thread that starts bwrap and not on the program: the mount namespace, and the death of
    the sandbox with its parent.
    """

    def __init__(self, start: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        self._start = start
        self._thread = threading.Thread(target=self._keep, name="sandbox", daemon=True)
        self._started = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._error: OSError | None = None

    def start(self) -> "subprocess.Popen[bytes]":
        """The process. Raises OSError when it could not be started."""
        self._thread.start()
        self._started.wait()
        if self._process is None:
            raise self._error or OSError("the sandbox did not start")
        return self._process

    def _keep(self) -> None:
        try:
            self._process = self._start()
        except OSError as error:
            self._error = error
        finally:
            self._started.set()
        if self._process is not None:
            with contextlib.suppress(ChildProcessError):  # its owner was quicker to reap it
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)


class Descriptors:
    """Descriptors of bytes in memory, for a program's arguments; closed at the end of the block."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __enter__(self) -> "Descriptors":
        return self

    def __call__(self, name: str, content: bytes) -> int:
        """A descriptor from which `content` can be read."""
        descriptor = os.memfd_create(name)
        self.made.append(descriptor)
        os.pwrite(descriptor, content, 0)
        return descriptor

    def __exit__(self, *_: object) -> None:
        for descriptor in self.made:
            os.close(descriptor)


def system(data: Descriptors) -> list[str]:
    """Arguments of bwrap for what all sandboxes share: namespaces, no rights, a bare read-only system."""
    arguments = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"]
    arguments += ["--unshare-cgroup-try", "--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    arguments += ["--uid", str(USER), "--gid", str(USER), "--hostname", "sandbox", "--ro-bind", "/usr", "/usr"]
    for path in map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64")):
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            arguments += ["--ro-bind", str(path), str(path)]
    for name in ETC:
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for file, text in FILES.items():
        arguments += ["--ro-bind-data", str(data(file, text.encode())), file]
    for name in ("python", "python3"):
        arguments += ["--symlink", str(interpreter()), f"{BIN}/{name}"]
    return [*arguments, "--proc", "/proc", "--dev", "/dev"]


def hide_packages(prefix: Path) -> list[str]:
    """Arguments of bwrap that cover the packages installed for this Python with nothing."""
    found = {sysconfig.get_path("purelib", scheme, {"base": str(prefix)}) for scheme in sysconfig.get_scheme_names()}
    arguments: list[str] = []
    for path in sorted(path for path in found if Path(path).is_relative_to(prefix) and Path(path).is_dir()):
        arguments += ["--tmpfs", path, "--remount-ro", path]
    return arguments


def stranger() -> int:
    """The host user that this program's sandboxes run as when root opens them."""
    return STRANGER + os.getpid()


def give(source: Path, place: Path) -> Path:
    """A copy of a directory that belongs to the stranger. Raises OSError."""
    for command in (
        ["cp", "-a", "--", str(source), str(place)],
        ["chown", "-hR", f"{stranger()}:{stranger()}", str(place)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{command[0]}: {done.stderr.strip()[-200:]}")
    return place


def as_stranger(user: int) -> list[str]:
    """A command in front of another that makes it run as `user` with no groups."""
    return ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "--"]


@functools.cache
def _probe() -> str:
    for program, package in (("bwrap", "bubblewrap"), ("git", "git"), ("bash", "bash"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            return f"{program} is not installed; run `apt-get install {package}`, or choose sandbox.use=local"
    try:
        seccomp.program()
        with tempfile.TemporaryDirectory() as folder:
            sandbox = Bubblewrap(timeout=20).open(StartState(Path(folder)))
            try:
                done = sandbox.run("true")
            finally:
                sandbox.close()
    except (SandboxError, NotImplementedError) as error:
        return f"bubblewrap does not work here: {str(error).rstrip('.')}; choose sandbox.use=local for trusted models"
    return "" if done.exit_code == 0 else f"bubblewrap cannot run a command: {done.output.strip()[-200:]}"
