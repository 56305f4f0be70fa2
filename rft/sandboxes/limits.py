"""What every kind of sandbox lets a command use, and what a command finds around it."""

import math
import os
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from rft.errors import SandboxError
from rft.interfaces import StartState

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(kw_only=True)
class Limits:
    """The options of a sandbox. Sizes are bytes with an optional k, m or g."""

    boot: float = 120.0
    """Seconds that a sandbox may take to open, once what it is made of is there; longer is a recorded failure."""
    timeout: float = 30.0
    """Seconds a command may take by the clock."""
    cpu: float = 60.0
    """Seconds of CPU time that a command and all it starts may use."""
    memory: str = "1g"
    """What all processes of a command may hold together, files in the sandbox included where they lie in memory."""
    processes: int = 128
    """How many processes and threads may exist at once."""
    disk: str = "256m"
    """What may be written in the sandbox, everywhere together."""
    output: str = "64k"
    """What is kept of a command's output: half from its start, half from its end."""
    patch: str = "1m"
    """The largest patch that `diff` gives; a larger one is a SandboxError."""

    def __post_init__(self) -> None:
        if min(self.boot, self.timeout, self.cpu) <= 0 or self.processes < 8:
            raise ValueError("boot, timeout and cpu must be above 0 and processes at least 8")
        self.memory_bytes = size("memory", self.memory)
        self.disk_bytes = size("disk", self.disk)
        self.output_bytes = size("output", self.output)
        self.patch_bytes = size("patch", self.patch)

    def rlimits(self, *, has_groups: bool, shares_user: bool) -> list[tuple[int, int, int]]:
        """Resource, soft and hard limit for each process; without control groups they stand in for those.

        `shares_user`: processes outside the sandbox run under the same user, so that counting them would be wrong.
        """
        seconds = math.ceil(self.cpu)
        limits = [
            (resource.RLIMIT_CORE, 0, 0),
            (resource.RLIMIT_CPU, seconds, seconds + 1),
            (resource.RLIMIT_FSIZE, self.disk_bytes, self.disk_bytes),
            (resource.RLIMIT_NOFILE, 1024, 1024),
        ]
        if not has_groups:
            limits.append((resource.RLIMIT_AS, self.memory_bytes, self.memory_bytes))
            if not shares_user:
                limits.append((resource.RLIMIT_NPROC, self.processes, self.processes))
        return limits


def size(name: str, text: str) -> int:
    """Bytes of `64k`, `256m`, `1g` or a plain number. Raises ValueError."""
    found = re.fullmatch(r"(\d+)\s*([kmg]?)i?b?", str(text).strip().lower())
    if not found or int(found[1]) == 0:
        raise ValueError(f"{name} is '{text}'; expected a size such as 64k, 256m or 1g")
    return int(found[1]) * UNITS[found[2]]


def environment(home: str, temporary: str, *folders: str) -> dict[str, str]:
    """The environment of every command: nothing of the host's, nothing that differs from run to run."""
    return {
        "PATH": ":".join([*folders, "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": home,
        "TMPDIR": temporary,
        "USER": "agent",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
    }


def directory(start: StartState, kind: str) -> Path:
    """The directory that a sandbox without containers copies. Raises SandboxError where only an image has it."""
    if start.path is None:
        raise SandboxError(
            f"sandbox {kind}: the task's files are in the image '{start.image}'; "
            f"expected sandbox.use=docker or podman, or an environment that makes them of a repository."
        )
    return start.path.absolute()


def programs(start: StartState) -> list[str]:
    """The folder of programs that leads PATH, where the start state brings one."""
    return [str(path.absolute() / "bin") for path in start.software[:1]]


def interpreter() -> Path:
    """The Python that commands find as `python`: the one rft runs on, without its virtual environment."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))


def supervise(library: str) -> list[str]:
    """The command of a supervisor whose modules lie in `library`; imported, not run, so that its bytecode is used."""
    start = "import sys; sys.path.insert(0, sys.argv[1]); import supervisor; supervisor.main()"
    return [str(interpreter()), "-I", "-S", "-c", start, library]
