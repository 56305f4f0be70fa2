"""`rft check`: every plug-in of a recipe is imported and built, its tasks are drawn, and what follows is said."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from rft import evaluate, train
from rft.collect import images, round_tasks
from rft.collect.imports import open_attempts
from rft.errors import RecipeError
from rft.formats import strictly
from rft.interfaces import Environment, RunsImages, TaskMaker
from rft.plugins import build
from rft.recipe import Recipe
from rft.rundir import Run
from rft.score import estimate as judging
from rft.score.audit import Audit
from rft.score.stage import Scorer
from rft.select.stage import Funnel
from rft.train import estimate as training
from rft.types import Task


class Work:
    """What a run attempts: the environment is asked for its tasks once, and attempts are counted once."""

    def __init__(self, recipe: Recipe, environment: Environment | None) -> None:
        """Raises RecipeError for a split that is not there. A recipe that only imports has no environment."""
        self.recipe = recipe
        self.run = Run(recipe)
        is_only_imported = recipe.collect.imports is not None and recipe.rounds <= 1
        self.pool = [] if environment is None or is_only_imported else list(environment.tasks(recipe.collect.split))
        """What each round draws from that makes its attempts."""
        self.held_out = evaluate.held_out_tasks(recipe, environment) if environment is not None else {}
        """By split."""

    def tasks(self, rounds: int) -> list[Task]:
        """Those that are attempted in the first so many rounds and measured on, each once."""
        made = [n for n in range(1, min(rounds, self.recipe.rounds) + 1) if not self.run.is_imported(n)]
        drawn = [round_tasks(self.recipe, self.pool, n) for n in made]
        return list({task.id: task for tasks in (*drawn, *self.held_out.values()) for task in tasks}.values())

    @cached_property
    def first_round(self) -> tuple[int, str]:
        """How many attempts it has, and where from, in words. Raises RecipeError where they cannot be imported."""
        if self.recipe.collect.imports is None:
            tasks, samples = len(round_tasks(self.recipe, self.pool, 1)), self.recipe.collect.samples
            return tasks * samples, f"{tasks} tasks x {samples} samples = {tasks * samples}"
        found = open_attempts(self.recipe.collect.imports)
        count = sum(1 for _ in strictly(found))
        return count, f"{count} imported from {len(found.files)} files"

    @property
    def evaluations(self) -> int:
        """How many of the run's stages are evaluations."""
        return sum(stage == "evaluate" for _, stage in self.run.plan())

    @property
    def attempts(self) -> int:
        """Of the whole run."""
        rounds, held_out = self.recipe.rounds, sum(map(len, self.held_out.values()))
        collected = self.first_round[0] + (rounds - 1) * self._made if rounds else 0
        return collected + self.evaluations * held_out * self.recipe.evaluate.samples

    @property
    def _made(self) -> int:
        """Attempts of a round that makes them."""
        return len(round_tasks(self.recipe, self.pool, 1)) * self.recipe.collect.samples


class Check:
    """A recipe that holds, so far as can be told without running anything of it."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises RecipeError at the first thing that is wrong."""
        self.recipe = recipe
        self.environment = build("environment", recipe.environment, "environment") if recipe.environment else None
        self.sandboxes: Any = build("sandbox", recipe.sandbox, "sandbox")
        self.engine: Any = build("inference", recipe.policy.inference, "policy.inference")
        _build_others(recipe)
        Funnel(recipe)
        evaluate.check(recipe)
        self.scorer = Scorer(recipe)
        self.audit = Audit(recipe) if recipe.score.audit is not None else None
        train.check(recipe)

    def owed(self) -> str:
        """What the environment has still to make before it has tasks, in words; empty when there is nothing."""
        return self.environment.owed() if isinstance(self.environment, TaskMaker) else ""

    @cached_property
    def work(self) -> Work:
        """What the run attempts; an environment that still owes its tasks makes them. Raises RecipeError."""
        return Work(self.recipe, self.environment)

    def rows(self, made: Path | None = None) -> list[tuple[str, str]]:
        """(what, how it stands). Goes by the attempts in `made`, else by those of round 1 where there are some.

        Raises RecipeError for a split that is not there.
        """
        recipe, rubric = self.recipe, self.scorer.rubric
        rows = [("policy", str(Run(recipe).starting_policy()))]
        if self.environment is not None:
            rows.append(("sandbox", self.sandboxes.missing() or f"{recipe.sandbox['use']} works here"))
        if recipe.rounds and hasattr(self.engine, "remark"):
            rows.append(("policy's server", self.engine.remark()))
        rows += [(f"{who}'s servers", engine.missing() or engine.summary()) for who, engine in servers(recipe)]
        rows.append(("rubric", f"{rubric.name}: {len(rubric.criteria)} criteria"))
        if self.audit is not None:
            rows.append(("audit", f"{self.audit.rubric.name}: {len(self.audit.rubric.criteria)} criteria"))
        if owed := self.owed():
            rows += [("tasks", f"{owed}; rft run, or rft check --deep, makes them"), ("attempts", "known after that")]
            return rows
        return [*rows, *self._work_rows(made)]

    def _work_rows(self, made: Path | None) -> Iterator[tuple[str, str]]:
        recipe, work = self.recipe, self.work
        if isinstance(self.sandboxes, RunsImages) and self.environment is not None:
            plan = self.sandboxes.plan(images(work.tasks(recipe.rounds)))
            if plan:
                yield "images", plan
        if recipe.rounds:
            count, how = work.first_round
            yield "attempts a round", how
            yield from judging.rows(
                recipe, self.scorer, count, made or work.run.stage(1, "collect").path / "trajectories.jsonl"
            )
        for split, tasks in work.held_out.items():
            yield f"evaluate {split}", f"{len(tasks)} tasks x {recipe.evaluate.samples} samples"
        yield "attempts in all", f"{work.attempts} over {recipe.rounds} rounds and {work.evaluations} evaluations"
        yield from training.rows(recipe, work.attempts)


def _build_others(recipe: Recipe) -> None:
    """The plug-ins that nothing more is asked of here."""
    build("agent", recipe.agent, "agent")
    build("pool", recipe.collect.pool, "collect.pool")
    build("tracker", recipe.tracking, "tracking")
    if recipe.collect.inference is not None:
        build("inference", recipe.collect.inference, "collect.inference")
    if recipe.policy.create is not None:
        build("fresh", recipe.policy.create, "policy.create")
        if recipe.collect.inference is None and recipe.collect.imports is None:
            raise RecipeError(
                "policy.create: a policy that is still to be made answers nothing; expected collect.inference. "
                "Name who makes the first attempts, such as {use: demonstrator}."
            )


def servers(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Who is answered by servers that the stages start, and their plug-in."""
    sections = (
        ("policy", "policy.inference", recipe.policy.inference),
        ("teacher", "collect.inference", recipe.collect.inference),
    )
    for who, where, section in sections:
        if section is not None:
            engine = build("inference", section, where)
            if all(hasattr(engine, name) for name in ("serve", "missing", "summary")):
                yield who, engine
