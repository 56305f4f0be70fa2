"""Intervals, paired differences and pass@k against scipy, brute force and arbitrary input."""

import itertools
import math
import random

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.evaluate import statistics

tables = st.dictionaries(
    st.text(min_size=1, max_size=4),
    st.lists(st.none() | st.floats(0, 1), min_size=0, max_size=4),
    max_size=8,
)


def binary(successes: list[list[int]]) -> dict[str, list[float | None]]:
    return {f"task{number}": [float(value) for value in row] for number, row in enumerate(successes)}


def test_rate_agrees_with_scipy_bootstrap() -> None:
    generator = np.random.default_rng(3)
    rows = generator.random((120, 1)) > generator.random((120, 4))
    ours = statistics.rate(binary(rows.astype(int).tolist()))
    theirs = scipy.stats.bootstrap(
        (rows.mean(axis=1),), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.value == pytest.approx(rows.mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.high, abs=0.01)


def test_attempts_of_one_task_move_together() -> None:
    """Forty copies of the same attempt are no more evidence than one."""
    once = statistics.rate(binary([[1], [0], [1], [0], [1]]))
    copied = statistics.rate(binary([[1] * 40, [0] * 40, [1] * 40, [0] * 40, [1] * 40]))
    assert (once.low, once.high) == (copied.low, copied.high)


def test_coverage_of_clustered_data_is_near_95_percent() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        chances = generator.beta(0.6, 0.9, size=30)
        rows = generator.random((30, 4)) < chances[:, None]
        estimate = statistics.rate(binary(rows.astype(int).tolist()), seed=trial)
        assert estimate.low is not None and estimate.high is not None
        covered += estimate.low <= 0.4 <= estimate.high
    assert 0.91 <= covered / 300 <= 0.99


@pytest.mark.parametrize(("outcome", "expected"), [(0, 0.0), (1, 1.0)])
def test_all_alike_gives_wilsons_interval(outcome: int, expected: float) -> None:
    estimate = statistics.rate(binary([[outcome, outcome]] * 20))
    wilson = scipy.stats.binomtest(20 * outcome, 20).proportion_ci(method="wilson")
    assert estimate.value == expected
    assert (estimate.low, estimate.high) == (pytest.approx(wilson.low), pytest.approx(wilson.high))


def test_one_task_says_little() -> None:
    estimate = statistics.rate({"only": [1.0, 0.0, 1.0, 0.0]})
    assert estimate.value == 0.5
    assert estimate.low is not None and estimate.low < 0.15
    assert estimate.high is not None and estimate.high > 0.85


def test_unknown_is_left_out_and_counted_and_never_zero() -> None:
    estimate = statistics.rate({"a": [1.0, None, None], "b": [None], "c": [1.0, 1.0]})
    assert (estimate.value, estimate.tasks, estimate.attempts, estimate.unknown) == (1.0, 2, 3, 3)
    nothing = statistics.rate({"a": [None], "b": []})
    assert (nothing.value, nothing.low, nothing.high, nothing.tasks, nothing.unknown) == (None, None, None, 0, 1)


def test_pairing_narrows_the_interval() -> None:
    """Hard and easy tasks differ far more than the policies do: only the pairing sees the small gain."""
    before = binary([[0, 0, 0, 0]] * 20 + [[1, 1, 1, 1]] * 18 + [[1, 1, 1, 0]] * 8)
    after = binary([[0, 0, 0, 0]] * 20 + [[1, 1, 1, 1]] * 26)
    paired = statistics.difference(after, before)
    assert paired.value == pytest.approx(8 * 0.25 / 46)
    assert paired.low is not None and paired.low > 0
    alone = statistics.rate(after)
    assert alone.low is not None and paired.value is not None and alone.value is not None
    assert alone.low < alone.value - paired.value


def test_difference_uses_common_tasks_only() -> None:
    after = {"a": [1.0, 1.0], "b": [0.0], "new": [1.0]}
    before = {"a": [0.0, 1.0], "b": [None], "old": [1.0]}
    estimate = statistics.difference(after, before)
    assert (estimate.value, estimate.tasks, estimate.attempts) == (0.5, 1, 2)


def test_no_change_anywhere_is_zero_with_a_narrow_interval() -> None:
    table = binary([[1], [0]] * 50)
    estimate = statistics.difference(table, table)
    assert estimate.value == 0
    assert estimate.high == pytest.approx(3.84 / 103.84, abs=1e-3)
    assert estimate.low == pytest.approx(-3.84 / 103.84, abs=1e-3)


def test_same_seed_same_interval_and_seeds_differ() -> None:
    table = binary([[1, 0], [0, 0], [1, 1], [0, 1], [1, 0], [1, 1], [0, 0]])
    assert statistics.rate(table, seed=1) == statistics.rate(table, seed=1)
    values = np.array([0.1, 0.5, 0.7, 0.2])
    assert not np.array_equal(statistics.resampled_means(values, seed=1), statistics.resampled_means(values, seed=2))


def test_many_tasks_are_drawn_in_blocks() -> None:
    """Memory stays bounded, and blocks change nothing about the size or the mean of the draw."""
    values = np.linspace(0, 1, 3_000)
    means = statistics.resampled_means(values, resamples=1_000)
    assert means.shape == (1_000,)
    assert means.std() == pytest.approx(values.std() / math.sqrt(3_000), rel=0.15)


@given(st.integers(1, 9), st.data())
def test_pass_at_k_equals_brute_force(attempts: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, attempts))
    k = data.draw(st.integers(1, attempts))
    outcomes = [1] * successes + [0] * (attempts - successes)
    draws = list(itertools.combinations(outcomes, k))
    expected = sum(any(draw) for draw in draws) / len(draws)
    assert statistics.chance_of_any(attempts, successes, k) == pytest.approx(expected)


