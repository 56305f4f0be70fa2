"""`rft import` and `rft export`: attempts of other programs become a run, and a run's attempts files of others."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rft import loop
from rft.errors import RecipeError
from rft.formats import strictly
from rft.formats.attempts import Attempts
from rft.formats.exports import write
from rft.recipe import change, load, to_config, to_recipe
from rft.rundir import Run, find_run
from rft.store import Records
from rft.types import Decision, Trajectory


def import_run(
    files: Sequence[str],
    *,
    to: str,
    format: str = "",
    outcomes: Sequence[str] = (),
    recipe: str = "import",
    changes: Sequence[str] = (),
    redo: bool = False,
) -> Run:
    """A run whose first round holds the attempts of `files`, and whose recipe is frozen beside it; returns it.

    `to` is the run's name, or its folder. The same call carries on where it was stopped. Raises RecipeError, and what
    the stage raises.
    """
    config = to_config(load(recipe, list(changes)))
    folder = Path(to)
    change(config, "name", folder.name)
    if len(folder.parts) > 1:
        change(config, "runs", str(folder.parent))
    imports = {"files": _absolute(files), "format": format, "outcomes": _absolute(outcomes)}
    change(config, "collect.imports", imports)
    return loop.one_stage(to_recipe(config, "rft import"), 1, "collect", redo=redo)


def export(
    source: str,
    format: str,
    *,
    out: str | None = None,
    round: int | None = None,
    kept: bool = False,
    held_out: bool = False,
) -> int:
    """Write attempts in another program's format to `out`, or to stdout; returns how many there were.

    `source` is a run, or a file or folder of trajectories. Of a run: the attempts of every round, or of one; only those
    that selection `kept`; or the `held_out` ones, which evaluation made. Raises RecipeError, and StageError where the
    stage that tells is not finished.
    """
    if not _is_run(source) and (round is not None or kept or held_out):
        raise RecipeError(f"{source}: not a run; --round, --kept and --held-out choose among a run's attempts.")
    attempts = _of_run(find_run(source), round, kept, held_out) if _is_run(source) else _of_files(Path(source))
    return write(attempts, format, Path(out) if out else None, sys.stdout.buffer)


def _is_run(source: str) -> bool:
    return not Path(source).exists() or (Path(source) / "recipe.yaml").is_file()


def _of_files(path: Path) -> Iterator[Trajectory]:
    return strictly(Attempts([path]))


def _of_run(run: Run, round: int | None, kept: bool, held_out: bool) -> Iterator[Trajectory]:
    name = "evaluate" if held_out else "collect"
    rounds = [n for n in run.rounds() if round in (None, n) and run.stage(n, name).path.is_dir()]
    if not rounds:
        raise RecipeError(
            f"{run.path}: no attempts of stage {name}{f' in round {round}' if round else ''}. Run it first."
        )
    for number in rounds:
        chosen = _kept(run, number) if kept else None
        for attempt in Records(run.stage(number, name).path / "trajectories.jsonl", Trajectory):
            if chosen is None or attempt.id in chosen:
                yield attempt


def _kept(run: Run, round: int) -> set[str]:
    select = run.stage(round, "select")
    select.require()
    return {decision.id for decision in Records(select.path / "decisions.jsonl", Decision) if decision.keep}


def _absolute(names: Sequence[str]) -> list[str]:
    """Paths that mean the same wherever the run goes on; a name that ships with rft stays one."""
    return [str(Path(name).resolve()) if Path(name).exists() else name for name in names]
