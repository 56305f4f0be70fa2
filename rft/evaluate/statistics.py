"""Rates, means and paired differences with 95 % intervals from a bootstrap over tasks, and unbiased pass@k.

The unit is the task: attempts at one task resemble each other, so a resample draws whole tasks, all their
attempts with them (cluster bootstrap). Every task counts the same, however many of its attempts are known.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rft.types import Record

Values = Mapping[str, Sequence[float | None]]
"""Task id to one value an attempt; None is unknown."""

Array = npt.NDArray[np.float64]

RESAMPLES = 4000
_BLOCK = 1 << 21
_Z = 1.959963984540054


class Estimate(Record, frozen=True, kw_only=True):
    """A number with its 95 % interval and what it rests on."""

    value: float | None
    """None when nothing is known; then `low` and `high` are None too."""
    low: float | None
    high: float | None
    tasks: int
    """Tasks with at least one known value."""
    attempts: int
    """Known values."""
    unknown: int = 0
    """Values left out because they are unknown."""


def rate(values: Values, *, seed: int = 0) -> Estimate:
    """The mean over tasks of each task's mean, for values in [0, 1]; unknown values are left out and counted."""
    means, attempts, unknown = _task_means(values)
    return _estimate(np.array(list(means.values())), (0.0, 1.0), attempts, unknown, seed)


def difference(after: Values, before: Values, *, seed: int = 0) -> Estimate:
    """`after` minus `before`, paired over the tasks that have a known value in both.

    Values are in [0, 1], the difference in [-1, 1]. `attempts` counts the known values of `after` on common tasks;
    `unknown` counts the unknown values of both on all tasks.
    """
    new, _, unknown_new = _task_means(after)
    old, _, unknown_old = _task_means(before)
    common = [task for task in new if task in old]
    deltas = np.array([new[task] - old[task] for task in common])
    attempts = sum(sum(value is not None for value in after[task]) for task in common)
    return _estimate(deltas, (-1.0, 1.0), attempts, unknown_new + unknown_old, seed)


def pass_at(values: Values, k: int, *, seed: int = 0) -> Estimate:
    """The chance that at least one of `k` attempts succeeds, averaged over tasks.

    The unbiased estimator of Chen et al. 2021 ("Evaluating Large Language Models Trained on Code", section 2.1)
    for each task with at least `k` known attempts; a value of at least 0.5 is a success. Tasks with fewer are
    left out.
    """
    chances: list[float] = []
    attempts = unknown = 0
    for outcomes in values.values():
        known = [value for value in outcomes if value is not None]
        unknown += len(outcomes) - len(known)
        if len(known) >= k:
            attempts += len(known)
            chances.append(chance_of_any(len(known), sum(value >= 0.5 for value in known), k))
    return _estimate(np.array(chances), (0.0, 1.0), attempts, unknown, seed)


def chance_of_any(attempts: int, successes: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k) as a product, which does not overflow."""
    if not 1 <= k <= attempts:
        raise ValueError(f"k is {k}; expected 1 to {attempts}, the number of attempts")
    if attempts - successes < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(attempts - successes + 1, attempts + 1)))


def _task_means(values: Values) -> tuple[dict[str, float], int, int]:
    """Each task's mean of known values; how many are known and unknown in all."""
    means: dict[str, float] = {}
    attempts = unknown = 0
    for task, outcomes in values.items():
        known = [float(value) for value in outcomes if value is not None]
        unknown += len(outcomes) - len(known)
        attempts += len(known)
        if known:
            means[task] = sum(known) / len(known)
    return means, attempts, unknown


def _estimate(tasks: Array, bounds: tuple[float, float], attempts: int, unknown: int, seed: int) -> Estimate:
    if not len(tasks):
        return Estimate(value=None, low=None, high=None, tasks=0, attempts=attempts, unknown=unknown)
    low, high = interval(tasks, bounds, seed=seed)
    value = float(np.clip(tasks.mean(), *bounds))
    return Estimate(value=value, low=low, high=high, tasks=len(tasks), attempts=attempts, unknown=unknown)


