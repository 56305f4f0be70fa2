"""Every recipe that ships: short, explained, valid, and nothing in it that rft does not know."""

from pathlib import Path

import pytest

from rft import compare
from rft.check import Check
from rft.plugins import build
from rft.recipe import load

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*.yaml"))
NEED_DATA = {"swe_smith", "swe_bench_eval", "eight_gpus", "four_nodes"}
"""Recipes whose tasks come from a user's files: the rest of them is checked on tasks of kata."""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_short_and_says_how_to_run_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 60
    assert lines[0].startswith("# ") and any(f"rft run {path.stem}" in line for line in lines[:6])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_checks(path: Path) -> None:
    recipe = load(path.stem)
    assert recipe.name == path.stem
    if path.stem in NEED_DATA:
        build("environment", recipe.environment, "environment")
        recipe = load(path.stem, ["environment={use: kata}", "evaluate.splits=[heldout]"])
    if recipe.compare is None:
        assert ("rubric", f"{recipe.score.rubric}: 17 criteria") in Check(recipe).rows()
        return
    for arm in recipe.compare.arms:
        for seed in recipe.compare.seeds:
            Check(compare.arm_recipe(recipe, recipe.compare, arm, seed)).rows()


def test_the_arms_of_the_comparison_differ_in_selection_or_method_alone() -> None:
    recipe = load("compare")
    assert recipe.compare is not None
    scoring, teaching = (
        {"score.rubric", "score.judge", "evaluate.rubric"},
        {"select.teach", "train.method", "train.trl"},
    )
    arms = recipe.compare.arms
    imitating = [changes for changes in arms.values() if "train.method" not in changes]
    assert all({"select.rules"} <= set(changes) <= {"select.rules", *scoring} for changes in imitating)
    assert all(set(changes) <= {"select.rules", *teaching} for changes in arms.values() if changes not in imitating)
    measured = {changes.get("evaluate.rubric", recipe.score.rubric) for changes in arms.values()}
    assert len(measured) == 1, "arms are measured by one rubric"
    budgets = [changes["select.rules"][-1] for changes in imitating]
    assert all(budget == budgets[0] and budget["use"] == "budget" for budget in budgets)
    assert recipe.train.tokens, "arms must train on equally many tokens"
