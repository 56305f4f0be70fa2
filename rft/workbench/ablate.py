"""`rft rubric ablate`: whose decision changes without each criterion, and what each threshold of score would keep.

Scores are made again from the stored verdicts and the recipe's rules of selection run on them: nothing is asked again.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

from msgspec.structs import replace

from reward_models.evaluation import scored as score_of
from reward_models.scorers import Unknown
from reward_models.types import Report
from rft.errors import RecipeError
from rft.recipe import Recipe
from rft.select import Candidate, Funnel, groups
from rft.types import Record
from rft.view import svg
from rft.view.text import count, line, percent
from rft.workbench.output import Findings, Section, number, print_json, show
from rft.workbench.scored import Scored, find_round

THRESHOLDS = tuple(round(step / 20, 2) for step in range(21))
SHOWN = 5
"""Attempts named for each criterion."""


class Without(Record, frozen=True, kw_only=True):
    """What selection does without one criterion."""

    criterion: str
    weight: float
    required: bool
    kept: int
    entered: list[str]
    """Attempts kept only without it."""
    left: list[str]
    """Attempts kept only with it."""
    resolved: float | None
    """The share of those kept that are resolved."""


class AtThreshold(Record, frozen=True, kw_only=True):
    """What selection keeps when the score must be at least so high."""

    threshold: float
    above: int
    """Attempts with at least that score, before any rule."""
    kept: int
    tasks: int
    learnt_tokens: int
    resolved: float | None
    """The share of `above` that is resolved."""


class Ablation(Record, frozen=True, kw_only=True):
    """Selection as it is, without each criterion, and at each threshold."""

    attempts: int
    kept: int
    differs: int
    """Attempts on which the run decided otherwise than this repetition with the rubric as it is now."""
    without: list[Without]
    thresholds: list[AtThreshold]
    threshold: str
    """How the threshold enters: in place of the recipe's own, or as a last rule."""


def ablate(name: str, *, round: int | None = None, as_json: bool = False) -> None:
    """Print the findings, and write the page beside the run. Raises RecipeError and StageError."""
    scored = find_round(name, round)
    found = ablation(scored)
    if as_json:
        print_json(found)
    else:
        show(_findings(scored, found), scored.page("ablate"))


class _Variant:
    """Selection with scores made in one way, a group at a time."""

    def __init__(self, recipe: Recipe, rescore: Callable[[Report], float | None]) -> None:
        self._funnel = Funnel(recipe)
        self._rescore = rescore
        self.kept: dict[str, Candidate] = {}

    def take(self, group: Sequence[Candidate]) -> None:
        """Decide on a group."""
        rescored = [self._rescored(candidate) for candidate in group]
        decisions, _ = self._funnel.sift(rescored)
        for candidate, decision in zip(rescored, decisions, strict=True):
            if decision.keep:
                self.kept[candidate.id] = candidate

    def _rescored(self, candidate: Candidate) -> Candidate:
        report = candidate.report
        if report is None or report.failure:
            return candidate
        return dataclasses.replace(candidate, report=replace(report, score=self._rescore(report)))


def ablation(scored: Scored) -> Ablation:
    """One pass over the groups of a round for all variants together."""
    recipe, rubric = scored.run.recipe, scored.rubric
    if not scored.round:
        raise RecipeError("--round 0: the starting policy is only evaluated, nothing is selected. Name a later round.")

    def score(*without: str) -> Callable[[Report], float | None]:
        unknown: Unknown = "leave_out" if recipe.score.unknown == "leave_out" else "no_score"
        return lambda report: (
            score_of(rubric, report.verdicts, unknown=unknown, without={*without, *report.dropout}).value
        )

    base = _Variant(recipe, score())
    counted = [criterion for criterion in rubric.criteria if criterion.weight or criterion.required]
    without = {criterion.id: _Variant(recipe, score(criterion.id)) for criterion in counted}
    levels = {level: _Variant(_at(recipe, level), score()) for level in THRESHOLDS}
    scores: list[tuple[float, bool | None]] = []
    attempts = 0
    for group in groups(scored.run, scored.round):
        attempts += len(group)
        for variant in (base, *without.values(), *levels.values()):
            variant.take(group)
        scores += list(_scores(group, score()))
    decided = {decision.id for decision in scored.decisions() if decision.keep}
    return Ablation(
        attempts=attempts,
        kept=len(base.kept),
        differs=len(decided ^ base.kept.keys()) if decided else 0,
        without=[
            Without(
                criterion=criterion.id,
                weight=criterion.weight,
                required=criterion.required,
                kept=len(without[criterion.id].kept),
                entered=sorted(without[criterion.id].kept.keys() - base.kept.keys()),
                left=sorted(base.kept.keys() - without[criterion.id].kept.keys()),
                resolved=_resolved(_outcome(kept) for kept in without[criterion.id].kept.values()),
            )
            for criterion in counted
        ],
        thresholds=[_threshold(level, variant, scores) for level, variant in levels.items()],
        threshold=_how(recipe),
    )


