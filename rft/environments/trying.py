"""Candidates for tasks, tried one after another until there are enough; what was tried is kept through a kill."""

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from rft.errors import EnvironmentFault
from rft.progress import progress, say
from rft.store import Records, decode_line, encode_line, write_atomic
from rft.types import Record, Task

TRIED = "tried.jsonl"
AHEAD = 4
"""Candidates for each worker that are on their way at once, so that one that takes long keeps nobody waiting."""


class Tried(Record, frozen=True, kw_only=True):
    """What came of one candidate."""

    id: str
    task: Task | None = None
    """The verified task; None when it is no good."""
    why: str = ""
    """What is wrong with it, in the same words for all of which it is."""
    more: str = ""
    """What its tests printed, or what ended them, where they said nothing else."""


Candidate = tuple[str, Callable[[], Tried]]
"""An id that follows from its content, and the work of trying it."""


def tasks(
    folder: Path, candidates: Callable[[], Sequence[Candidate]], count: int | None, *, workers: int, title: str
) -> Iterator[Task]:
    """The first `count` good tasks in the order of the candidates, all of them for None; made once in `folder`.

    Which tasks they are does not depend on the number of workers, or on kills in between. Raises EnvironmentFault
    when there is none, and whatever stops the trying.
    """
    path = _finished(folder, count)
    if not is_done(folder, count):
        found = _try(folder / TRIED, candidates(), count, workers, title)
        if not found:
            raise EnvironmentFault(f"{title}: none of the candidates is a good task; {folder / TRIED} says why.")
        write_atomic(path, b"".join(encode_line(task) for task in found))
    return iter(Records(path, Task))


def is_done(folder: Path, count: int | None) -> bool:
    """Are the tasks there?"""
    return _finished(folder, count).is_file()


def so_far(folder: Path) -> tuple[int, int]:
    """How many candidates were good, and how many were tried; torn lines are not there."""
    path = folder / TRIED
    good = tried = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
        with contextlib.suppress(ValueError, msgspec.DecodeError):
            good += decode_line(line, Tried).task is not None
            tried += 1
    return good, tried


def _finished(folder: Path, count: int | None) -> Path:
    return folder / f"tasks_{count or 'all'}.jsonl"


def _try(path: Path, candidates: Sequence[Candidate], count: int | None, workers: int, title: str) -> list[Task]:
    records = Records(path, Tried)
    records.repair()
    tried = {record.id: record for record in records}
    if tried:
        say(f"{title}: {len(tried)} candidates were tried before")
    good: list[Task] = []
    seen: set[str] = set()
    with records.writer() as append, progress(title, count or len(candidates)) as advance:
        for index, result in enumerate(_in_order(candidates, tried, workers, append), 1):
            if result.task is not None and (sameness := alike(result.task)) not in seen:
                seen.add(sameness)
                good.append(result.task)
                if count:
                    advance(f"of {index} tried")
            if not count:
                advance(f"{len(good)} good")
            if len(good) == count:
                break
    return good


def alike(task: Task) -> str:
    """What two tasks share that are one and the same to who solves them: place, and tests that break."""
    return f"{task.meta.get('where', task.id)} {sorted(task.fail_to_pass)}"


def _in_order(
    candidates: Iterable[Candidate], tried: dict[str, Tried], workers: int, append: Callable[[Tried], None]
) -> Iterator[Tried]:
    """Results in the order of the candidates; some are worked on ahead, each appended when it is there."""
    turn = threading.Lock()

    def attempt(work: Callable[[], Tried]) -> Tried:
        result = work()
        with turn:
            append(result)
        return result

    with ThreadPoolExecutor(workers) as pool:
        coming = iter(candidates)
        ahead: deque[Tried | Future[Tried]] = deque()
        try:
            while True:
                for identity, work in itertools.islice(coming, AHEAD * workers - len(ahead)):
                    ahead.append(tried.get(identity) or pool.submit(attempt, work))
                if not ahead:
                    return
                first = ahead.popleft()
                yield first.result() if isinstance(first, Future) else first
        finally:
            for item in ahead:
                if isinstance(item, Future):
                    item.cancel()
