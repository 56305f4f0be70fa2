"""A driver's sign of life in its run's folder, by which drivers on other machines know that the run is taken.

Locks hold off the processes of one machine. Between machines they do so only where the shared file system is mounted
for it (not with NFS's `nolock` and `local_lock`, not with Lustre's `localflock`), and nothing tells where it is not.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rft.errors import StoreError
from rft.progress import say
from rft.store import write_atomic
from rft.types import Record

BEAT = 10.0
"""Seconds between two signs."""
SILENCE = 60.0
"""Seconds without a sign after which the driver of another machine is taken for dead."""


class Sign(Record, frozen=True, kw_only=True):
    """Who drives, and how often it has said so."""

    machine: str
    host: str
    process: int
    beat: int = 0


def machine() -> str:
    """This machine since it was booted: its containers share their locks, whatever they are called."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname()


@contextlib.contextmanager
def present(path: Path, *, here: str = "", beat: float = BEAT, silence: float = SILENCE) -> Iterator[None]:
    """Give signs at `path` meanwhile; called by the one process of this machine (`here`) that has the run's lock.

    Waits for `silence` where another machine has left a sign; raises StoreError when a further one comes. Ends the
    process at once when another machine takes over, which it does only after so long a silence of this one.
    """
    sign = Sign(machine=here or machine(), host=socket.gethostname(), process=os.getpid())
    _await_silence(path, sign, silence)
    write_atomic(path, msgspec.json.encode(sign))
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(path, sign, over, beat), name="presence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


def _await_silence(path: Path, mine: Sign, silence: float) -> None:
    seen = _read(path)
    if seen is None or seen.machine == mine.machine:
        return
    say(f"{path.parent}: {seen.host} has driven this run; waiting {silence:g} s for a sign that it still does")
    limit = time.monotonic() + silence
    while time.monotonic() < limit:
        time.sleep(min(1.0, silence / 10))
        now = _read(path)
        if now is None:
            return
        if now != seen:
            raise StoreError(
                f"{path.parent}: process {now.process} on {now.host} drives this run; one run has one driver. "
                "Wait for it or end it."
            )


def _beat(path: Path, sign: Sign, over: threading.Event, beat: float) -> None:
    while not over.wait(beat):
        there = _read(path)
        if there is not None and there.machine != sign.machine:
            say(f"rft: {path.parent}: {there.host} has taken this run over, since this machine was silent; ending")
            os._exit(1)
        sign = msgspec.structs.replace(sign, beat=sign.beat + 1)
        if path.parent.is_dir():
            with contextlib.suppress(StoreError):  # a full disk stops the stages, which say so
                write_atomic(path, msgspec.json.encode(sign))


def _read(path: Path) -> Sign | None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Sign)
    return None
