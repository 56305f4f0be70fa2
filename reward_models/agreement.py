"""How far raters agree: raw agreement, Cohen's kappa, Krippendorff's alpha, with bootstrap intervals over units.

A *unit* is one thing that was rated (a transcript), as a tuple with one answer for each rater and None where a rater
gave none. Every measure is 1 - D / E: the disagreement that was observed over the disagreement that chance would give.
What is undefined (nobody rated twice, or everybody always says the same, so that chance explains all of it) is None
with a reason, never 0 or 1.
"""

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal

import msgspec

Answer = str | float
Unit = tuple[Answer | None, ...]
Weights = Literal["nominal", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]

RESAMPLES = 1000
_Z = 1.959963984540054


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """What a measure is made from, both in units of the largest disagreement that two answers can have."""

    observed: float
    expected: float
    """By chance; 1 for raw agreement, which knows no chance."""
    units: int
    """How many units with at least two answers it rests on."""
    why: str = ""
    """Why the measure is undefined; empty when it is defined."""

    @property
    def value(self) -> float | None:
        """1 - observed / expected, in [-1, 1] or a little below; None when it is undefined."""
        return None if self.why else 1.0 - self.observed / self.expected


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A measure of agreement with its 95 % interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    units: int = 0
    """How many units with at least two answers it rests on."""
    why: str = ""
    """Why there is no value."""


Statistic = Callable[[Mapping[Unit, int]], Disagreement]
"""Units, each with how often it stands there, to what they disagree by."""


def raw(units: Mapping[Unit, int]) -> Disagreement:
    """Raw agreement: the share of pairs of answers to the same unit that are equal, averaged over units."""
    total = apart = 0.0
    for unit, times in units.items():
        if (pairs := _pairs(unit)) is not None:
            total += times
            apart += times * sum(one != other for one, other in pairs) / len(pairs)
    if not total:
        return _nothing()
    return Disagreement(observed=apart / total, expected=1.0, units=int(total))


def kappa(weights: Weights = "nominal", order: Sequence[Answer] = ()) -> Statistic:
    """Cohen's kappa of two raters (Cohen 1960; weighted: Cohen 1968); units that one of them left out are not used.

    `order` gives the answers from lowest to highest, which `linear` and `quadratic` weights need: two answers are as
    far apart as their places in it, or the square of that. Raises ValueError for an answer that is not in it.
    """
    places = {answer: place for place, answer in enumerate(order)}

    def distance(one: Answer, other: Answer) -> float:
        if weights == "nominal":
            return float(one != other)
        for answer in (one, other):
            if answer not in places:
                raise ValueError(f"{answer!r} is not in the order of the answers")
        share = abs(places[one] - places[other]) / max(1, len(places) - 1)
        return share if weights == "linear" else share**2

    def statistic(units: Mapping[Unit, int]) -> Disagreement:
        table: Counter[tuple[Answer, Answer]] = Counter()
        for unit, times in units.items():
            first, second = unit
            if first is not None and second is not None:
                table[first, second] += times
        total = table.total()
        rows: Counter[Answer] = Counter()
        columns: Counter[Answer] = Counter()
        for (first, second), times in table.items():
            rows[first] += times
            columns[second] += times
        observed = sum(times * distance(*cell) for cell, times in table.items())
        expected = sum(r * c * distance(one, other) for one, r in rows.items() for other, c in columns.items())
        return _disagreement(observed / total, expected / total**2, total) if total else _nothing()

    return statistic


def alpha(level: Level = "nominal", order: Sequence[Answer] = ()) -> Statistic:
    """Krippendorff's alpha of any number of raters, answers missing as they may (Krippendorff 2011, "Computing
    Krippendorff's Alpha-Reliability").

    `ordinal` needs `order`, the answers from lowest to highest; `interval` needs numbers. Raises ValueError for an
    answer that is not in `order`.
    """

    def statistic(units: Mapping[Unit, int]) -> Disagreement:
        rated = [(answers, times) for unit, times in units.items() if len(answers := _given(unit)) > 1]
        totals: Counter[Answer] = Counter()
        for answers, times in rated:
            for answer in answers:
                totals[answer] += times
        count = totals.total()
        if not count:
            return _nothing()
        distance = _distances(level, order, totals)
        apart = 0.0
        for answers, times in rated:
            within = sum(distance(one, other) for one, other in combinations(answers, 2))
            apart += 2.0 * times * within / (len(answers) - 1)
        chance = sum(2.0 * totals[a] * totals[b] * distance(a, b) for a, b in combinations(totals, 2))
        largest = max((distance(a, b) for a, b in combinations(totals, 2)), default=1.0) or 1.0
        expected = chance / (count * (count - 1)) / largest
        return _disagreement(apart / count / largest, expected, sum(times for _, times in rated))

    return statistic


