"""What was paid for is not paid for again: after a kill, for an edited criterion, by another run, under a budget."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from attempts import QUESTIONS, attempt, collected, recipe, rubric
from judge_server import JudgeServer, judge_server, truth

from reward_models.cache import Cache
from reward_models.types import Report
from rft.errors import RecipeError, StageError
from rft.recipe import Budget, Recipe, dump
from rft.rundir import Run
from rft.score import run
from rft.store import Records

CONCURRENT = 8
NAMES = [f"attempt-{n:03d}" for n in range(80)]


def made(
    server: JudgeServer, folder: Path, names: list[str], judge: dict[str, Any], **score: Any
) -> tuple[Recipe, Run]:
    """A recipe with a collected round."""
    if not (folder / "ten.yaml").exists():
        rubric(folder / "ten.yaml")
    found = recipe(folder, server.url, judge, **score)
    return found, collected(found, [attempt(name) for name in names])


def reports(found: Run) -> dict[str, Report]:
    return {report.id: report for report in Records(found.stage(1, "score").path / "reports.jsonl", Report)}


def check_numbers(found: Run, names: list[str]) -> None:
    every = reports(found)
    assert sorted(every) == sorted(names)
    for name, report in every.items():
        assert {v.criterion: v.value for v in report.verdicts} == {q: truth(name, q) for q in QUESTIONS}, name


@pytest.mark.process
def test_a_score_stage_killed_in_the_middle_pays_for_nothing_twice(tmp_path: Path) -> None:
    """Killed three times, in mid-call; each attempt takes five calls, so most are half judged when it happens."""
    with judge_server() as server:
        server.delay = 0.05
        options = {"concurrent": CONCURRENT, "per_call": 2, "timeout": 60.0}
        found, stage = made(server, tmp_path, NAMES, options)
        path = tmp_path / "recipe.yaml"
        path.write_text(dump(found))
        command = [sys.executable, "-m", "rft.cli", "score", str(path)]
        for share in (0.2, 0.5, 0.8):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            end = time.monotonic() + 120
            while len(server.paid) < share * len(NAMES) * len(QUESTIONS):
                assert process.poll() is None and time.monotonic() < end, "it ended before it could be killed"
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        check_numbers(stage, NAMES)
        twice = {key: count for key, count in server.paid.items() if count > 1}
        assert len(server.paid) == len(NAMES) * len(QUESTIONS)
        assert sum(twice.values()) - len(twice) <= 3 * CONCURRENT * options["per_call"], "only what was in flight"
        assert Cache(tmp_path / "runs" / "verdicts.sqlite").spent("r").calls >= len(NAMES) * 5 - 3 * CONCURRENT


def test_editing_one_criterion_of_ten_asks_one_question_again(tmp_path: Path) -> None:
    names = NAMES[:12]
    with judge_server() as server:
        found, stage = made(server, tmp_path, names, {})
        run(found, stage, 1)
        server.paid.clear()
        server.requests.clear()
        rubric(tmp_path / "ten.yaml", q4="Was it really good at q4?")
        run(found, stage, 1, redo=True)
        assert server.paid == Counter({(name, "q4"): 1 for name in names})
        assert len(server.requests) == len(names)
        counts = stage.stage(1, "score").require().counts
        assert (counts["calls"], counts["cached"]) == (len(names), 9 * len(names))
        server.requests.clear()
        text = (tmp_path / "ten.yaml").read_text().replace('"weight": "1"', '"weight": "2", "reason": "more of it"')
        (tmp_path / "ten.yaml").write_text(text)
        run(found, stage, 1, redo=True)
        assert not server.requests, "weights and prose for people cost nothing"
        other, second = made(server, tmp_path, names, {}, name="other")
        run(other, second, 1)
        assert not server.requests, "nor does another run of the same folder"
        fresh, third = made(server, tmp_path, names, {}, name="third", cache="")
        run(fresh, third, 1)
        assert len(server.requests) == len(names), "without a cache all is asked"
        check_numbers(third, names)


@pytest.mark.process
def test_another_judge_or_another_view_is_another_question(tmp_path: Path) -> None:
    names = NAMES[:2]
    with judge_server() as server:
        for number, judge in enumerate([{}, {"temperature": 1.0}, {"model": "n"}, {"extra": {"top_p": 0.5}}]):
            found, stage = made(server, tmp_path, names, judge, name=f"r{number}")
            run(found, stage, 1)
            assert len(server.requests) == 2 * (number + 1), judge
        again, stage = made(server, tmp_path, names, {"concurrent": 3, "timeout": 9.0, "tries": 2}, name="again")
        run(again, stage, 1)
        assert len(server.requests) == 8, "how fast it is asked does not matter"
        voted, stage = made(server, tmp_path, names, {}, name="voted", votes=3)
        run(voted, stage, 1)
        assert len(server.requests) == 12, "the first of three votes is known"
        check_numbers(stage, names)


def test_unreadable_replies_and_outages_are_not_kept(tmp_path: Path) -> None:
    names = NAMES[:3]
    with judge_server() as server:
        server.faults = {
            names[0]: lambda request: request.say("yes"),
            names[1]: lambda request: request.send(b"", 500),
        }
        found, stage = made(server, tmp_path, names, {"tries": 1, "asks": 2})
        run(found, stage, 1)
        counts = stage.stage(1, "score").require().counts
        assert (counts["unknown_unreadable"], counts["unknown_outage"], counts["judge_failed"]) == (10, 10, 1)
        server.faults = {}
        run(found, stage, 1, redo=True)
        check_numbers(stage, names)
        spent = Cache(tmp_path / "runs" / "verdicts.sqlite").spent("r")
        assert spent.calls == 2 + 1 + 2, "replies that could not be read are paid for as well"


PRICED = {"price": {"prompt": 100.0, "completion": 1000.0}, "max_tokens": 100, "concurrent": 4}
"""At the server's 500 and 100 tokens a call costs 0.15."""


