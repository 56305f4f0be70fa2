"""The stage `collect`: reads the environment's tasks, or files of attempts; writes `1_collect/trajectories.jsonl`."""

from rft.collect import imports, stage
from rft.collect.stage import attempts, draw_tasks, images, owed_attempts, refuse_breakdowns, round_tasks
from rft.collect.worker import Owed
from rft.recipe import Recipe
from rft.rundir import Run

__all__ = ["Owed", "attempts", "draw_tasks", "images", "owed_attempts", "refuse_breakdowns", "round_tasks", "run"]


def run(recipe: Recipe, run: Run, round: int, *, redo: bool = False) -> None:
    """A round's attempts, made or imported. Raises what those raise."""
    work = imports.run if run.is_imported(round) else stage.run
    work(recipe, run, round, redo=redo)
