"""A run whose attempts are collected and scored, for tests of what selection makes of them."""

from pathlib import Path

from reward_models.types import Report
from rft.recipe import load
from rft.rundir import Run
from rft.types import Trajectory
from tests.conftest import finish_stage


def prepare(folder: Path, selection: str, attempts: list[Trajectory], reports: list[Report]) -> Run:
    """The run, with `selection` as the recipe's section `select`."""
    path = folder / "r.yaml"
    path.write_text(
        f"name: t\nruns: {folder}/runs\npolicy: {{model: m}}\nenvironment: {{use: kata}}\nselect: {selection}\n"
    )
    run = Run(load(str(path)))
    finish_stage(run.stage(1, "collect"), {"trajectories.jsonl": attempts})
    finish_stage(run.stage(1, "score"), {"reports.jsonl": reports})
    return run
