"""Attempts and a recipe for tests that judge them at a server."""

import json
from pathlib import Path
from typing import Any

from rft.recipe import Policy, Recipe, Score
from rft.rundir import Run
from rft.types import Message, Outcome, Step, StopReason, Trajectory
from tests.conftest import finish_stage

QUESTIONS = [f"q{n}" for n in range(10)]


def rubric(path: Path, **changed: str) -> Path:
    """A rubric of ten questions, some of them changed."""
    criteria = [{"id": q, "question": changed.get(q, f"Was it good at {q}?"), "weight": "1"} for q in QUESTIONS]
    path.write_text(json.dumps({"name": "ten", "criteria": criteria}))
    return path


def attempt(name: str, **changes: Any) -> Trajectory:
    """A short attempt; `name` begins with `attempt-`."""
    fields: dict[str, Any] = {
        "id": name,
        "task_id": "task",
        "split": "train",
        "round": 1,
        "sample": 0,
        "seed": 0,
        "prompt": [Message(role="user", content=f"mend {name}")],
        "steps": [Step(index=1, reply="ls", command="ls", observation="[exit 0]\ncode.py", exit_code=0)],
        "stop": StopReason.SUBMITTED,
        "outcome": Outcome(resolved=True),
    }
    return Trajectory(**(fields | changes))


def collected(recipe: Recipe, attempts: list[Trajectory]) -> Run:
    """A run whose first round has collected these."""
    run = Run(recipe)
    finish_stage(run.stage(1, "collect"), {"trajectories.jsonl": attempts})
    return run


def recipe(folder: Path, url: str, judge: dict[str, Any] | None = None, **score: Any) -> Recipe:
    """Scores by ten questions at a server."""
    section = {"use": "endpoint", "model": "m", "url": url, **(judge or {})}
    name = score.pop("name", "r")
    fields = {"rubric": str(folder / "ten.yaml"), "judge": section, **score}
    places = {"runs": str(folder / "runs"), "environment": {"use": "kata"}, "policy": Policy(model="none")}
    return Recipe(name=name, score=Score(**fields), **places)
