"""Which attempts are owed, and getting them made and stored as they finish."""

import contextlib
import dataclasses
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rft.collect.worker import Owed, Plan, lost
from rft.errors import SandboxError, StageError
from rft.inference.serving import served
from rft.interfaces import Environment, Pool, RunsImages, SandboxProvider
from rft.plugins import build
from rft.progress import progress, say
from rft.recipe import Recipe
from rft.rundir import Run
from rft.store import Records
from rft.types import Task, Trajectory

FILE = "trajectories.jsonl"


def run(recipe: Recipe, run: Run, round: int, *, redo: bool = False) -> None:
    """Make every attempt of a round that is not there yet.

    Raises StageError when more than `collect.max_failed` of the attempts broke down; what worked is kept.
    """
    stage = run.stage(round, "collect")
    if not stage.start(redo=redo):
        return
    path = stage.path / FILE
    environment: Environment = build("environment", recipe.environment, "environment")
    tasks = round_tasks(recipe, environment.tasks(recipe.collect.split), round)
    owed = owed_attempts(tasks, recipe.collect.samples, round, seed=f"{recipe.seed}/{round}")
    tally = attempts(
        recipe, run.policy(round), owed, path, inference=recipe.collect.inference, title=f"round {round} collect"
    )
    refuse_breakdowns(tally, recipe.collect.max_failed, path)
    stage.finish([path], counts=tally.counts(), metrics=tally.metrics())


def round_tasks(recipe: Recipe, tasks: Iterable[Task], round: int) -> list[Task]:
    """What a round attempts of the tasks of `collect.split`."""
    return draw_tasks(tasks, recipe.collect.tasks, seed=recipe.seed + round)


def draw_tasks(tasks: Iterable[Task], count: int | None, *, seed: int) -> list[Task]:
    """`count` of the tasks, drawn by seed, in their own order; all of them for None."""
    found = list(tasks)
    if count is None or count >= len(found):
        return found
    chosen = set(random.Random(seed).sample(range(len(found)), count))
    return [task for index, task in enumerate(found) if index in chosen]


def owed_attempts(tasks: list[Task], samples: int, round: int, *, seed: str) -> list[Owed]:
    """`samples` attempts at each task; each one's sampling seed follows from `seed`, the task and the sample alone."""
    return [
        Owed(task=task, round=round, sample=sample, seed=zlib.crc32(f"{seed}/{task.id}/{sample}".encode()))
        for sample in range(samples)
        for task in tasks
    ]


def attempts(
    recipe: Recipe,
    model: str,
    owed: Iterable[Owed],
    path: Path,
    *,
    inference: dict[str, Any] | None = None,
    title: str,
) -> "Tally":
    """Make the attempts that `path` does not hold yet and append them as they finish.

    Records that broke down, or that are damaged, are set aside and made again. Returns the tally of the whole
    file. Raises RecipeError or StageError when no worker can be made.
    """
    records = Records(path, Trajectory)
    wanted = {item.id: item for item in owed}
    damaged, broken = records.repair(keep=lambda record: record.failure is None and record.id in wanted)
    if damaged or broken:
        say(f"{path}: {damaged} damaged and {broken} failed records set aside; they are made again")
    tally = Tally()
    for record in records:
        tally.add(record)
        del wanted[record.id]
    if wanted:
        _check_sandbox(recipe, wanted)
        done = tally.attempts
        asked = inference or recipe.policy.inference
        who = str(asked.get("model") or asked["use"]) if inference else model
        plan = Plan(recipe=recipe, model=model, inference=asked, who=who)
        with (
            _results(plan, wanted, path.parent / "serving") as results,
            records.writer(costly=True) as append,
            progress(title, done + len(wanted), done) as advance,
        ):
            for record in results:
                append(record)
                tally.add(record)
                advance(tally.note())
    return tally


@contextlib.contextmanager
def _results(plan: Plan, wanted: dict[str, Owed], folder: Path) -> Iterator[Iterator[Trajectory]]:
    """The attempts as they finish. A model that has to be served is, from `folder`, where the pool's cluster is."""
    pool: Pool = build("pool", plan.recipe.collect.pool, "collect.pool")
    with (
        getattr(pool, "connected", contextlib.nullcontext)(),
        served(plan.inference, plan.model, folder) as section,
    ):
        yield pool.run(dataclasses.replace(plan, inference=section).make_worker, wanted.values(), lost)


def _check_sandbox(recipe: Recipe, wanted: Mapping[str, Owed]) -> None:
    """See to it that sandboxes open here, and that the images of the attempts' tasks are on this machine."""
    sandboxes: SandboxProvider = build("sandbox", recipe.sandbox, "sandbox")
    problem = sandboxes.missing()
    if problem:
        raise StageError(f"sandbox: {problem}.")
    if isinstance(sandboxes, RunsImages):
        try:
            sandboxes.fetch(images(owed.task for owed in wanted.values()))
        except SandboxError as error:
            raise StageError(str(error)) from None


def images(tasks: Iterable[Task]) -> list[str]:
    """The container images of tasks, each once; an empty name stands for those that name none."""
    return list(dict.fromkeys(str(task.meta.get("image", "")) for task in tasks))


def refuse_breakdowns(tally: "Tally", allowed: float, path: Path) -> None:
    """Raise StageError, naming the commonest cause, when more than the `allowed` share of attempts broke down."""
    if tally.failed > allowed * tally.attempts:
        cause, count = max(tally.causes.items(), key=lambda item: item[1])
        raise StageError(
            f"{path}: {tally.failed} of {tally.attempts} attempts broke down, most often ({count}) {cause}. "
            "Mend the cause and run the same command again; what worked is kept."
        )


class Tally:
    """Counts over the attempts of a file, in constant memory."""

    def __init__(self) -> None:
        self.attempts = self.failed = self.resolved = self.submitted = 0
        self.steps = self.tokens = self.prefix_breaks = self.repeated = 0
        self.causes: dict[str, int] = {}

    def add(self, record: Trajectory) -> None:
        """Count one more."""
        self.attempts += 1
        if record.failure is not None:
            self.failed += 1
            cause = f"{record.failure.where}: {record.failure.message[:160]}"
            if cause in self.causes or len(self.causes) < 100:
                self.causes[cause] = self.causes.get(cause, 0) + 1
            return
        self.resolved += bool(record.outcome and record.outcome.resolved)
        self.submitted += record.stop == "submitted"
        self.steps += len(record.steps)
        self.tokens += sum(step.completion_tokens for step in record.steps)
        self.prefix_breaks += record.prefix_breaks
        self.repeated += sum(row.repeated for row in record.tokens)

    def note(self) -> str:
        """A few words for the progress line."""
        failed = f", {self.failed} broke down" if self.failed else ""
        return f"{self.resolved} resolved{failed}"

    def counts(self) -> dict[str, int]:
        """For the manifest."""
        return {
            "attempts": self.attempts,
            "failed": self.failed,
            "resolved": self.resolved,
            "submitted": self.submitted,
            "prefix_breaks": self.prefix_breaks,
            "repeated_tokens": self.repeated,
        }

    def metrics(self) -> dict[str, float]:
        """For tracking: shares of the attempts that did not break down."""
        whole = max(1, self.attempts - self.failed)
        return {
            "resolved": self.resolved / whole,
            "submitted": self.submitted / whole,
            "steps": self.steps / whole,
            "tokens": self.tokens / whole,
            "failed": self.failed / max(1, self.attempts),
        }
