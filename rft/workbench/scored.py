"""A scored round of a run: its attempts with their reports, and the rubric they were made with."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reward_models import rubric as rubrics
from reward_models.types import Report, Rubric
from rft.errors import RecipeError, StageError
from rft.rundir import Run, find_run
from rft.score import load_rubric
from rft.store import Records
from rft.types import Decision, Trajectory


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A round whose attempts have reports: those that it collected, in round 0 those of its evaluation."""

    run: Run
    round: int
    rubric: Rubric
    """As it is now; verdicts belong to its criteria by their ids."""

    def trajectories(self) -> Records[Trajectory]:
        """The round's attempts."""
        return Records(self._folder("collect") / "trajectories.jsonl", Trajectory)

    def reports(self) -> Records[Report]:
        """The round's reports."""
        return Records(self._folder("score") / "reports.jsonl", Report)

    def all_trajectories(self) -> Iterator[Trajectory]:
        """Attempts collected and evaluated in the round, by a policy before and after it."""
        for stage in ("collect", "evaluate"):
            yield from Records(self.run.stage(self.round, stage).path / "trajectories.jsonl", Trajectory)

    def all_reports(self) -> Iterator[Report]:
        """The reports on these."""
        for stage in ("score", "evaluate"):
            yield from Records(self.run.stage(self.round, stage).path / "reports.jsonl", Report)

    def decisions(self) -> Records[Decision]:
        """What selection decided; none in round 0."""
        return Records(self.run.stage(self.round, "select").path / "decisions.jsonl", Decision)

    def pairs(self) -> Iterator[tuple[Trajectory, Report]]:
        """Attempts with their reports, one held at a time; attempts that broke down or have no report are left out."""
        reports = self.reports()
        places = reports.index()
        for trajectory in self.trajectories():
            if trajectory.failure is None and trajectory.id in places:
                yield trajectory, reports.at(places[trajectory.id])

    def warnings(self) -> list[str]:
        """What a reader of the findings must know: whether the rubric is still the one that was asked."""
        first = next(iter(self.reports()), None)
        if first is None or first.rubric == rubrics.digest(self.rubric):
            return []
        return ["The rubric has changed since this round was scored; verdicts are matched to criteria by their ids."]

    def page(self, name: str) -> Path:
        """Where a page about this round goes."""
        return self.run.path / "workbench" / f"{name}_{self.round:02d}.html"

    def __str__(self) -> str:
        return f"{self.run.recipe.name}, round {self.round}, rubric {self.rubric.name}"

    def _folder(self, stage: str) -> Path:
        return self.run.stage(self.round, stage if self.round else "evaluate").path


def find_round(name: str, round: int | None = None) -> Scored:
    """A round of a run that was scored, the newest unless one is named. Raises RecipeError and StageError."""
    found = {scored.round: scored for scored in find_rounds(name)}
    chosen = max(found) if round is None else round
    if chosen not in found:
        raise RecipeError(f"--round {chosen}: not scored; expected one of {', '.join(map(str, found))}.")
    return found[chosen]


def find_rounds(name: str) -> list[Scored]:
    """Every round of a run that was scored. Raises RecipeError, and StageError when there is none."""
    run = find_run(name)
    stages = {number: run.stage(number, "score" if number else "evaluate") for number in run.rounds()}
    done = [number for number, stage in stages.items() if stage.manifest() is not None]
    if not done:
        raise StageError(f"{run.path}: no round was scored; the workbench reads reports. Run `rft run` first.")
    rubric = load_rubric(run.recipe)
    return [Scored(run=run, round=number, rubric=rubric) for number in done]
