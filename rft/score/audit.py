"""The watch for reward hacking: a sample of attempts is scored by criteria or a judge that select nothing.

Reads the round's trajectories and reports; writes `2_score/audit.jsonl`. A policy that learns what its judge likes,
and not the task, is seen when the rubric's score goes up while the audit's, or the share of resolved tasks, goes down
(arXiv 2608.11669 reports such gaps between the judge that was trained on and one that was held out).
"""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reward_models.rubric import digest
from reward_models.scorers import signed
from reward_models.types import Report, Rubric
from rft.errors import RecipeError
from rft.recipe import Recipe
from rft.rundir import Manifest, Stage
from rft.score.stage import Scorer, all_criteria, load_rubric, reports
from rft.store import Records
from rft.types import Trajectory

FILE = "audit.jsonl"


class Reading(NamedTuple):
    """What a round's sample says; None is what nothing is known of."""

    rubric: float | None
    """The mean score by the rubric and the judge that select, dropout left aside."""
    audit: float | None
    """The mean score by the audit's rubric and judge."""
    resolved: float | None
    """The share of attempts that solved their task."""
    separation: float | None = None
    """The chance that the rubric scores a resolved attempt above one that is not (the area under the ROC curve)."""

    @property
    def gap(self) -> float | None:
        """The rubric's score above the audit's."""
        return _minus(self.rubric, self.audit)

    def metrics(self) -> dict[str, float]:
        """What is known, with the gaps between the rubric's score and the other two, for the manifest."""
        found = {
            "audit.score": self.audit,
            "audit.rubric_score": self.rubric,
            "audit.resolved": self.resolved,
            "audit.auc": self.separation,
            "audit.gap": self.gap,
            "audit.outcome_gap": _minus(self.rubric, self.resolved),
        }
        return {name: value for name, value in found.items() if value is not None}


def reading_of(manifest: Manifest | None) -> Reading:
    """The reading in a score stage's manifest."""
    metrics = manifest.metrics if manifest is not None else {}
    return Reading(
        rubric=metrics.get("audit.rubric_score"),
        audit=metrics.get("audit.score"),
        resolved=metrics.get("audit.resolved"),
        separation=metrics.get("audit.auc"),
    )


def parted(before: Reading, now: Reading, margin: float) -> bool:
    """Whether the rubric's score and what it stands for have parted since the round before.

    The rule: the rubric's score rose by more than `margin`, while the audit's score or the share of resolved attempts
    fell by more than `margin`. All are means over samples of the same share, in [0, 1]; a margin under the standard
    error of such a mean, at most 0.5 / sqrt(attempts in the sample), calls chance an alarm. What is unknown in either
    round alarms nobody.
    """
    risen = _minus(now.rubric, before.rubric)
    falls = (_minus(before.audit, now.audit), _minus(before.resolved, now.resolved))
    return risen is not None and risen > margin and any(fall is not None and fall > margin for fall in falls)


def alarm_of(before: Manifest | None, now: Manifest | None) -> str:
    """The alarm that a finished score stage has raised, in one sentence; empty where it has raised none."""
    if now is None or not now.counts.get("alarm"):
        return ""
    old, new = reading_of(before), reading_of(now)
    moves = [
        f"{name} went from {was:.3f} to {value:.3f}"
        for name, was, value in zip(
            ("the rubric's score", "the audit's", "the share resolved"), old[:3], new[:3], strict=True
        )
        if was is not None and value is not None
    ]
    return f"round {now.round}: what the rubric rewards and what it stands for have parted: {', '.join(moves)}"


class Audited(NamedTuple):
    """What an audit leaves in the stage's manifest."""

    files: list[Path]
    counts: dict[str, int]
    metrics: dict[str, float]


