"""The plan of a run, and a policy from scratch."""

import json
from pathlib import Path
from typing import Any

import pytest

from rft import loop
from rft import recipe as recipes
from rft.errors import RecipeError, StageError
from rft.pools.serial import Serial
from rft.rundir import Run
from rft.tracking import Nowhere
from tests.conftest import finish_stage, make_trajectory


def make(tmp_path: Path, *overrides: str) -> recipes.Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(f"name: t\nruns: {tmp_path}/runs\npolicy: {{model: m}}\nenvironment: {{use: kata}}\n")
    return recipes.load(str(path), list(overrides))


def test_round_0_is_the_starting_policy_and_every_later_round_has_all_stages(tmp_path: Path) -> None:
    plan = Run(make(tmp_path, "rounds=2")).plan()
    assert plan[0] == (0, "evaluate")
    assert plan[1:6] == [(1, stage) for stage in ("collect", "score", "select", "train", "evaluate")]
    assert len(plan) == 11
    assert (1, "evaluate") not in Run(make(tmp_path, "rounds=2", "evaluate.every=2")).plan()
    assert "evaluate" not in {stage for _, stage in Run(make(tmp_path, "evaluate.splits=[]")).plan()}


def test_a_stage_that_the_round_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="round 7 has no such stage"):
        loop.one_stage(make(tmp_path), 7, "collect")
    assert not (tmp_path / "runs").exists()


class Listening(Nowhere):
    """A tracker that writes the alerts down."""

    def start(self, run_path: Path, name: str, recipe: dict[str, Any]) -> None:
        self.alerts = run_path / "alerts"

    def alert(self, title: str, text: str) -> None:
        self.alerts.write_text(f"{title}: {text}")


def test_people_are_told_of_a_run_that_stops(tmp_path: Path) -> None:
    gone = "policy.inference={use: endpoint, url: 'http://127.0.0.1:9/v1', tries: 1}"
    few = ("evaluate.tasks=1", "evaluate.samples=1", "sandbox={use: local}")
    recipe = make(tmp_path, "tracking={use: 'tests.test_loop:Listening'}", gone, *few)
    with pytest.raises(StageError) as stopped:
        loop.run(recipe)
    assert (Run(recipe).path / "alerts").read_text() == f"t: stopped: {stopped.value}"


class Faulty(Serial):
    """A pool with a mistake of its author's."""

    def run(self, *_: Any) -> Any:
        raise KeyError("sesame")


def test_what_a_plug_in_raises_is_announced_by_its_kind_alone(tmp_path: Path) -> None:
    few = ("evaluate.tasks=1", "evaluate.samples=1", "sandbox={use: local}")
    pool = "collect.pool={use: 'tests.test_loop:Faulty'}"
    recipe = make(tmp_path, "tracking={use: 'tests.test_loop:Listening'}", pool, *few)
    with pytest.raises(KeyError):
        loop.run(recipe)
    assert (Run(recipe).path / "alerts").read_text() == "t: stopped: KeyError; see what the run printed."


def test_a_policy_from_scratch_is_made_anew_with_what_it_is_made_of(tmp_path: Path) -> None:
    made = []
    for width in (16, 32):
        create = f"policy.create={{use: tiny_qwen3, hidden_size: {width}, layers: 1, heads: 2, intermediate_size: 32}}"
        recipe = make(tmp_path, create)
        run = Run(recipe)
        attempts = [make_trajectory(f"{task}/01/0", task=task, tokens=[]) for task in ("task-a", "task-b")]
        for stage, records in (("collect", {"trajectories.jsonl": attempts}), ("score", {"reports.jsonl": []})):
            run.stage(1, stage).start(redo=True)
            finish_stage(run.stage(1, stage), records)
        loop.run_stage(recipe, run, 1, "select", Nowhere(), redo=width == 32)
        made.append(json.loads((Path(run.starting_policy()) / "config.json").read_text())["hidden_size"])
    assert made == [16, 32]
