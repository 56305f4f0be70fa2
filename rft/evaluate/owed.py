"""Which attempts an evaluation is made of."""

from collections.abc import Iterator

from rft import collect
from rft.collect import Owed
from rft.interfaces import Environment
from rft.plugins import build
from rft.recipe import Recipe
from rft.types import Task


def held_out_tasks(recipe: Recipe, environment: Environment) -> dict[str, list[Task]]:
    """The tasks of each split, the same in every round. Raises RecipeError for a split that is not there."""
    return {
        split: collect.draw_tasks(environment.tasks(split), recipe.evaluate.tasks, seed=recipe.seed)
        for split in recipe.evaluate.splits
    }


def owed(recipe: Recipe, round: int) -> Iterator[Owed]:
    """Every attempt of an evaluation; tasks, samples and seeds are the same in every round."""
    environment: Environment = build("environment", recipe.environment, "environment")
    for tasks in held_out_tasks(recipe, environment).values():
        yield from collect.owed_attempts(tasks, recipe.evaluate.samples, round, seed=f"{recipe.seed}/evaluate")
