"""Which attempts an evaluation is made of."""

from collections.abc import Iterator

from rft import collect
from rft.collect import Owed
from rft.interfaces import Environment
from rft.plugins import build
from rft.recipe import Recipe


def owed(recipe: Recipe, round: int) -> Iterator[Owed]:
    """Every attempt of an evaluation; tasks, samples and seeds are the same in every round."""
    environment: Environment = build("environment", recipe.environment, "environment")
    for split in dict.fromkeys(recipe.evaluate.splits):
        tasks = collect.draw_tasks(environment, split, recipe.evaluate.tasks, seed=recipe.seed)
        seed = f"{recipe.seed}/evaluate"
        yield from collect.owed_attempts(tasks, recipe.evaluate.samples, round, seed=seed)
