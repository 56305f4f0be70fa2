"""The file of verdicts: shared by threads and processes, whole after a kill, true to what was put into it."""

import contextlib
import multiprocessing
import os
import pickle
import random
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reward_models.budget import Account, Budget
from reward_models.cache import Cache, Keys, Usage
from reward_models.errors import BudgetSpent, CacheError
from reward_models.types import Criterion, Example, Rubric, Verdict

RUBRIC = Rubric(name="r", description="d", criteria=[])
CRITERION = Criterion(id="a", question="Was it?", weight=1.0, reason="people")


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def verdict(number: int) -> Verdict:
    return Verdict(criterion=f"c{number}", value=float(number % 2), why=f"because {number}")


def test_what_is_put_is_found_and_nothing_else(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "deep" / "v.sqlite")
    cache.put("judge", {key(n): verdict(n) for n in range(2000)})
    found = cache.get([key(n) for n in range(1000, 3000)])
    assert found == {key(n): verdict(n) for n in range(1000, 2000)}
    assert cache.get([]) == {} and pickle.loads(pickle.dumps(cache)).get([key(7)]) == {key(7): verdict(7)}  # noqa: S301
    cache.close()
    assert cache.get([key(1)]) == {key(1): verdict(1)}, "the next use opens it again"


@pytest.mark.parametrize(
    ("change", "another"),
    [
        ({"weight": 9.0}, False),
        ({"reason": "others"}, False),
        ({"polarity": "discourage"}, False),
        ({"required": True}, False),
        ({"floor": 0.5}, False),
        ({"group": "g"}, False),
        ({"id": "b"}, True),
        ({"question": "Was it not?"}, True),
        ({"kind": "class", "answers": ["x", "y"], "weight": 0.0}, True),
        ({"kind": "class", "answers": ["x", "y"], "met": ["x"]}, True),
        ({"examples": [Example(given="this", answer="yes")]}, True),
    ],
)
def test_a_key_is_what_is_asked(change: dict[str, Any], another: bool) -> None:
    keys = Keys("judge", RUBRIC, "text")
    changed = msgspec.structs.replace(CRITERION, **change)
    assert (keys.of(changed, 0) != keys.of(CRITERION, 0)) == another


def test_a_key_is_who_is_asked_about_what() -> None:
    renamed = msgspec.structs.replace(RUBRIC, name="s")
    described = msgspec.structs.replace(RUBRIC, description="e")
    later = msgspec.structs.replace(RUBRIC, version=2)
    every = [Keys("j", r, t).of(CRITERION, v) for r in (RUBRIC, renamed, described) for t in ("t", "u") for v in (0, 1)]
    every.append(Keys("k", RUBRIC, "t").of(CRITERION, 0))
    assert len(set(every)) == len(every)
    assert Keys("j", later, "t").of(CRITERION, 0) == Keys("j", RUBRIC, "t").of(CRITERION, 0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(), min_size=4, max_size=4), st.lists(st.text(), min_size=4, max_size=4))
def test_no_two_texts_share_a_key(one: list[str], other: list[str]) -> None:
    def of(parts: list[str]) -> bytes:
        rubric = msgspec.structs.replace(RUBRIC, description=parts[1])
        return Keys(parts[0], rubric, parts[2]).of(Criterion(id="a", question=parts[3]), 0)

    assert (of(one) == of(other)) == (one == other)


def _work(path: Path, seed: int, count: int) -> None:
    cache, draw = Cache(path), random.Random(seed)
    for _ in range(count):
        numbers = [draw.randrange(3000) for _ in range(10)]
        found = cache.get([key(n) for n in numbers])
        assert all(found[key(n)] == verdict(n) for n in numbers if key(n) in found)
        missing = {key(n): verdict(n) for n in numbers if key(n) not in found}
        cache.put("judge", missing, Usage(calls=1, prompt_tokens=1), run="r")


@pytest.mark.process
def test_two_processes_share_a_file_and_a_third_is_killed_over_it(tmp_path: Path) -> None:
    path = tmp_path / "v.sqlite"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(path, seed, 150)) for seed in (1, 2)]
    victims = [context.Process(target=_work, args=(path, seed, 10**9)) for seed in (3, 4)]
    for process in [*workers, *victims]:
        process.start()
    for victim in victims:
        end = time.monotonic() + 60
        while Cache(path).spent("r").calls < 20 and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(victim.pid or 0, signal.SIGKILL)
        victim.join()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    found = Cache(path).get([key(n) for n in range(3000)])
    assert found and all(found[key(n)] == verdict(n) for n in range(3000) if key(n) in found)
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert Cache(path).spent("r").calls >= 300


def test_many_threads_share_one_cache(tmp_path: Path) -> None:
    path = tmp_path / "v.sqlite"
    cache = Cache(path)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for n in range(seed, 200, 8):
                cache.put("judge", {key(n): verdict(n)}, Usage(calls=1, money=0.5), run="r")
                assert cache.get([key(n)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(cache.get([key(n) for n in range(200)])) == 200
    assert cache.spent("r") == Usage(calls=200, money=100.0)


@pytest.mark.parametrize("damage", ["text", "torn", "newer"])
def test_a_file_that_cannot_be_used_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "v.sqlite"
    if damage == "text":
        path.write_text("notes\n" * 1000)
    else:
        cache = Cache(path)
        cache.put("judge", {key(n): verdict(n) for n in range(5000)})
        cache.close()
        if damage == "torn":
            data = path.read_bytes()
            path.write_bytes(data[:5000] + b"\xff" * (len(data) - 5000))
        else:
            connection = sqlite3.connect(path)
            connection.execute("PRAGMA user_version = 99")
            connection.close()
    with pytest.raises(CacheError, match=r"v\.sqlite: "):
        Cache(path).get([key(n) for n in range(5000)])


def test_pruning_forgets_verdicts_and_no_costs(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "v.sqlite")
    cache.put("old", {key(n): verdict(n) for n in range(3000)}, Usage(calls=1, money=1.0), run="r")
    cache.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "v.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE verdicts SET made = made - 90000")
    cache.put("new", {key(n): verdict(n) for n in range(3000, 3010)}, Usage(calls=1, money=1.0), run="r")
    assert [(k.judge, k.entries) for k in cache.kept()] == [("new", 10), ("old", 3000)]
    cache.close()
    size = (tmp_path / "v.sqlite").stat().st_size
    assert cache.prune(older_than=86_400.0, judge="new") == 0
    assert cache.prune(older_than=86_400.0) == 3000
    assert [k.judge for k in cache.kept()] == ["new"] and cache.spent("r").money == 2.0
    assert (tmp_path / "v.sqlite").stat().st_size < size / 2, "the disk gets its room back"
    assert cache.prune(judge="new") == 10 and cache.kept() == []


def test_a_budget_is_held_by_threads_that_ask_at_once() -> None:
    """Each call is thought to cost 2 and costs 1: calls wait for those under way and use the budget up."""
    account = Account(budget=Budget(money=10.0))
    paid: list[float] = []
    refused: list[str] = []

    def ask() -> None:
        try:
            with account.room(Usage(calls=1, money=2.0)):
                time.sleep(0.01)
                account.book("judge", Usage(calls=1, money=1.0), {}, read=True)
                paid.append(1.0)
        except BudgetSpent as error:
            refused.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(paid) == account.spent.money == 9.0, "a tenth might have cost 2"
    assert len(refused) == 31 and "another call may cost 2, with 9 of 10 in money spent" in refused[0]
