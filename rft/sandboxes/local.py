"""Commands in a temporary directory of this machine: quick, for tests and trusted models, no security boundary."""

import logging
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rft.errors import SandboxError
from rft.interfaces import StartState
from rft.sandboxes import groups
from rft.sandboxes.limits import Limits, directory, environment, interpreter, programs, supervise
from rft.sandboxes.session import Session

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Local(Limits):
    """A copy of the start state in a temporary directory; commands run as the user who runs rft.

    It is no security boundary: a command can read and change whatever that user can. Time, CPU time and output
    are limited always; memory and processes only where control groups are writable; the disk only by the size of
    one file.
    """

    def missing(self) -> str:
        """Bash and git must be there. Warns, once, of what this sandbox is not."""
        for program, package in (("bash", "bash"), ("git", "git")):
            if shutil.which(program) is None:
                return f"{program} is not installed; run `apt-get install {package}`"
        _warn()
        return ""

    def open(self, start: StartState) -> Session:
        """A sandbox on a copy of the start state. Raises SandboxError."""
        source = directory(start, "local")
        group = groups.make(self.memory_bytes, self.processes)
        root = Path(tempfile.mkdtemp(prefix=f"rft-{os.getpid()}-"))
        for name in ("work", "tmp", "home", "scratch", "bin"):
            (root / name).mkdir()
        for name in ("python", "python3"):
            (root / "bin" / name).symlink_to(interpreter())
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                supervise(str(Path(__file__).parent)),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                start_new_session=True,
                pass_fds=group.descriptors(),
            )

        def after() -> None:
            group.remove()
            shutil.rmtree(root, ignore_errors=True)

        session = Session(process, ours, self, kind="local", after=after, memory_kills=group.memory_kills)
        settings = {
            "work": str(root / "work"),
            "start": str(source),
            "scratch": str(root / "scratch"),
            "remove": str(root),
            "environment": environment(
                str(root / "home"), str(root / "tmp"), *programs(start), str(root / "bin"), str(interpreter().parent)
            ),
            "limits": self.rlimits(has_groups=bool(group.folders), shares_user=True),
            "join": list(group.members),
            "closed": b"",
            "usage": group.usage,
        }
        group.release()
        try:
            session.boot(settings, copy=True)
        except SandboxError:
            session.close()
            raise
        return session


_warned: list[bool] = []


def _warn() -> None:
    if not _warned:
        _warned.append(True)
        log.warning(
            "sandbox local: no security boundary; commands can do whatever the user who runs rft can. "
            "Use sandbox.use=bubblewrap for models that are not trusted."
        )
