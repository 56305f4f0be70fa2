"""Attempts at held-out tasks, their reports, and what they say.

Reads the round's checkpoint and the earlier evaluations; writes `5_evaluate/trajectories.jsonl`, `reports.jsonl`,
`report.json` and `report.md`. Every round makes the same attempts, with the same seeds at the same tasks, so that
rounds can be compared in pairs.
"""

from dataclasses import replace
from pathlib import Path

import msgspec

from reward_models import rubric as rubrics
from reward_models.types import Polarity, Report
from rft import collect, score
from rft.errors import RecipeError, StoreError
from rft.evaluate import judging, markdown, summary
from rft.evaluate.owed import owed
from rft.evaluate.summary import EvaluationReport, Measured
from rft.recipe import Recipe
from rft.rundir import Run, Stage
from rft.score.stage import Scorer, load_rubric
from rft.store import Records, write_atomic
from rft.types import Trajectory

TRAJECTORIES = "trajectories.jsonl"
REPORTS = "reports.jsonl"


def run(recipe: Recipe, run: Run, round: int, *, redo: bool = False) -> None:
    """Evaluate a round's policy: the starting policy for round 0, the round's checkpoint after that.

    Raises StageError when too many attempts broke down, RecipeError when `evaluate` names what does not exist.
    """
    if recipe.policy.judging is not None:
        judging.run(recipe, recipe.policy.judging, run, round, redo=redo)
        return
    measured = measuring(recipe)
    criteria = _criteria(measured)
    summary.check_metric(recipe.evaluate.promote_if, criteria)
    stage = run.stage(round, "evaluate")
    policy = str(run.checkpoint(round)) if round else run.starting_policy()
    rubric = rubrics.path_of(measured.score.rubric)
    inputs = [rubric, run.checkpoint(round)] if round else [rubric]
    if not stage.start(inputs, redo=redo):
        return
    trajectories, reports = stage.path / TRAJECTORIES, stage.path / REPORTS
    tally = collect.attempts(recipe, policy, owed(recipe, round), trajectories, title=f"round {round} evaluate")
    collect.refuse_breakdowns(tally, recipe.collect.max_failed, trajectories)
    attempts = Records(trajectories, Trajectory)
    score.reports(measured, attempts, reports, title=f"round {round} evaluate: score")
    report = _report(recipe, run, round, policy, criteria)
    write_atomic(stage.path / "report.json", msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    write_atomic(stage.path / "report.md", markdown.render(report).encode())
    stage.finish(
        [trajectories, reports, stage.path / "report.json", stage.path / "report.md"],
        counts=_counts(report),
        metrics=summary.flat(report),
    )


def measuring(recipe: Recipe) -> Recipe:
    """The recipe as held-out attempts are scored by it: every criterion, of the rubric that measures."""
    whole = score.all_criteria(recipe)
    rubric = recipe.evaluate.rubric or recipe.score.rubric
    return replace(whole, score=replace(whole.score, rubric=rubric))


def check(recipe: Recipe) -> None:
    """Raises RecipeError when what measures cannot be had, or `evaluate` names a metric that is not measured."""
    measured = measuring(recipe)
    Scorer(measured)
    if recipe.policy.judging is not None:
        judging.check(recipe, recipe.policy.judging)
    elif recipe.evaluate.splits:
        summary.check_metric(recipe.evaluate.promote_if, _criteria(measured))


def measure(stage: Stage, criteria: dict[str, Polarity]) -> dict[str, Measured]:
    """The numbers of a stage's attempts, from its records."""
    trajectories = Records(stage.path / TRAJECTORIES, Trajectory)
    return summary.measure(trajectories, Records(stage.path / REPORTS, Report), criteria)


def read_report(stage: Stage) -> EvaluationReport | None:
    """A finished evaluation's report; None while there is none. Raises StoreError when it cannot be read."""
    path = stage.path / "report.json"
    if stage.manifest() is None or not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=EvaluationReport)
    except msgspec.DecodeError as error:
        raise StoreError(f"{path}: damaged ({error}). Redo the stage with --redo.") from None


def _report(recipe: Recipe, run: Run, round: int, policy: str, criteria: dict[str, Polarity]) -> EvaluationReport:
    incumbent = run.trained_in(round) if round else None
    rounds = sorted({0, round - 1, incumbent} & set(_evaluated(run, round))) if incumbent is not None else []
    earlier = {other: measure(run.stage(other, "evaluate"), criteria) for other in rounds}
    now = measure(run.stage(round, "evaluate"), criteria)
    splits = {
        name: summary.summarise(
            now[name],
            {other: measured[name] for other, measured in earlier.items() if name in measured},
            samples=recipe.evaluate.samples,
            seed=recipe.seed,
        )
        for name in dict.fromkeys(recipe.evaluate.splits)
        if name in now
    }
    promote_if = recipe.evaluate.promote_if
    promoted, reason = summary.decide(promote_if, splits.get(recipe.evaluate.splits[0]), criteria, incumbent)
    return EvaluationReport(
        round=round,
        policy=_relative(run, policy),
        splits=splits,
        criteria=criteria,
        incumbent=incumbent,
        promote_if=promote_if,
        promoted=promoted,
        reason=reason,
    )


def _evaluated(run: Run, before: int) -> list[int]:
    return [other for other in range(before) if run.stage(other, "evaluate").manifest() is not None]


def _relative(run: Run, policy: str) -> str:
    """A policy inside the run by its place there, so that a report does not tell where the run lies."""
    path = Path(policy)
    return str(path.relative_to(run.path)) if path.is_relative_to(run.path) else policy


def _counts(report: EvaluationReport) -> dict[str, int]:
    return {
        "promoted": int(report.promoted),
        "tasks": sum(split.tasks for split in report.splits.values()),
        "attempts": sum(split.attempts for split in report.splits.values()),
        "failures": sum(split.failures for split in report.splits.values()),
    }


def _criteria(recipe: Recipe) -> dict[str, Polarity]:
    """The rubric's criteria in order, with their polarity."""
    if not recipe.evaluate.splits:
        raise RecipeError("evaluate.splits: empty; expected at least one split. Name one.")
    return {criterion.id: criterion.polarity for criterion in load_rubric(recipe).criteria}
