"""Holds a server's process: ends all of its group when whoever started it closes the pipe or dies, however it dies.

Run by its path with the standard library alone: `python -I -S keeper.py COMMAND…`, the pipe as its input.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

GRACE = 15.0
"""Seconds that a server has between being asked to end and being ended."""
POLL = 0.2
SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux: should this process be killed, its child goes with it."""


def main(command: list[str]) -> int:
    """Run the command until it ends or the pipe does; its exit code, 128 and more for a signal as in a shell."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_parent)
    except OSError as error:
        print(f"cannot be started: '{command[0]}': {error.strerror}", flush=True)
        return 127
    try:
        while child.poll() is None:
            if select.select([0], [], [], POLL)[0] and not os.read(0, 4096):
                _end(child)
    finally:
        _signal(child.pid, signal.SIGKILL)  # what it left behind: engine processes, loaders
    code = child.wait()
    return code if code >= 0 else 128 - code


def _end(child: "subprocess.Popen[bytes]") -> None:
    _signal(child.pid, signal.SIGTERM)
    limit = time.monotonic() + GRACE
    while child.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    _signal(child.pid, signal.SIGKILL)
    child.wait()


def _signal(group: int, what: signal.Signals) -> None:
    try:
        os.killpg(group, what)
    except (ProcessLookupError, PermissionError):
        return


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)


if __name__ == "__main__":
    for unheeded in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):  # the pipe says when it is over
        signal.signal(unheeded, lambda *_: None)  # SIG_IGN would be inherited by the server
    sys.exit(main(sys.argv[1:]))
