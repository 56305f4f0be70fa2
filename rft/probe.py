"""`rft check --probe N`: a few attempts, made in a scratch folder, and what they say of the whole run."""

import contextlib
import dataclasses
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from rft import loop
from rft.check import Check
from rft.errors import RecipeError
from rft.recipe import Recipe
from rft.store import Records
from rft.types import Trajectory


def probe(recipe: Recipe, attempts: int) -> list[tuple[str, str]]:
    """The rows of `rft check`, going by attempts that were made, and those that only such attempts can tell.

    Raises RecipeError for a recipe that makes none, StageError when none can be begun.
    """
    if recipe.collect.imports is not None or recipe.rounds == 0:
        raise RecipeError("check --probe: the recipe collects nothing; expected rounds, and no collect.imports.")
    if attempts < 1:
        raise RecipeError(f"check --probe: {attempts} attempts; expected at least 1.")
    check = Check(recipe)
    check.rows()  # what is wrong is said before attempts are made
    with _scratch(Path(recipe.runs)) as folder:
        stage = loop.one_stage(_reduced(recipe, folder, attempts), 1, "collect").stage(1, "collect")
        path = stage.path / "trajectories.jsonl"
        rows = _rows(check.work.attempts, list(Records(path, Trajectory)), stage.require().seconds, path.stat().st_size)
        return [*check.rows(path), *rows]


@contextlib.contextmanager
def _scratch(runs: Path) -> Iterator[str]:
    """A folder beside the runs, so that all nodes see it where they see these. Nothing of it stays."""
    is_new = not runs.exists()
    runs.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".probe-", dir=runs) as folder:
            yield folder
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                runs.rmdir()


def _reduced(recipe: Recipe, folder: str, attempts: int) -> Recipe:
    """The same work for about so many attempts, tracked nowhere; breakdowns are what it is to find."""
    samples = min(recipe.collect.samples, attempts)
    collect = dataclasses.replace(recipe.collect, tasks=math.ceil(attempts / samples), samples=samples, max_failed=1.0)
    return dataclasses.replace(recipe, runs=folder, collect=collect, tracking={"use": "none"})


def _rows(total: int, made: list[Trajectory], seconds: float, size: int) -> list[tuple[str, str]]:
    sound = [one for one in made if one.failure is None]
    broken = Counter(one.failure.where for one in made if one.failure is not None)
    failures = "".join(f", {count} broke down ({where})" for where, count in broken.most_common())
    rows = [
        (
            "probe",
            f"{len(made)} attempts in {seconds:,.0f} s, {mean(one.seconds for one in made):,.1f} s each{failures}",
        )
    ]
    if not sound:
        return rows
    resolved = [one.outcome.resolved for one in sound if one.outcome is not None and one.outcome.resolved is not None]
    tokens = [sum(len(row.ids) for row in one.tokens) for one in sound if one.tokens]
    facts = [f"{mean(len(one.steps) for one in sound):.1f} steps each"]
    facts += [f"{mean(tokens):,.0f} tokens each, {max(tokens):,} at most"] if tokens else []
    facts += [f"{sum(resolved)} of {len(resolved)} resolved"] if resolved else []
    hours = total * seconds / len(made) / 3600
    return [
        *rows,
        ("attempts", ", ".join(facts)),
        (
            "hours of attempts",
            f"about {hours:.2g} for all {total:,}, at this pace; fewer with a probe that fills the pool",
        ),
        ("disk of attempts", f"about {total * size / len(made) / 2**30:.2g} GiB"),
    ]
