"""What `rft check` says of a recipe, and what it refuses."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rft.check import Check
from rft.collect import round_tasks
from rft.environments.kata import Kata
from rft.errors import RecipeError
from rft.recipe import Recipe, load
from rft.rundir import Run
from rft.types import Task
from tests.conftest import make_task, make_trajectory, write_records


def make(tmp_path: Path, *overrides: str) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(f"name: t\nruns: {tmp_path}/runs\npolicy: {{model: m}}\nenvironment: {{use: kata}}\n")
    return load(str(path), list(overrides))


def rows(recipe: Recipe) -> dict[str, str]:
    return dict(Check(recipe).rows())


def test_a_policy_from_scratch_needs_someone_else_to_make_the_first_attempts(tmp_path: Path) -> None:
    recipe = make(tmp_path, "policy.create={use: tiny_qwen3}")
    with pytest.raises(RecipeError, match=r"expected collect\.inference"):
        Check(recipe)
    recipe = make(tmp_path, "policy.create={use: tiny_qwen3}", "collect.inference={use: demonstrator}")
    assert rows(recipe)["attempts in all"].endswith("1 rounds and 1 evaluations")


def test_a_recipe_of_no_rounds_only_measures(tmp_path: Path) -> None:
    says = rows(make(tmp_path, "rounds=0", "evaluate.tasks=3"))
    assert says["attempts in all"] == "6 over 0 rounds and 1 evaluations" and "disk" in says
    assert not says.keys() & {"attempts a round", "training batch", "training memory"}


@dataclass(kw_only=True)
class Counted(Kata):
    """Tasks of kata, and how often they were asked for."""

    asked: list[str] = field(default_factory=list, init=False)

    def tasks(self, split: str) -> Iterator[Task]:
        self.asked.append(split)
        return super().tasks(split)


def test_tasks_are_drawn_once(tmp_path: Path) -> None:
    check = Check(make(tmp_path, "environment={use: 'tests.test_check_recipe:Counted'}", "collect.tasks=5"))
    says = dict(check.rows())
    assert says["attempts a round"] == "5 tasks x 4 samples = 20" and len(check.work.tasks(rounds=1)) > 5
    assert check.environment.asked == ["train", "heldout"]


def test_an_imported_round_and_a_split_that_is_named_twice_are_counted_once(tmp_path: Path) -> None:
    few = ("collect.tasks=5", "collect.samples=2", "evaluate.tasks=3", "evaluate.samples=1")
    recipe = make(
        tmp_path, "collect.imports.files=[kata.jsonl]", "rounds=3", *few, "evaluate.splits=[heldout, heldout]"
    )
    assert rows(recipe)["attempts a round"] == "48 imported from 1 files"
    assert rows(recipe)["attempts in all"] == f"{48 + 2 * 10 + 4 * 3} over 3 rounds and 4 evaluations"


def test_a_metric_that_nothing_measures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no metric is called 'resolvd'.* Did you mean 'resolved'"):
        Check(make(tmp_path, "evaluate.promote_if=resolvd"))


JUDGED = "score.judge={use: endpoint, model: m, url: 'http://127.0.0.1:9/v1', price: {prompt: 2, completion: 10}}"


def test_check_says_what_judging_a_round_will_take(tmp_path: Path) -> None:
    plain = make(tmp_path, "collect.tasks=10", "collect.samples=4")
    assert "judging a round" not in rows(plain), "rules cost nothing"
    judged = make(tmp_path, "collect.tasks=10", "collect.samples=4", "score.rubric=careful_reader", JUDGED)
    says = rows(judged)["judging a round"]
    assert says.startswith("about 40 calls, ") and "at the judge's price (going by 12 steps" in says
    thrice = make(
        tmp_path, "collect.tasks=10", "collect.samples=4", "score.rubric=careful_reader", JUDGED, "score.votes=3"
    )
    assert rows(thrice)["judging a round"].startswith("about 120 calls, ")
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
    given = ("environment={use: 'tests.test_check_recipe:Shelves'}", "sandbox={use: docker}", "collect.tasks=4")
    recipe = make(tmp_path, *given, "rounds=9")
    drawn = {task.id for round in range(1, 10) for task in round_tasks(recipe, Shelves().tasks("train"), round)}
    monkeypatch.setenv("PATH", str(tmp_path))
    said = rows(recipe)
    assert said["images"] == f"{len(drawn) + 1} named, such as suite:10; which of them are here is not known"
    assert len(drawn) > 4 and "docker is not installed" in said["sandbox"]


def test_check_goes_by_the_rounds_own_attempts_where_there_are_some(tmp_path: Path) -> None:
    judged = make(tmp_path, "collect.tasks=10", "collect.samples=4", "score.rubric=careful_reader", JUDGED)
    assumed = rows(judged)["judging a round"]
    path = Run(judged).stage(1, "collect").path / "trajectories.jsonl"
    write_records(path, [make_trajectory("task-a")])
    path.open("ab").write(b'{"id": "torn')
    found = rows(judged)["judging a round"]
    assert "going by 1 attempts;" in found and found.startswith("about 40 calls")
    assert found != assumed
