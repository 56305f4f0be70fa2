"""Pools: one result an item whatever happens, and a dead worker's items owed again, no others."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from rft.errors import RecipeError, StageError
from rft.interfaces import Doing, Pool
from rft.plugins import build
from rft.pools.crew import Crew
from rft.pools.ray import Ray
from rft.pools.serial import Serial
from rft.pools.threads import Threads


def double() -> Callable[[int], int]:
    return lambda item: item * 2


def lost(item: int, why: str) -> int:
    return -item


@pytest.mark.parametrize("pool", [Serial(), Threads(concurrency=3)], ids=["serial", "threads"])
def test_every_item_has_one_result(pool: Pool) -> None:
    assert Counter(pool.run(double, range(50), lost)) == Counter(i * 2 for i in range(50))
    assert list(pool.run(double, [], lost)) == []


def test_threads_overlap_but_take_no_more_items_than_they_can_run() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(40):
            taken.append(i)
            yield i

    def sleepy() -> Callable[[int], int]:
        def work(item: int) -> int:
            time.sleep(0.05)
            return item

        return work

    began = time.monotonic()
    results = Threads(concurrency=20).run(sleepy, items(), lost)
    next(results)
    assert len(taken) <= 21
    assert len(list(results)) == 39
    assert time.monotonic() - began < 40 * 0.05 / 2


class Suicidal:
    """Marks what it was given; kills its own process on item 7 the first time, and on item 13 always."""

    def __init__(self, marks: Path) -> None:
        self.marks = marks

    def __call__(self, item: int) -> int:
        first = not list(self.marks.glob(f"{item}.*"))
        (self.marks / f"{item}.{os.getpid()}.{time.monotonic_ns()}").touch()
        if (item == 7 and first) or item == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
        return item


class MakeSuicidal:
    def __init__(self, marks: Path) -> None:
        self.marks = marks

    def __call__(self) -> Suicidal:
        return Suicidal(self.marks)


def cannot() -> Callable[[int], int]:
    raise ValueError("no such model\nsecond line")


@pytest.mark.process
def test_ray_owes_a_dead_actors_items_again_and_no_others(tmp_path: Path) -> None:
    pool = Ray(workers=2, concurrency=2, cpus=0.5, tries=3)
    results = list(pool.run(MakeSuicidal(tmp_path), range(30), lost))
    assert sorted(results) == sorted([*(i for i in range(30) if i != 13), -13])
    tried = Counter(int(mark.name.split(".")[0]) for mark in tmp_path.iterdir())
    assert tried[7] >= 2 and tried[13] == 3
    # One neighbour at most shares the dead actor each time.
    assert sum(count - 1 for item, count in tried.items() if item not in (7, 13)) <= 4

    with pytest.raises(StageError, match=r"a worker could not start on node .*: ValueError: no such model"):
        list(pool.run(cannot, range(3), lost))


def test_a_worker_that_would_have_nothing_to_do_is_not_waited_for() -> None:
    crew = Crew(Ray(), double)
    assert not crew._hand_out(iter([])), "with its last item an actor may be gone, and the next one takes its time"
    assert crew._hand_out(iter([1])) and list(crew.owed) == [(1, 1)]


def test_a_pool_reserves_no_less_than_nothing() -> None:
    with pytest.raises(RecipeError, match="cpus, gpus and memory must be at least 0"):
        build("pool", {"use": "ray", "gpus": -1}, "collect.pool")


class Waits:
    def doing(self) -> list[Doing]:
        return [Doing(name=f"task/{n}", phase="grading", seconds=float(n)) for n in range(30)]

    def __call__(self, item: int) -> int:
        time.sleep(1.5 if item == 2 else 0.0)
        return item


def test_after_a_while_without_a_result_it_is_said_who_waits_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(Threads(concurrency=2, watch=0.6).run(Waits, range(5), lost)) == list(range(5))
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("pool: no result for ") and said[0].endswith(" s; 30 attempts are being made")
    assert said[1] == "  task/29 waits in grading for 29 s", "those that have waited longest come first"
    assert said[21] == "  … and 10 that have waited less"


class Marks:
    """Leaves a file when it is closed."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, item: int) -> int:
        return item

    def close(self) -> None:
        self.mark.touch()


@pytest.mark.process
def test_an_actor_closes_its_worker_before_it_ends(tmp_path: Path) -> None:
    mark = tmp_path / "closed"
    assert sorted(Ray(workers=1, cpus=0.5).run(partial(Marks, mark), range(3), lost)) == [0, 1, 2]
    assert mark.exists()


class Closes:
    def __init__(self, calls: list[object]) -> None:
        self.calls = calls

    def __call__(self, item: int) -> int:
        self.calls.append(item)
        return item

    def close(self) -> None:
        self.calls.append("closed")


class Asks:
    """Waits for an engine that answers item 0 alone, until it is closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, item: int) -> int:
        if item:
            self.closed.wait(20)
        return item

    def close(self) -> None:
        self.closed.set()


def test_who_stops_threads_in_the_middle_does_not_wait_for_the_engine() -> None:
    results = Threads(concurrency=2).run(Asks, range(9), lost)
    assert next(results) == 0
    began = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("pool", [Serial(), Threads(concurrency=2)], ids=["serial", "threads"])
def test_a_worker_is_closed_after_its_last_item(pool: Pool) -> None:
    calls: list[object] = []
    assert sorted(pool.run(lambda: Closes(calls), range(3), lost)) == [0, 1, 2]
    assert calls[-1] == "closed" and calls.count("closed") == 1
