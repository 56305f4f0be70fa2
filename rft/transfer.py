"""`rft import` and `rft export`: attempts of other programs become a run, and a run's attempts files of others."""

from collections.abc import Sequence
from pathlib import Path

from rft import loop
from rft.recipe import change, load, to_config, to_recipe
from rft.rundir import Run


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


def _absolute(names: Sequence[str]) -> list[str]:
    """Paths that mean the same wherever the run goes on; a name that ships with rft stays one."""
    return [str(Path(name).resolve()) if Path(name).exists() else name for name in names]
