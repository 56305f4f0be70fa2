"""The plan of a run, and a policy from scratch."""

from pathlib import Path

import pytest

from rft import loop
from rft import recipe as recipes
from rft.errors import RecipeError
from rft.rundir import Run


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