@pytest.mark.parametrize("limit", ["money", "tokens"])
def test_a_spent_budget_stops_the_stage_and_a_raised_one_goes_on(limit: str, tmp_path: Path) -> None:
    names = NAMES[:20]
    caps = {"money": (2.5, 9.0), "tokens": (10_000, 90_000)}[limit]
    with judge_server() as server:
        found, stage = made(server, tmp_path, names, PRICED, budget=Budget(**{limit: caps[0]}))
        with pytest.raises(
            StageError,
            match=r"score\.budget: .* another call may cost .* spent.*Raise it and run the same command again",
        ) as stop:
            run(found, stage, 1)
        assert "\n" not in str(stop.value)
        first = len(reports(stage))
        assert 14 <= first <= 16 and len(server.requests) == first
        spent = Cache(tmp_path / "runs" / "verdicts.sqlite").spent("r")
        assert (spent.money <= 2.5) if limit == "money" else (spent.tokens <= 10_000)
        with pytest.raises(StageError, match=r"score\.budget"):
            run(found, stage, 1)
        assert len(server.requests) == first, "what was spent is known to the next process"
        found.score.budget = Budget(**{limit: caps[1]})
        run(found, Run(found), 1)
        check_numbers(stage, names)
        assert len(server.requests) == len(names)
        manifest = stage.stage(1, "score").require()
        assert manifest.metrics["money"] == pytest.approx(20 * 0.15)


@pytest.mark.parametrize(
    ("judge", "score", "says"),
    [
        ({}, {"budget": Budget(money=1.0)}, r"score\.budget\.money: set, and the judge has no price"),
        (PRICED, {"budget": Budget(money=1.0), "cache": ""}, r"score\.cache: empty, and score\.budget is set"),
        ({"price": {"promt": 1.0}}, {}, r"score\.judge: price: "),
        ({"price": {"prompt": -1.0, "completion": 1.0}}, {}, r"score\.judge: price: "),
    ],
)
def test_budgets_that_would_not_hold_are_refused(
    judge: dict[str, Any], score: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with judge_server() as server:
        found, stage = made(server, tmp_path, NAMES[:1], judge, **score)
        with pytest.raises(RecipeError, match=says):
            run(found, stage, 1)


def test_a_file_that_holds_something_else_is_named(tmp_path: Path) -> None:
    with judge_server() as server:
        (tmp_path / "notes.txt").write_text("not a database, and dear to somebody\n" * 200)
        found, stage = made(server, tmp_path, NAMES[:1], {}, cache=str(tmp_path / "notes.txt"))
        with pytest.raises(StageError, match=r"score\.cache: .*notes\.txt.*not a database"):
            run(found, stage, 1)
        assert not server.requests and (tmp_path / "notes.txt").read_text().startswith("not a database")