def _scores(group: Sequence[Candidate], score: Callable[[Report], float | None]) -> Iterator[tuple[float, bool | None]]:
    for candidate in group:
        value = score(candidate.report) if candidate.report and not candidate.report.failure else None
        if value is not None:
            yield value, _outcome(candidate)


def _threshold(level: float, variant: _Variant, scores: list[tuple[float, bool | None]]) -> AtThreshold:
    above = [resolved for score, resolved in scores if score >= level]
    return AtThreshold(
        threshold=level,
        above=len(above),
        kept=len(variant.kept),
        tasks=len({candidate.trajectory.task_id for candidate in variant.kept.values()}),
        learnt_tokens=sum(candidate.learnt_tokens for candidate in variant.kept.values()),
        resolved=_resolved(iter(above)),
    )


def _at(recipe: Recipe, level: float) -> Recipe:
    """The recipe with another threshold of score."""
    changed = deepcopy(recipe)
    own: list[dict[str, Any]] = [rule for rule in changed.select.rules if rule.get("use") == "min_score"]
    for rule in own:
        rule["score"] = level
    if not own:
        changed.select.rules.append({"use": "min_score", "score": level})
    return changed


def _how(recipe: Recipe) -> str:
    own = any(rule.get("use") == "min_score" for rule in recipe.select.rules)
    return "in place of the recipe's min_score" if own else "as a last rule, since the recipe has no min_score"


def _outcome(candidate: Candidate) -> bool | None:
    return candidate.trajectory.outcome.resolved if candidate.trajectory.outcome else None


def _resolved(outcomes: Iterator[bool | None]) -> float | None:
    known = [outcome for outcome in outcomes if outcome is not None]
    return sum(known) / len(known) if known else None


def _findings(scored: Scored, found: Ablation) -> Findings:
    idle = [one.criterion for one in found.without if not one.entered and not one.left]
    notes = scored.warnings()
    if found.differs:
        notes.append(f"On {found.differs} attempts the run decided otherwise: its rubric or rules have changed since.")
    if idle:
        notes.append(f"No decision rests on: {', '.join(idle)}.")
    ranked = sorted(found.without, key=lambda one: -len(one.entered) - len(one.left))
    busiest = ranked[0] if ranked else None
    changed = len(busiest.entered) + len(busiest.left) if busiest else 0
    return Findings(
        eyebrow=f"{scored} · {found.kept} of {found.attempts} attempts kept",
        headline=f"Most decisions rest on {busiest.criterion}: {changed} change without it"
        if busiest and changed
        else "No decision changes without any one criterion",
        notes=notes,
        sections=[_changes(ranked, found), _thresholds(found)],
    )


def _changes(ranked: list[Without], found: Ablation) -> Section:
    changes = {one.criterion: len(one.entered) + len(one.left) for one in ranked}
    most = 4.0 * math.ceil(max([1, *changes.values()]) / 4)  # four equal parts of whole numbers
    bars = [
        svg.Bar(name=line(name), style="first" if n else "rest", value=n, low=0, high=n, label=str(n))
        for name, n in changes.items()
    ]
    rows = [
        [
            line(one.criterion),
            f"{one.weight:g}{', required' if one.required else ''}",
            count(one.kept),
            count(len(one.entered)),
            count(len(one.left)),
            percent(one.resolved),
            line(", ".join([*(f"+{n}" for n in one.entered), *(f"−{n}" for n in one.left)][:SHOWN]), 120),
        ]
        for one in ranked
    ]
    return Section(
        title="Whose decision changes without a criterion",
        header=["criterion", "weight", "kept", "enter", "leave", "resolved of kept", "for example"],
        rows=rows,
        note=f"With all criteria {found.kept} are kept. + is kept only without the criterion, − only with it.",
        picture=svg.dots(bars, title="Decisions that change without each criterion", most=most, shares=False, names=24),
    )


def _thresholds(found: Ablation) -> Section:
    rows = [
        [
            number(one.threshold),
            count(one.above),
            percent(one.resolved),
            count(one.kept),
            count(one.tasks),
            count(one.learnt_tokens),
        ]
        for one in found.thresholds
    ]
    total = max(1, found.attempts)
    return Section(
        title="What each threshold of score would keep",
        header=["at least", "attempts", "resolved of these", "kept by all rules", "tasks", "learnt tokens"],
        rows=rows,
        note=f"Attempts: with at least that score, before any rule. Kept: with the threshold {found.threshold}.",
        picture=svg.curves(
            [
                ("attempts", "rest", [(one.threshold, one.above / total) for one in found.thresholds]),
                ("kept", "first", [(one.threshold, one.kept / total) for one in found.thresholds]),
            ],
            title="Share of attempts at or above each threshold, and kept with it",
            x_title="score at least",
        ),
    )
