"""A watchdog: after a while without a result it says who waits for what."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from rft.interfaces import Doing
from rft.progress import say

SHOWN = 20
"""Attempts that get a line of their own."""

Report = Callable[[], Iterable[tuple[str, Doing]]]
"""Gives where an attempt is made, and what is done about it."""


class Watch:
    """Speaks when `seconds` have gone by since the last result, and again after as many."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since = self.heard = time.monotonic()

    def finished(self) -> None:
        """A result has come."""
        self.since = self.heard = time.monotonic()

    def look(self, report: Report) -> None:
        """Say who waits for what, if it is time."""
        now = time.monotonic()
        if now - self.heard < self.seconds:
            return
        self.heard = now
        waiting = sorted(report(), key=lambda one: -one[1].seconds)
        say(f"pool: no result for {now - self.since:.0f} s; {len(waiting)} attempts are being made")
        for where, doing in waiting[:SHOWN]:
            say(f"  {doing.name} waits in {doing.phase} for {doing.seconds:.0f} s{where}")
        if len(waiting) > SHOWN:
            say(f"  … and {len(waiting) - SHOWN} that have waited less")


def doing(worker: Any) -> list[Doing]:
    """What a worker is at, where it can say so."""
    tell = getattr(worker, "doing", None)
    return list(tell()) if tell is not None else []
