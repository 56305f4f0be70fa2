"""Progress of long work on stderr: a live bar on a terminal, a line every few seconds elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[str], None]
"""Call once for each finished item, with a few words on how things stand."""

console = Console(stderr=True, highlight=False)

LINE_EVERY_SECONDS = 10.0


@contextlib.contextmanager
def progress(title: str, total: int | None, done: int = 0) -> Iterator[Advance]:
    """Show how far something is; `done` of `total` were there before."""
    if sys.stderr.isatty():
        with _bar(title, total, done) as advance:
            yield advance
    else:
        with _lines(title, total, done) as advance:
            yield advance


def say(text: str) -> None:
    """One line of log to stderr."""
    console.print(text, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _bar(title: str, total: int | None, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as live:
        task = live.add_task(title, total=total, completed=done, note="")
        yield lambda note: live.update(task, advance=1, note=note)


@contextlib.contextmanager
def _lines(title: str, total: int | None, done: int) -> Iterator[Advance]:
    began = last = time.monotonic()
    count = done
    latest = ""

    def line() -> None:
        of = f"/{total}" if total is not None else ""
        say(f"{title}: {count}{of} in {time.monotonic() - began:.0f} s {latest}".rstrip())

    def advance(note: str) -> None:
        nonlocal count, last, latest
        count += 1
        latest = note
        if time.monotonic() - last >= LINE_EVERY_SECONDS:
            last = time.monotonic()
            line()

    yield advance
    line()
