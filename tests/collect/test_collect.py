"""Collect: failures are data, they are owed again, and nothing is made twice."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rft import collect
from rft import recipe as recipes
from rft.collect.worker import Plan
from rft.errors import EnvironmentFault, SandboxError, StageError
from rft.inference.scripted import Scripted
from rft.interfaces import SandboxProvider, StartState
from rft.recipe import Recipe
from rft.rundir import Run
from rft.store import Records
from rft.types import Outcome, Task, Trajectory
from tests.conftest import bash_block, make_task


@dataclass(kw_only=True)
class Shelf:
    """Tasks that all start from one repository; grading compares the patch, and breaks down where `broken` lies."""

    repository: str
    count: int = 3
    broken: str = ""
    protected: Sequence[str] = field(default=("test_*.py",), init=False)

    def tasks(self, split: str) -> Iterator[Task]:
        return (make_task(f"task-{i}", repository=self.repository) for i in range(self.count))

    def start_state(self, task: Task) -> StartState:
        return StartState(Path(task.repository))

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        if self.broken and Path(self.broken).exists() and task.id == "task-1":
            raise EnvironmentFault("the grader is ill")
        return Outcome(resolved="+    return x + 1" in patch)


@dataclass(kw_only=True)
class Teacher(Scripted):
    """One that has a name."""

    model: str = ""


def make(tmp_path: Path, repository: Path, *overrides: str) -> Recipe:
    replies = [bash_block("sed -i 's/x - 1/x + 1/' code.py"), bash_block("submit")]
    text = {
        "name": "t",
        "runs": str(tmp_path / "runs"),
        "policy": {"model": "m", "inference": {"use": "scripted", "replies": replies}},
        "environment": {"use": f"{__name__}:Shelf", "repository": str(repository)},
        "sandbox": {"use": "local"},
        "collect": {"samples": 2, "pool": {"use": "threads", "concurrency": 2}},
    }
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(text))
    return recipes.load(str(path), list(overrides))


def stored(run: Run) -> list[Trajectory]:
    return list(Records(run.stage(1, "collect").path / "trajectories.jsonl", Trajectory))


def test_every_attempt_is_made_graded_and_named_by_content(tmp_path: Path, repository: Path) -> None:
    recipe = make(tmp_path, repository)
    run = Run(recipe)
    collect.run(recipe, run, 1)
    attempts = stored(run)
    assert sorted(a.id for a in attempts) == [f"task-{t}/01/{s:02d}" for t in range(3) for s in range(2)]
    assert all(a.outcome is not None and a.outcome.resolved and a.failure is None for a in attempts)
    assert len({a.seed for a in attempts}) == 6
    assert run.stage(1, "collect").require().counts["resolved"] == 6
    before = (run.stage(1, "collect").path / "trajectories.jsonl").read_bytes()
    collect.run(recipe, run, 1)
    assert (run.stage(1, "collect").path / "trajectories.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("teacher", "who"), [(None, "m"), ({}, "scripted"), ({"use": f"{__name__}:Teacher", "model": "large"}, "large")]
)
def test_records_name_who_answered(tmp_path: Path, repository: Path, teacher: dict[str, Any] | None, who: str) -> None:
    recipe = make(tmp_path, repository, "collect.tasks=1", "collect.samples=1")
    if teacher is not None:
        recipe.collect.inference = recipe.policy.inference | teacher
    run = Run(recipe)
    collect.run(recipe, run, 1)
    assert [attempt.policy for attempt in stored(run)] == [who]


def test_a_breakdown_is_recorded_without_outcome_and_owed_again(tmp_path: Path, repository: Path) -> None:
    ill = tmp_path / "ill"
    ill.touch()
    recipe = make(tmp_path, repository, f"environment.broken={ill}")
    run = Run(recipe)
    with pytest.raises(StageError, match=r"2 of 6 attempts broke down, most often \(2\) grading: the grader is ill"):
        collect.run(recipe, run, 1)
    broken = [a for a in stored(run) if a.failure is not None]
    assert [a.failure.where for a in broken if a.failure] == ["grading", "grading"]
    assert all(a.outcome is None and a.patch and len(a.steps) == 2 for a in broken)
    good = {a.id: a for a in stored(run) if a.failure is None}
    ill.unlink()
    collect.run(recipe, run, 1)
    assert len(stored(run)) == 6 and all(a.failure is None for a in stored(run))
    assert all(good[a.id] == a for a in stored(run) if a.id in good), "what had worked was made again"
    aside = run.stage(1, "collect").path / "trajectories.jsonl.aside"
    assert aside.read_bytes().count(b"the grader is ill") == 2, "the failed records are kept aside"


def test_tolerated_breakdowns_stay_in_the_record(tmp_path: Path, repository: Path) -> None:
    ill = tmp_path / "ill"
    ill.touch()
    recipe = make(tmp_path, repository, f"environment.broken={ill}", "collect.max_failed=0.5")
    run = Run(recipe)
    collect.run(recipe, run, 1)
    manifest = run.stage(1, "collect").require()
    assert manifest.counts["failed"] == 2 and manifest.metrics["resolved"] == 1.0


def test_tasks_are_drawn_by_seed(tmp_path: Path, repository: Path) -> None:
    shelf = Shelf(repository=str(repository), count=50)
    draws = [[t.id for t in collect.draw_tasks(shelf.tasks("train"), 10, seed=s)] for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2] and len(set(draws[0])) == 10
    assert len(collect.draw_tasks(shelf.tasks("train"), None, seed=1)) == 50


@dataclass(kw_only=True)
class Explodes:
    """A model whose engine raises what it likes."""

    def load(self, model: str, sampling: Any) -> None:
        pass

    def open(self, task: Task, *, seed: int) -> Any:
        if task.id == "task-0":
            raise MemoryError("no memory\nat all")
        raise KeyError("x")

    def close(self) -> None:
        pass


def test_whatever_a_plug_in_raises_is_one_attempts_failure(tmp_path: Path, repository: Path) -> None:
    recipe = make(tmp_path, repository, f"policy.inference={{use: '{__name__}:Explodes'}}", "collect.max_failed=1")
    run = Run(recipe)
    collect.run(recipe, run, 1)
    failures = [a.failure for a in stored(run)]
    assert len(failures) == 6 and all(f is not None and f.where == "inference" for f in failures)
    assert any(f is not None and "MemoryError: no memory" in f.message for f in failures)


def test_a_sandbox_that_cannot_work_stops_before_the_first_attempt(tmp_path: Path, repository: Path) -> None:
    recipe = make(tmp_path, repository, f"sandbox={{use: '{__name__}:Absent'}}")
    with pytest.raises(StageError, match="sandbox: absent is not installed"):
        collect.run(recipe, Run(recipe), 1)
    plan = Plan(recipe=recipe, model="m", inference=recipe.policy.inference, who="m")
    with pytest.raises(SandboxError, match="sandbox: absent is not installed"):
        plan.make_worker()  # on its own node, where it would break every attempt that it takes


@dataclass(kw_only=True)
class Absent:
    """A kind of sandbox that does not work here."""

    def missing(self) -> str:
        return "absent is not installed; run `install absent`"

    def open(self, start: StartState) -> Any:
        raise AssertionError("opened although it is missing")
