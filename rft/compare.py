"""Arms of a recipe, each run with every seed, and the table that holds them against each other.

An arm is the recipe with a few dotted keys changed. Arms start from the same policy and seeds, so what is the same
work in two arms (the starting policy's evaluation, the first round's attempts and reports) is done once and linked.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from rft import loop
from rft.errors import RecipeError
from rft.progress import say
from rft.recipe import Compare, Recipe, change, to_config, to_recipe
from rft.rundir import Run

SHARED = ((0, "evaluate"), (1, "collect"), (1, "score"))


def run(recipe: Recipe, *, redo: bool = False) -> Path:
    """Every arm with every seed, then the comparison. Continues where it was stopped. Returns the HTML page."""
    assert recipe.compare is not None
    runs: dict[str, list[Run]] = {arm: [] for arm in recipe.compare.arms}
    for seed in recipe.compare.seeds:
        first: Run | None = None
        for arm in recipe.compare.arms:
            changed = arm_recipe(recipe, recipe.compare, arm, seed)
            say(f"arm {arm}, seed {seed}")
            if first is not None:
                share(first, Run(changed))
            finished = loop.run(changed, redo=redo)
            runs[arm].append(finished)
            first = first or finished
    from rft.view.comparison import compare, print_comparison, write

    comparison = compare(recipe.name, runs, control=recipe.compare.control)
    page = write(Path(recipe.runs) / recipe.name, comparison)
    print_comparison(comparison, page)
    return page


def arm_recipe(recipe: Recipe, plan: Compare, arm: str, seed: int) -> Recipe:
    """The recipe of one arm with one seed. Raises RecipeError that names the arm's key."""
    config = to_config(recipe)
    changes: dict[str, Any] = {
        "compare": None,
        "runs": str(Path(recipe.runs) / recipe.name),
        "name": f"{arm}-seed{seed}",
        "seed": seed,
        **plan.arms[arm],
    }
    for key, value in changes.items():
        try:
            change(config, key, value)
        except RecipeError as error:
            raise RecipeError(f"compare.arms.{arm}.{error}") from None
    return to_recipe(config, f"compare.arms.{arm}")


def share(source: Run, target: Run) -> None:
    """Link the stages that are the same work in both runs into the one that lacks them."""
    create = source.recipe.policy.create
    if create is not None and create == target.recipe.policy.create and not (target.path / "policy").exists():
        _link_tree(source.path / "policy", target.path / "policy")
    for round, name in SHARED:
        done, owed = source.stage(round, name), target.stage(round, name)
        manifest = done.manifest()
        if manifest is not None and not owed.path.exists() and manifest.reads == target.reads(name, round):
            _link_tree(done.path, owed.path)


def _link_tree(source: Path, target: Path) -> None:
    """Hard links, whole or not at all; records are never changed in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh, copy_function=os.link)
    fresh.rename(target)