def _distances(level: Level, order: Sequence[Answer], totals: Counter[Answer]) -> Callable[[Answer, Answer], float]:
    if level == "nominal":
        return lambda one, other: float(one != other)
    if level == "interval":
        return lambda one, other: (float(one) - float(other)) ** 2
    absent = next((answer for answer in totals if answer not in order), None)
    if absent is not None:
        raise ValueError(f"{absent!r} is not in the order of the answers")
    before = {answer: sum(totals[a] for a in order[:place]) for place, answer in enumerate(order)}

    def ordinal(one: Answer, other: Answer) -> float:
        """The answers between, and half of those at both ends, squared."""
        middles = (before[answer] + totals[answer] / 2 for answer in (one, other))
        return float((next(middles) - next(middles)) ** 2)

    return ordinal


def estimate(
    units: Iterable[Unit],
    statistic: Statistic,
    *,
    groups: Iterable[Hashable] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Measure:
    """A measure with a 95 % interval: percentiles of a bootstrap that draws whole groups of units with replacement.

    `groups` names the group of each unit (its task); left out, every unit is its own. Draws in which the measure is
    undefined are left out; when they are most, there is no interval. Where no unit disagrees a resample shows no
    spread: then Wilson's bound on the share of groups that may disagree all the same, u = z^2 / (n + z^2), gives the
    lower end 1 - u / E.
    """
    units = list(units)
    clusters: dict[Hashable, Counter[Unit]] = {}
    for unit, group in zip(units, range(len(units)) if groups is None else groups, strict=True):
        clusters.setdefault(group, Counter())[unit] += 1
    found = statistic(Counter(units))
    if found.value is None:
        return Measure(value=None, units=found.units, why=found.why)
    if found.observed == 0.0:
        share = _Z**2 / (len(clusters) + _Z**2)
        return Measure(value=1.0, low=max(-1.0, 1.0 - share / found.expected), high=1.0, units=found.units)
    draws = sorted(_draws(list(clusters.values()), statistic, seed, resamples))
    low, high = (_quantile(draws, 0.025), _quantile(draws, 0.975)) if 2 * len(draws) > resamples else (None, None)
    return Measure(value=found.value, low=low, high=high, units=found.units)


def confusion(units: Iterable[tuple[Answer | None, Answer | None]]) -> dict[tuple[Answer | None, Answer | None], int]:
    """How often each pair of answers stands; None is an answer that was not given, or unknown."""
    return dict(Counter(units))


def flips(measure: Measure) -> Measure:
    """Of the `raw` agreement among repeated answers of one rater: the share of pairs of answers that differ."""

    def other(share: float | None) -> float | None:
        return None if share is None else 1.0 - share

    return msgspec.structs.replace(
        measure, value=other(measure.value), low=other(measure.high), high=other(measure.low)
    )


def _draws(clusters: list[Counter[Unit]], statistic: Statistic, seed: int, resamples: int) -> list[float]:
    generator = random.Random(seed)
    distinct = Counter(tuple(sorted(cluster.items(), key=repr)) for cluster in clusters)
    kinds, weights = list(distinct), list(distinct.values())
    values = []
    for _ in range(resamples):
        drawn: Counter[Unit] = Counter()
        for kind, times in Counter(generator.choices(range(len(kinds)), weights, k=len(clusters))).items():
            for unit, count in kinds[kind]:
                drawn[unit] += times * count
        value = statistic(drawn).value
        if value is not None:
            values.append(value)
    return values


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _given(unit: Unit) -> list[Answer]:
    return [answer for answer in unit if answer is not None]


def _pairs(unit: Unit) -> list[tuple[Answer, Answer]] | None:
    return list(combinations(_given(unit), 2)) or None


def _disagreement(observed: float, expected: float, units: int) -> Disagreement:
    why = "" if expected > 0 else "all answers are the same: chance would agree as well"
    return Disagreement(observed=observed, expected=expected, units=units, why=why)


def _nothing() -> Disagreement:
    return Disagreement(observed=0.0, expected=0.0, units=0, why="nothing was answered twice")
