"""What each criterion of a rubric told on a round: how often it was met, how sure that is, and what goes with it."""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import numpy as np
from msgspec.structs import replace

from reward_models.agreement import estimate, flips, raw
from reward_models.types import Criterion, Polarity, Report, Rubric, Verdict
from rft.evaluate import statistics
from rft.evaluate.statistics import RESAMPLES, Array, Estimate
from rft.types import Record, Trajectory

LEAST = 10
"""Fewer attempts say nothing about what goes with what."""
SAME = 0.8
"""Criteria whose values are correlated at least so much, either way, tell the same."""


class Effect(Record, frozen=True, kw_only=True):
    """How success goes with a criterion: P(resolved | met) - P(resolved | not met), as in arXiv 2603.03800."""

    value: float
    low: float | None
    high: float | None
    met: tuple[int, int]
    """Attempts that met it: resolved, not resolved."""
    unmet: tuple[int, int]
    p: float
    """Fisher's exact test, attempts taken as independent."""
    q: float = 1.0
    """The same, adjusted for the number of criteria (Benjamini and Hochberg)."""


class CriterionMeasures(Record, frozen=True, kw_only=True):
    """One criterion on one round."""

    id: str
    group: str
    polarity: Polarity
    weight: float
    rate: Estimate
    """How far it was met, in its own polarity."""
    unknown: dict[str, int]
    """Cause to how many verdicts were unknown for it."""
    unknown_rate: float | None
    labels: dict[str, int]
    """Answer to how often it was given, of an ordered or class criterion."""
    disagreement: float | None
    """The share of pairs of votes that differ; None where each question was asked once."""
    effect: Effect | None
    """None where nothing is resolved, everything is, the criterion does not vary, or it is the outcome itself."""
    variance: float | None
    within: float | None
    """The variance among attempts at the same task, averaged over tasks: what a choice among them can rest on."""
    steps: float | None
    """Spearman's correlation with the number of steps."""
    tokens: float | None
    """Spearman's correlation with the number of tokens that the policy wrote."""
    dead: bool
    """At least 10 answers, and all the same."""


class Redundancy(Record, frozen=True, kw_only=True):
    """Two criteria whose values go together."""

    first: str
    second: str
    correlation: float
    attempts: int


class RubricMeasures(Record, frozen=True, kw_only=True):
    """A rubric on a round."""

    attempts: int
    tasks: int
    resolved: float | None
    criteria: list[CriterionMeasures]
    redundant: list[Redundancy]


class _Table:
    """One row an attempt: what was decided, and each criterion's value (NaN: unknown)."""

    def __init__(self, rubric: Rubric, pairs: Iterable[tuple[Trajectory, Report]]) -> None:
        self.tasks: list[str] = []
        self.verdicts: dict[str, list[Verdict | None]] = {criterion.id: [] for criterion in rubric.criteria}
        resolved, steps, tokens = [], [], []
        for trajectory, report in pairs:
            self.tasks.append(trajectory.task_id)
            outcome = trajectory.outcome.resolved if trajectory.outcome else None
            resolved.append(np.nan if outcome is None else float(outcome))
            steps.append(float(len(trajectory.steps)))
            tokens.append(float(_written(trajectory)))
            found = {verdict.criterion: verdict for verdict in report.verdicts}
            for name, column in self.verdicts.items():
                column.append(found.get(name))
        self.resolved, self.steps, self.tokens = np.array(resolved), np.array(steps), np.array(tokens)
        self.values = {name: _values(column) for name, column in self.verdicts.items()}


def measure(rubric: Rubric, pairs: Iterable[tuple[Trajectory, Report]]) -> RubricMeasures:
    """Everything about every criterion; a few numbers an attempt are held in memory."""
    table = _Table(rubric, pairs)
    criteria = [_measure(table, criterion) for criterion in rubric.criteria]
    tested = [number for number, one in enumerate(criteria) if one.effect is not None]
    adjusted = statistics.benjamini_hochberg([e.p for one in criteria if (e := one.effect) is not None])
    for number, q in zip(tested, adjusted, strict=True):
        criteria[number] = _with_q(criteria[number], q)
    known = table.resolved[~np.isnan(table.resolved)]
    return RubricMeasures(
        attempts=len(table.tasks),
        tasks=len(set(table.tasks)),
        resolved=float(known.mean()) if len(known) else None,
        criteria=criteria,
        redundant=_redundant(table),
    )


