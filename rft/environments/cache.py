"""Things that are costly to make and always the same: made once, kept in the user's cache folder, shared."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def folder(*parts: str) -> Path:
    """A place in the user's cache: `$XDG_CACHE_HOME/rft/…`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").joinpath("rft", *parts)


def once(place: Path, make: Callable[[Path], None]) -> Path:
    """`place`, a directory that `make` has filled; whoever comes while it is being made waits.

    A making that raised or was killed leaves nothing that counts: the next one begins with an empty directory. It is
    made where it stays, because a virtual environment cannot be moved. Raises what `make` raises, and OSError.
    """
    if is_made(place):
        return place
    mark = _mark(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_made(place):
            return place
        lock.truncate(0)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        place.chmod(0o755)
        try:
            make(place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        lock.write("made\n")
    return place


def is_made(place: Path) -> bool:
    """Has `once` made it?"""
    mark = _mark(place)
    return place.is_dir() and mark.is_file() and mark.stat().st_size > 0


def _mark(place: Path) -> Path:
    return place.with_name(f".{place.name}.made")