def interval(tasks: Array, bounds: tuple[float, float], *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of one value a task; every value lies within `bounds`.

    Percentiles of the bootstrap means, spread by sqrt(n / (n - 1)) against their narrowness in small samples
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"), and never past `bounds`.

    Where all tasks agree (one task, all solved, none solved) a resample shows no spread. Then the share of tasks
    that differ has been seen as 0 of n, and Wilson's bound for that, u = z^2 / (n + z^2), may lie at either
    bound: [value - u (value - least), value + u (most - value)]. At a rate of 0 or 1 this is Wilson's interval.
    """
    least, most = bounds
    count = len(tasks)
    mean = float(tasks.mean())
    if np.ptp(tasks) < 1e-12:
        share = _Z**2 / (count + _Z**2)
        return max(least, mean - share * (mean - least)), min(most, mean + share * (most - mean))
    draws = mean + (resampled_means(tasks, seed=seed) - mean) * np.sqrt(count / (count - 1))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.clip(low, least, mean)), float(np.clip(high, mean, most))


def resampled_means(tasks: Array, *, seed: int = 0, resamples: int = RESAMPLES) -> Array:
    """The mean of each of `resamples` draws of all tasks with replacement; the same seed gives the same draws."""
    generator = np.random.default_rng(seed)
    count = len(tasks)
    rows = max(1, _BLOCK // count)
    return np.concatenate(
        [
            tasks[generator.integers(count, size=(min(rows, resamples - start), count))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )


def crossed_draws(tables: Sequence[Values], tasks: Sequence[str], *, seed: int = 0) -> Array:
    """Bootstrap draws of the mean over repetitions of an experiment, one table of values for each.

    A draw resamples the repetitions and, crossed with them, the tasks. Calls with the same `tasks`, number of
    tables and seed draw the same repetitions and tasks, so their results can be held against each other draw by
    draw: ratios and differences are paired. A draw in which nothing is known is NaN.
    """
    means = np.full((len(tables), len(tasks)), np.nan)
    for row, table in enumerate(tables):
        known, _, _ = _task_means(table)
        means[row] = [known.get(task, np.nan) for task in tasks]
    generator = np.random.default_rng(seed)
    repeats = generator.multinomial(len(tables), np.full(len(tables), 1 / len(tables)), size=RESAMPLES)
    there = ~np.isnan(means)
    filled = np.where(there, means, 0.0)
    draws = []
    for start in range(0, RESAMPLES, rows := max(1, _BLOCK // max(1, len(tasks)))):
        some = repeats[start : start + rows]
        weights = generator.multinomial(len(tasks), np.full(len(tasks), 1 / len(tasks)), size=len(some))
        with np.errstate(invalid="ignore", divide="ignore"):
            of_each = (weights @ filled.T) / (weights @ there.T)
            seen = ~np.isnan(of_each)
            draws.append((some * np.where(seen, of_each, 0.0)).sum(axis=1) / (some * seen).sum(axis=1))
    return np.concatenate(draws)


def fisher(table: Sequence[Sequence[int]]) -> float:
    """The two-sided p-value of Fisher's exact test on a 2 x 2 table of counts.

    The chance, given the margins, of a table that is at most as likely as this one.
    """
    (a, b), (c, d) = table
    row, column, total = a + b, a + c, a + b + c + d
    cells = range(max(0, row + column - total), min(row, column) + 1)
    fixed = _log_choose(total, column)
    logs = np.array([_log_choose(row, x) + _log_choose(total - row, column - x) - fixed for x in cells])
    here = logs[a - cells.start]
    return float(min(1.0, np.exp(logs[logs <= here + 1e-7]).sum()))


def benjamini_hochberg(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number: those at most q make a list of which a share q is false at most.

    Benjamini and Hochberg 1995, "Controlling the False Discovery Rate".
    """
    count = len(values)
    adjusted = [0.0] * count
    least = 1.0
    for rank, index in zip(range(count, 0, -1), np.argsort(values)[::-1], strict=True):
        least = min(least, values[index] * count / rank)
        adjusted[index] = least
    return adjusted


def ranks(values: Array) -> Array:
    """Ranks from 1, equal values sharing the mean of theirs: what Spearman's correlation is made from."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Array = (ends - (counts - 1) / 2)[inverse]
    return means


def correlation(one: Array, other: Array) -> float | None:
    """Pearson's correlation (of two binary variables: phi); None where one of them does not vary."""
    if len(one) < 3 or np.ptp(one) < 1e-12 or np.ptp(other) < 1e-12:
        return None
    return float(np.clip(np.corrcoef(one, other)[0, 1], -1.0, 1.0))


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