def test_pass_at_one_is_the_rate_and_grows_with_k() -> None:
    table = binary([[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1]])
    values = [statistics.pass_at(table, k).value for k in (1, 2, 3, 4)]
    assert values[0] == statistics.rate(table).value
    assert values == sorted(values, key=lambda value: value or 0)
    assert values[-1] == pytest.approx(2 / 3)


def test_pass_at_k_leaves_out_tasks_with_too_few_attempts() -> None:
    estimate = statistics.pass_at({"a": [1.0, 0.0], "b": [1.0, None]}, 2)
    assert (estimate.value, estimate.tasks, estimate.unknown) == (1.0, 1, 1)
    with pytest.raises(ValueError, match="expected 1 to 2"):
        statistics.chance_of_any(2, 1, 3)


@settings(max_examples=60)
@given(tables, tables)
def test_estimates_stay_in_range_and_ordered(after: statistics.Values, before: statistics.Values) -> None:
    for estimate, least in (
        (statistics.rate(after), 0.0),
        (statistics.pass_at(after, 2), 0.0),
        (statistics.difference(after, before), -1.0),
    ):
        if estimate.value is None:
            assert estimate.low is None and estimate.high is None
        else:
            assert estimate.low is not None and estimate.high is not None
            assert least <= estimate.low <= estimate.value <= estimate.high <= 1.0


@pytest.mark.parametrize("seed", range(60))
def test_fishers_exact_test_is_scipys(seed: int) -> None:
    draw = random.Random(seed)
    most = draw.choice([3, 12, 80, 900])
    table = [[draw.randint(0, most) for _ in range(2)] for _ in range(2)]
    assert statistics.fisher(table) == pytest.approx(scipy.stats.fisher_exact(table).pvalue, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("values", [[], [0.03], [0.01, 0.04, 0.03, 0.5, 0.5, 1.0], [0.2, 0.2, 0.01]])
def test_benjamini_hochberg_is_scipys(values: list[float]) -> None:
    expected = scipy.stats.false_discovery_control(values) if values else []
    assert statistics.benjamini_hochberg(values) == pytest.approx(list(expected))


def test_ranks_and_correlations_are_scipys() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.integers(5, size=40).astype(float), generator.random(40).round(1)
    assert list(statistics.ranks(one)) == list(scipy.stats.rankdata(one))
    found = statistics.correlation(statistics.ranks(one), statistics.ranks(other))
    assert found == pytest.approx(scipy.stats.spearmanr(one, other).statistic)
    assert statistics.correlation(one, np.ones(40)) is None
