"""Mounts that root makes for a sandbox: a throw-away overlay of a start state that belongs to no real user.

Everything here acts on the mount namespace of the calling thread alone and vanishes with the processes started from it.
"""

import ctypes
import functools
import os
import struct
import subprocess
from pathlib import Path

CLONE_FS, CLONE_NEWNS = 0x200, 0x20000
MS_NOSUID, MS_NODEV, MS_PRIVATE_ALL = 2, 4, (1 << 18) | 16384
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE = -100, 0x1000, 0x8000, 1
READ_ONLY, NO_SETUID, NO_DEVICES, MAP_OWNERS = 1, 2, 4, 0x100000
STAGE = Path("/sys")
"""Covered by a small tmpfs on which the pieces are laid out; the thread and what it starts need nothing of /sys."""

_system = ctypes.CDLL(None, use_errno=True)


def enter_namespace() -> None:
    """Give the calling thread its own mount namespace, from which nothing spreads. Raises OSError."""
    _check(_system.unshare(CLONE_FS | CLONE_NEWNS), "unshare")
    _check(_system.mount(None, b"/", None, MS_PRIVATE_ALL, None), "mount / private")


def mount(kind: str, place: Path, options: str) -> None:
    """Mount a new filesystem. Raises OSError."""
    place.mkdir(exist_ok=True)
    done = _system.mount(
        kind.encode(), os.fsencode(place), kind.encode(), ctypes.c_ulong(MS_NOSUID | MS_NODEV), options.encode()
    )
    _check(done, f"mount {kind}")


def piece(path: Path, owners: int | None = None) -> int:
    """A detached read-only view of a directory, as a descriptor; `owners` is a user namespace that maps its owner.

    Raises OSError.
    """
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | (0 if owners is not None else AT_RECURSIVE)
    tree: int = _system.syscall(OPEN_TREE, AT_FDCWD, os.fsencode(path), flags)
    _check(tree, f"open_tree {path}")
    wanted = READ_ONLY | NO_SETUID | NO_DEVICES | (0 if owners is None else MAP_OWNERS)
    attributes = struct.pack("QQQQ", wanted, 0, 0, owners or 0)
    recursive = 0 if owners is not None else AT_RECURSIVE
    done = _system.syscall(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH | recursive, attributes, len(attributes))
    if done < 0:
        number = ctypes.get_errno()
        os.close(tree)
        raise OSError(number, f"mount_setattr {path}: {os.strerror(number)}")
    return tree


def lay(tree: int, place: Path) -> None:
    """Attach a piece and close its descriptor. Raises OSError."""
    place.mkdir(exist_ok=True)
    try:
        _check(_system.syscall(MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(place), 4), "move_mount")
    finally:
        os.close(tree)


@functools.cache
def owner_map(user: int, group: int, stranger: int) -> int:
    """A descriptor of a user namespace in which what belongs to `user` and `group` belongs to `stranger`.

    Made once and kept as long as the program runs. Raises OSError.
    """
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", "echo; read -r wait"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as holder:  # fmt: skip
        try:
            if holder.stdout is None or not holder.stdout.readline():
                raise OSError("user namespaces cannot be made")
            process = Path(f"/proc/{holder.pid}")
            (process / "uid_map").write_text(f"{user} {stranger} 1")
            (process / "gid_map").write_text(f"{group} {stranger} 1")
            return os.open(process / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            holder.kill()


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