def _measure(table: _Table, criterion: Criterion) -> CriterionMeasures:
    values, verdicts = table.values[criterion.id], table.verdicts[criterion.id]
    there = ~np.isnan(values)
    known = values[there]
    asked = [verdict for verdict in verdicts if verdict is not None]
    unknown = Counter(str(verdict.cause) for verdict in asked if verdict.cause)
    return CriterionMeasures(
        id=criterion.id,
        group=criterion.group,
        polarity=criterion.polarity,
        weight=criterion.weight,
        rate=statistics.rate(_by_task(table, values)),
        unknown=dict(unknown),
        unknown_rate=unknown.total() / len(asked) if asked else None,
        labels=_labels(criterion, asked),
        disagreement=_disagreement(asked),
        effect=None if criterion.rule == "tests_pass" else _effect(table, values),
        variance=float(known.var()) if len(known) else None,
        within=_within(table, values),
        steps=_spearman(known, table.steps[there]),
        tokens=_spearman(known, table.tokens[there]),
        dead=len(known) >= LEAST and float(np.ptp(known)) < 1e-12,
    )


def _values(column: list[Verdict | None]) -> Array:
    return np.array([np.nan if v is None or v.value is None else v.value for v in column], dtype=np.float64)


def _written(trajectory: Trajectory) -> int:
    spans = sum(end - start for row in trajectory.tokens for start, end, _ in row.spans)
    return spans or sum(step.completion_tokens for step in trajectory.steps)


def _by_task(table: _Table, values: Array) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for task, value in zip(table.tasks, values, strict=True):
        found.setdefault(task, []).append(None if np.isnan(value) else float(value))
    return found


def _labels(criterion: Criterion, verdicts: list[Verdict]) -> dict[str, int]:
    counts = Counter(verdict.label for verdict in verdicts if not verdict.cause)
    return {answer: counts[answer] for answer in criterion.answers}


def _disagreement(verdicts: list[Verdict]) -> float | None:
    """An unknown vote is a vote of its own: a judge that cannot tell now and then is unsure."""
    units = [tuple("unknown" if vote is None else vote for vote in v.votes) for v in verdicts if len(v.votes) > 1]
    return flips(estimate(units, raw, resamples=0)).value if units else None


def _within(table: _Table, values: Array) -> float | None:
    groups = [[v for v in group if v is not None] for group in _by_task(table, values).values()]
    spreads = [float(np.var(group)) for group in groups if len(group) > 1]
    return sum(spreads) / len(spreads) if spreads else None


def _spearman(one: Array, other: Array) -> float | None:
    if len(one) < LEAST:
        return None
    return statistics.correlation(statistics.ranks(one), statistics.ranks(other))


def _effect(table: _Table, values: Array) -> Effect | None:
    both = ~np.isnan(values) & ~np.isnan(table.resolved)
    met, resolved = values[both] >= 0.5, table.resolved[both] > 0.5
    names, task = np.unique(np.array(table.tasks, dtype=object)[both].astype(str), return_inverse=True)
    cells = np.stack([met & resolved, met & ~resolved, ~met & resolved, ~met & ~resolved], axis=1).astype(np.float64)
    counts = np.zeros((len(names), 4))
    np.add.at(counts, task, cells)
    a, b, c, d = (int(cell) for cell in counts.sum(axis=0))
    if not (a + b and c + d and a + c and b + d):
        return None
    low, high = _effect_interval(counts)
    return Effect(
        value=a / (a + b) - c / (c + d),
        low=low,
        high=high,
        met=(a, b),
        unmet=(c, d),
        p=statistics.fisher([[a, b], [c, d]]),
    )


def _effect_interval(counts: Array) -> tuple[float | None, float | None]:
    """Percentiles of a bootstrap over tasks; none where most draws lack attempts of one kind."""
    generator = np.random.default_rng(0)
    kinds, tasks = np.unique(counts, axis=0, return_counts=True)  # tasks that came out alike are drawn as one kind
    draws = generator.multinomial(len(counts), tasks / len(counts), size=RESAMPLES) @ kinds
    with np.errstate(invalid="ignore", divide="ignore"):
        effects = draws[:, 0] / (draws[:, 0] + draws[:, 1]) - draws[:, 2] / (draws[:, 2] + draws[:, 3])
    known = effects[~np.isnan(effects)]
    if 2 * len(known) <= RESAMPLES or float(np.ptp(known)) < 1e-12:
        return None, None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _with_q(measures: CriterionMeasures, q: float) -> CriterionMeasures:
    return replace(measures, effect=replace(measures.effect, q=q)) if measures.effect is not None else measures


def _redundant(table: _Table) -> list[Redundancy]:
    found = []
    for (first, one), (second, other) in combinations(table.values.items(), 2):
        both = ~np.isnan(one) & ~np.isnan(other)
        together = statistics.correlation(one[both], other[both]) if both.sum() >= LEAST else None
        if together is not None and abs(together) >= SAME:
            found.append(Redundancy(first=first, second=second, correlation=together, attempts=int(both.sum())))
    return sorted(found, key=lambda pair: -abs(pair.correlation))
