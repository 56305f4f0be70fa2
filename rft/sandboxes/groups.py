"""Control groups: limits on all processes of a sandbox together, in whichever version of cgroups can be written."""

import contextlib
import functools
import itertools
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

_count = itertools.count()


@dataclass
class Group:
    """The control groups of one sandbox; empty where none can be had."""

    folders: list[Path] = field(default_factory=list)
    members: list[int] = field(default_factory=list)
    """Descriptors of the member lists: who writes 0 there joins."""
    usage: int | None = None
    """Descriptor of the CPU time used so far."""
    events: Path | None = None
    """The file that counts processes killed for memory."""

    def memory_kills(self) -> int:
        """How many processes the memory limit has killed so far."""
        if self.events is None:
            return 0
        with contextlib.suppress(OSError):
            for line in self.events.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def descriptors(self) -> list[int]:
        """What the supervisor needs to have open."""
        return [*self.members, *([] if self.usage is None else [self.usage])]

    def release(self) -> None:
        """Close the descriptors; the supervisor has its own by now."""
        for descriptor in self.descriptors():
            os.close(descriptor)
        self.members, self.usage = [], None

    def remove(self) -> None:
        """Take the groups away. The kernel refuses for a moment after the last process ended."""
        self.release()
        for folder in self.folders:
            for _ in range(100):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)


@dataclass(frozen=True)
class Hierarchy:
    """Where groups can be made: version 2, or one folder for each controller of version 1."""

    version: int
    folders: dict[str, Path]

    def make(self, memory: int, processes: int) -> Group:
        """A group with its limits set. Raises OSError."""
        name = f"{prefix()}{os.getpid()}-{next(_count)}"
        group = Group()
        try:
            if self.version == 2:
                self._make_2(group, self.folders["unified"] / name, memory, processes)
            else:
                self._make_1(group, name, memory, processes)
        except OSError:
            group.remove()
            raise
        return group

    def _make_2(self, group: Group, folder: Path, memory: int, processes: int) -> None:
        folder.mkdir()
        group.folders.append(folder)
        _put(folder / "memory.max", memory)
        with contextlib.suppress(OSError):  # absent where the kernel counts no swap
            _put(folder / "memory.swap.max", 0)
        _put(folder / "pids.max", processes)
        group.members.append(os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        group.usage = os.open(folder / "cpu.stat", os.O_RDONLY | os.O_CLOEXEC)
        group.events = folder / "memory.events"

    def _make_1(self, group: Group, name: str, memory: int, processes: int) -> None:
        for folder in dict.fromkeys(self.folders.values()):
            (folder / name).mkdir()
            group.folders.append(folder / name)
            group.members.append(os.open(folder / name / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        _put(self.folders["memory"] / name / "memory.limit_in_bytes", memory)
        with contextlib.suppress(OSError):  # absent where the kernel counts no swap
            _put(self.folders["memory"] / name / "memory.memsw.limit_in_bytes", memory)
        _put(self.folders["pids"] / name / "pids.max", processes)
        group.events = self.folders["memory"] / name / "memory.oom_control"
        if "cpuacct" in self.folders:
            group.usage = os.open(self.folders["cpuacct"] / name / "cpuacct.usage", os.O_RDONLY | os.O_CLOEXEC)

    def reap(self) -> None:
        """Remove what processes left behind that were killed before they could."""
        for folder in dict.fromkeys(self.folders.values()):
            for left in folder.glob(f"{prefix()}*-*"):
                owner = left.name.removeprefix(prefix()).split("-")[0]
                if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                    with contextlib.suppress(OSError):
                        left.rmdir()


def watch(process: int) -> Group:
    """The control group that a process on this machine is in, to ask what was killed there; empty when it is not known.

    It belongs to someone else, such as docker, and is not removed.
    """
    try:
        own = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{process}/cgroup").read_text().splitlines())
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except (OSError, ValueError):
        return Group()
    for hierarchy in candidates(mounts, own):
        folder = hierarchy.folders.get("memory") or hierarchy.folders["unified"]
        for name in ("memory.events", "memory.oom_control"):
            if (folder / name).is_file():
                return Group(events=folder / name)
    return Group()


def prefix() -> str:
    """What names of groups begin with: process numbers mean something in one process namespace only."""
    return f"rft-{os.stat('/proc/self/ns/pid').st_ino}-"  # noqa: PTH116


def make(memory: int, processes: int) -> Group:
    """A group with its limits set, or an empty one where control groups cannot be written."""
    hierarchy = available()
    if hierarchy is None:
        return Group()
    return hierarchy.make(memory, processes)


@functools.cache
def available() -> Hierarchy | None:
    """Where this process can limit memory and processes; tried once by really making a group."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    for hierarchy in candidates(mounts, own):
        with contextlib.suppress(OSError):
            hierarchy.reap()
            hierarchy.make(1 << 26, 64).remove()
            return hierarchy
    return None


def candidates(mounts: list[list[str]], own: dict[str, str]) -> list[Hierarchy]:
    """Hierarchies worth a try: version 2 before 1, a process's own group before the top.

    `mounts` are the fields of /proc/mounts, `own` the lines of /proc/self/cgroup as controllers to path.
    """
    found = []
    for _, place, kind, *_ in mounts:
        if kind == "cgroup2":
            for folder in dict.fromkeys((Path(place + own.get("", "/")), Path(place))):
                found.append(Hierarchy(2, {"unified": folder}))
    for nested in (True, False):
        folders: dict[str, Path] = {}
        for _, place, kind, options, *_ in mounts:
            if kind != "cgroup":
                continue
            for controllers, path in own.items():
                wanted = {"memory", "pids", "cpuacct"} & set(controllers.split(",")) & set(options.split(","))
                folders |= dict.fromkeys(wanted, Path(place + path) if nested else Path(place))
        if {"memory", "pids"} <= set(folders):
            found.append(Hierarchy(1, folders))
    return found


def _put(file: Path, value: int) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