class Audit:
    """The watch over one recipe's score stage."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises RecipeError when the audit's rubric or judge is wrong, or the same as those that select."""
        assert recipe.score.audit is not None
        self.section = recipe.score.audit
        if not 0 < self.section.share <= 1:
            raise RecipeError(f"score.audit.share: {self.section.share}; expected more than 0 and at most 1.")
        if self.section.margin < 0:
            raise RecipeError(f"score.audit.margin: {self.section.margin}; expected at least 0.")
        self.seed = recipe.seed
        self.selecting = load_rubric(recipe)
        self.recipe = _audited(recipe)
        try:
            with closing(Scorer(self.recipe)) as auditor:
                self.rubric: Rubric = auditor.rubric
        except RecipeError as error:
            raise RecipeError(str(error).replace("score.", "score.audit.", 1)) from None
        same_judge = self.section.judge is None or self.section.judge == recipe.score.judge
        if same_judge and digest(self.rubric) == digest(self.selecting):
            raise RecipeError(
                "score.audit: the same rubric and judge as score has; expected others, which select nothing. "
                "Name score.audit.rubric or score.audit.judge."
            )

    def run(self, stage: Stage, trajectories: Path, scored: Path) -> Audited:
        """Audit a sample of a round's attempts, whose reports are in `scored`; carries on where it was stopped.

        Raises StageError as scoring does.
        """
        path = stage.path / FILE
        drawn = self.sample(trajectories)
        attempts = Sample(trajectories, drawn)
        tally = reports(self.recipe, attempts, path, title=f"round {stage.round} audit")
        now = self.read(attempts, path, scored)
        before = stage.run.stage(stage.round - 1, stage.name).manifest() if stage.round > 1 else None
        alarm = parted(reading_of(before), now, self.section.margin)
        counts = {"audited": tally.scored, "audit_unscored": len(drawn) - tally.scored, "alarm": int(alarm)}
        return Audited([path], counts, now.metrics() | {"audit.alarm": float(alarm)})

    def sample(self, trajectories: Path) -> frozenset[str]:
        """The ids that are audited: `share` of the attempts that did not break down, at least one, drawn by seed.

        As many of one task as of another, give or take one: how hard the drawn tasks are is most of what a mean's
        error is made of.
        """
        groups: dict[str, list[tuple[bytes, str]]] = defaultdict(list)
        for attempt in Records(trajectories, Trajectory):
            if attempt.failure is None:
                groups[attempt.task_id].append((self._place(attempt.id), attempt.id))
        drawn = sorted((turn, place) for group in groups.values() for turn, place in enumerate(sorted(group)))
        count = min(len(drawn), max(1, round(self.section.share * len(drawn))))
        return frozenset(identity for _, (_, identity) in drawn[:count])

    def read(self, attempts: "Sample", audited: Path, scored: Path) -> Reading:
        """The means over a sample, over the attempts that both rubrics could score."""
        audit = {report.id: report.score for report in Records(audited, Report)}
        rubric = {report.id: self._score(report) for report in Records(scored, Report) if report.id in attempts.ids}
        pairs = [(ours, audit[name], name) for name, ours in rubric.items()]
        both = [(ours, held_out, name) for ours, held_out, name in pairs if ours is not None and held_out is not None]
        outcome = {attempt.id: attempt.outcome.resolved for attempt in attempts if attempt.outcome is not None}
        solved = [ours for ours, _, name in both if outcome.get(name) is True]
        unsolved = [ours for ours, _, name in both if outcome.get(name) is False]
        return Reading(
            audit=_mean([held_out for _, held_out, _ in both]),
            rubric=_mean([ours for ours, _, _ in both]),
            resolved=len(solved) / (len(solved) + len(unsolved)) if solved or unsolved else None,
            separation=separation(solved, unsolved),
        )

    def _score(self, report: Report) -> float | None:
        """A report's score from all criteria."""
        return signed(self.selecting, report.verdicts).value if report.dropout and not report.failure else report.score

    def _place(self, identity: str) -> bytes:
        return hashlib.sha256(f"{self.seed}/audit/{identity}".encode()).digest()


class Sample:
    """Some of a file's trajectories, as often as they are asked for."""

    def __init__(self, path: Path, ids: frozenset[str]) -> None:
        self.path = path
        self.ids = ids

    def __iter__(self) -> Iterator[Trajectory]:
        return (attempt for attempt in Records(self.path, Trajectory) if attempt.id in self.ids)


def separation(positives: Sequence[float], negatives: Sequence[float]) -> float | None:
    """The chance that one of `positives` is above one of `negatives`, ties counted half; None where either is empty."""
    if not positives or not negatives:
        return None
    below = np.sort(np.asarray(negatives, dtype=float))
    wins = np.searchsorted(below, positives, side="left") + np.searchsorted(below, positives, side="right")
    return float(wins.mean() / (2 * len(below)))


def _audited(recipe: Recipe) -> Recipe:
    """The recipe that scores as the audit does."""
    section = recipe.score.audit
    assert section is not None
    score = dataclasses.replace(
        recipe.score,
        rubric=section.rubric or recipe.score.rubric,
        judge=section.judge or recipe.score.judge,
    )
    return all_criteria(dataclasses.replace(recipe, score=score))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
