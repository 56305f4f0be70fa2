"""The plan of a run, and a policy from scratch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rft import loop
from rft import recipe as recipes
from rft.collect import draw_tasks
from rft.errors import RecipeError, StageError
from rft.rundir import Run
from rft.store import Records
from rft.tracking import Nowhere
from rft.types import Task, Trajectory
from tests.conftest import make_task, make_trajectory


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


def test_a_policy_from_scratch_needs_someone_else_to_make_the_first_attempts(tmp_path: Path) -> None:
    recipe = make(tmp_path, "policy.create={use: tiny_qwen3}")
    with pytest.raises(RecipeError, match=r"expected collect\.inference"):
        loop.check(recipe)
    recipe = make(tmp_path, "policy.create={use: tiny_qwen3}", "collect.inference={use: demonstrator}")
    assert dict(loop.check(recipe))["attempts in all"].endswith("1 rounds and 1 evaluations")


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


JUDGED = "score.judge={use: endpoint, model: m, url: 'http://127.0.0.1:9/v1', price: {prompt: 2, completion: 10}}"


def test_check_says_what_judging_a_round_will_take(tmp_path: Path) -> None:
    plain = make(tmp_path, "collect.tasks=10", "collect.samples=4")
    assert "judging a round" not in dict(loop.check(plain)), "rules cost nothing"
    judged = make(tmp_path, "collect.tasks=10", "collect.samples=4", "score.rubric=careful_reader", JUDGED)
    says = dict(loop.check(judged))["judging a round"]
    assert says.startswith("about 40 calls, ") and "at the judge's price (going by 12 steps" in says
    thrice = make(
        tmp_path, "collect.tasks=10", "collect.samples=4", "score.rubric=careful_reader", JUDGED, "score.votes=3"
    )
    assert dict(loop.check(thrice))["judging a round"].startswith("about 120 calls, ")
    assert not (tmp_path / "runs").exists(), "nothing is asked and nothing is written"


class Shelves:
    """Ten tasks, each in an image of its own, and one to measure on."""

    protected = ()

    def tasks(self, split: str) -> Iterator[Task]:
        numbers = range(10) if split == "train" else range(10, 11)
        return (make_task(f"task-{number}", meta={"image": f"suite:{number}"}) for number in numbers)


def test_check_says_how_many_images_all_rounds_want_though_no_container_starts_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("environment={use: 'tests.test_loop:Shelves'}", "sandbox={use: docker}", "collect.tasks=4")
    recipe = make(tmp_path, *given, "rounds=9")
    drawn = {task.id for round in range(1, 10) for task in draw_tasks(Shelves(), "train", 4, seed=recipe.seed + round)}
    monkeypatch.setenv("PATH", str(tmp_path))
    said = dict(loop.check(recipe))
    assert said["images"] == f"{len(drawn) + 1} named, such as suite:10; which of them are here is not known"
    assert len(drawn) > 4 and "docker is not installed" in said["sandbox"]


def test_check_goes_by_the_rounds_own_attempts_where_there_are_some(tmp_path: Path) -> None:
    judged = make(tmp_path, "collect.tasks=10", "collect.samples=4", "score.rubric=careful_reader", JUDGED)
    assumed = dict(loop.check(judged))["judging a round"]
    folder = Run(judged).stage(1, "collect").path
    folder.mkdir(parents=True)
    with Records(folder / "trajectories.jsonl", Trajectory).writer() as append:
        append(make_trajectory("task-a"))
    (folder / "trajectories.jsonl").open("ab").write(b'{"id": "torn')
    found = dict(loop.check(judged))["judging a round"]
    assert "going by 1 attempts;" in found and found.startswith("about 40 calls")
    assert found != assumed
