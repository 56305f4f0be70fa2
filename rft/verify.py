"""`rft check --deep`: on every task of a recipe, the gold answer resolves it and doing nothing does not."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from rft.check import Work
from rft.errors import RftError, StageError
from rft.interfaces import Environment, SandboxProvider
from rft.plugins import build
from rft.progress import progress
from rft.recipe import Recipe
from rft.types import Task

SHOWN = 3
"""How many tests a reason names."""


def verify(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Id and reason of each task that does not hold, as they are found.

    Looked at are the tasks of the first round and of the evaluation, `collect.tasks` and `evaluate.tasks` of them
    where the recipe says so. At the end it raises StageError when there was one; RecipeError, or StageError, when
    nothing can be looked at.
    """
    environment: Environment = build("environment", recipe.environment, "environment")
    sandboxes: SandboxProvider = build("sandbox", recipe.sandbox, "sandbox")
    if problem := sandboxes.missing():
        raise StageError(f"sandbox: {problem}.")
    tasks = Work(recipe, environment).tasks(rounds=1)
    bad = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress("check --deep", len(tasks)) as advance:
        try:
            for task, why in zip(tasks, pool.map(lambda t: reason(environment, t, sandboxes), tasks), strict=True):
                if why:
                    bad += 1
                    yield task.id, why
                advance(f"{bad} do not hold")
        finally:
            pool.shutdown(cancel_futures=True)
    if bad:
        raise StageError(f"check --deep: {bad} of {len(tasks)} tasks do not hold. Mend them, or leave them out.")


def reason(environment: Environment, task: Task, sandboxes: SandboxProvider) -> str:
    """Why a task is no good; empty when it is."""
    if not task.gold_patch:
        return "it has no gold patch"
    try:
        if environment.grade(task, "", sandboxes).resolved:
            return "doing nothing resolves it"
        outcome = environment.grade(task, task.gold_patch, sandboxes)
    except RftError as error:
        return str(error)
    if outcome.resolved:
        return ""
    wrong = [f"{name} {outcome.tests.get(name, 'missing')}" for name in _wrong(task, outcome.tests)]
    tampered = f"; it changes protected files: {', '.join(outcome.tampered)}" if outcome.tampered else ""
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return f"its gold patch does not resolve it: {', '.join(wrong[:SHOWN])}{more}{tampered}"


def _wrong(task: Task, tests: dict[str, str]) -> list[str]:
    return [name for name in [*task.fail_to_pass, *task.pass_to_pass] if tests.get(name) not in ("passed", "skipped")]
