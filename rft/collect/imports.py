"""A round whose attempts were made elsewhere: files in, `1_collect/trajectories.jsonl` out, and no collection."""

from collections.abc import Iterator
from pathlib import Path

from rft.collect.stage import FILE, Tally
from rft.errors import RecipeError, StageError
from rft.formats.attempts import Attempts
from rft.progress import progress, say
from rft.recipe import Imports, Recipe, shipped_content
from rft.rundir import Run, Stage
from rft.store import Records
from rft.types import Failure, StopReason, Trajectory

UNREAD = "import"
"""Where a failure stands that is a row which could not be read."""


def run(recipe: Recipe, run: Run, round: int, *, redo: bool = False) -> None:
    """Import every attempt that is not there yet. What cannot be read is recorded as a failure with its place.

    A finished import is a copy: its sources are not looked at again. Raises RecipeError when a file cannot be opened,
    StageError when more than `collect.max_failed` of the attempts could not be read.
    """
    assert recipe.collect.imports is not None
    stage = run.stage(round, "collect")
    if not stage.start(redo=redo):
        return
    attempts = open_attempts(recipe.collect.imports)
    path = stage.path / FILE
    tally, unread = _import(stage, attempts, path)
    _tell(attempts, unread)
    if len(unread) > recipe.collect.max_failed * tally.attempts:
        raise StageError(
            f"{path}: {len(unread)} of {tally.attempts} attempts could not be read, the first: {unread[0]} What was "
            "read is kept; mend the files and run the same command again, or raise collect.max_failed."
        )
    graded = len(attempts.graded)
    counts = tally.counts() | {"unread": len(unread)} | ({"graded": graded} if attempts.outcomes else {})
    stage.finish([path], counts=counts, metrics=tally.metrics())


def open_attempts(imports: Imports) -> Attempts:
    """The attempts that a recipe imports. Raises RecipeError when a file cannot be found."""
    if not imports.files:
        raise RecipeError("collect.imports.files: empty; expected files or folders of trajectories. Name some.")
    return Attempts(list(map(_found, imports.files)), imports.format, list(map(_found, imports.outcomes)))


def _found(name: str) -> Path:
    """A path, or the name of a file that ships with rft."""
    path = Path(name)
    shipped = shipped_content("recipes") / "trajectories" / name
    return shipped if not path.exists() and shipped.is_file() else path


def _import(stage: Stage, attempts: Attempts, path: Path) -> tuple[Tally, list[str]]:
    """Append what is not there yet; returns the tally of the whole file, and why what could not be read could not."""
    records = Records(path, Trajectory)
    damaged, failed = records.repair(keep=lambda record: record.failure is None or record.failure.where != UNREAD)
    if damaged or failed:
        say(f"{path}: {damaged} damaged and {failed} unread records set aside; they are read again")
    tally, done = Tally(), set()
    for record in records:
        tally.add(record)
        done.add(record.id)
    unread: list[str] = []
    with records.writer() as append, progress(f"round {stage.round} import", None, len(done)) as advance:
        for record in _records(attempts):
            if record.failure is not None and record.failure.where == UNREAD:
                unread.append(record.failure.message)
            if record.id not in done:
                append(record)
                tally.add(record)
                advance(tally.note())
    return tally, unread


def _records(attempts: Attempts) -> Iterator[Trajectory]:
    """Each attempt, and a record of failure for what could not be read."""
    unread = 0
    for attempt in attempts:
        if isinstance(attempt, RecipeError):
            unread += 1
            yield Trajectory(
                id=f"unread/{unread}", task_id=f"unread/{unread}", split="train", round=1, sample=0, seed=0, prompt=[],
                stop=StopReason.ERROR, failure=Failure(where=UNREAD, message=str(attempt)[:2000]),
            )  # fmt: skip
        else:
            yield attempt


def _tell(attempts: Attempts, unread: list[str]) -> None:
    """What was not imported, and verdicts that belong to no attempt."""
    if attempts.others:
        names = ", ".join(path.name for path in attempts.others[:5])
        say(f"{len(attempts.others)} files hold no trajectories: {names}{', …' if len(attempts.others) > 5 else ''}")
    for message in unread[:5]:
        say(f"not read: {message}")
    strangers = len(attempts.outcomes.keys() - attempts.graded)
    if strangers:
        say(f"{strangers} of {len(attempts.outcomes)} outcomes are of tasks without an attempt")
