"""A scored round of a run: where its trajectories and reports lie, and the rubric they were made with."""

from dataclasses import dataclass
from pathlib import Path

from reward_models.types import Report, Rubric
from rft.errors import RecipeError, StageError
from rft.rundir import Run, find_run
from rft.score import load_rubric
from rft.store import Records
from rft.types import Trajectory


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A round whose trajectories have reports; round 0 has those of its evaluation."""

    run: Run
    round: int
    rubric: Rubric
    """As it is now; verdicts are matched to its criteria by their ids."""

    def trajectories(self) -> Records[Trajectory]:
        """The round's attempts."""
        return Records(self._folder("collect") / "trajectories.jsonl", Trajectory)

    def reports(self) -> Records[Report]:
        """The round's reports."""
        return Records(self._folder("score") / "reports.jsonl", Report)

    def _folder(self, stage: str) -> Path:
        return self.run.stage(self.round, stage if self.round else "evaluate").path


def find_round(name: str, round: int | None = None) -> Scored:
    """A round of a run that was scored, the newest unless one is named. Raises RecipeError and StageError."""
    run = find_run(name)
    stages = {n: run.stage(n, "score" if n else "evaluate") for n in run.rounds()}
    done = [number for number, stage in stages.items() if stage.manifest() is not None]
    if not done:
        raise StageError(f"{run.path}: no round was scored; the workbench reads reports. Run `rft run` first.")
    chosen = max(done) if round is None else round
    if chosen not in done:
        raise RecipeError(f"--round {chosen}: not scored; expected one of {', '.join(map(str, done))}.")
    return Scored(run=run, round=chosen, rubric=load_rubric(run.recipe))
