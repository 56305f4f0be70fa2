"""Agreement, held against scikit-learn and krippendorff on drawn answers and on labels that people and GPT-4 gave."""

import doctest
import json
import math
import random
from collections import Counter
from pathlib import Path

import krippendorff
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from reward_models import agreement
from reward_models.agreement import RESAMPLES, Level, Unit, Weights, alpha, confusion, estimate, flips, kappa, raw

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "judges" / "prometheus_eval"
absent = pytest.mark.skipif(not DATA.is_dir(), reason="no judges' labels lie beside this checkout")
SKLEARN = {"nominal": None, "linear": "linear", "quadratic": "quadratic"}


def drawn(seed: int, units: int, raters: int, answers: int, missing: float = 0.0) -> list[Unit]:
    """Raters who see the same truth through noise, as numbers from 1."""
    draw = random.Random(seed)
    made = []
    for _ in range(units):
        truth = draw.randint(1, answers)
        given = [truth if draw.random() < 0.6 else draw.randint(1, answers) for _ in range(raters)]
        made.append(tuple(None if draw.random() < missing else float(answer) for answer in given))
    return made


def by_krippendorff(units: list[Unit], level: Level, order: list[float]) -> float:
    rows = [[math.nan if answer is None else answer for answer in rater] for rater in zip(*units, strict=True)]
    return float(krippendorff.alpha(reliability_data=rows, value_domain=order, level_of_measurement=level))


@pytest.mark.parametrize("weights", SKLEARN)
@pytest.mark.parametrize(("seed", "answers"), [(1, 2), (2, 3), (3, 5), (4, 7)])
def test_kappa_is_scikit_learns(weights: Weights, seed: int, answers: int) -> None:
    units = drawn(seed, 80, 2, answers)
    order = [float(n + 1) for n in range(answers)]
    expected = cohen_kappa_score(*zip(*units, strict=True), labels=order, weights=SKLEARN[weights])
    assert kappa(weights, order)(Counter(units)).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize(("seed", "raters", "missing"), [(1, 2, 0.0), (2, 3, 0.3), (3, 6, 0.5), (4, 4, 0.8)])
def test_alpha_is_krippendorffs(level: Level, seed: int, raters: int, missing: float) -> None:
    units = drawn(seed, 60, raters, 4, missing)
    order = [1.0, 2.0, 3.0, 4.0]
    found = alpha(level, order)(Counter(units))
    assert found.value == pytest.approx(by_krippendorff(units, level, order), abs=1e-12)
    assert found.units == sum(sum(answer is not None for answer in unit) > 1 for unit in units)


def test_answers_in_words_are_answers() -> None:
    units = [("yes", "yes"), ("no", "yes"), ("no", "no"), (None, "no")]
    assert kappa()(Counter(units)).value == pytest.approx(cohen_kappa_score(["y", "n", "n"], ["y", "y", "n"]))
    assert confusion(units)["no", "yes"] == 1 and confusion(units)[None, "no"] == 1
    with pytest.raises(ValueError, match="not in the order"):
        kappa("linear", ["yes"])(Counter(units))
    with pytest.raises(ValueError, match="not in the order"):
        alpha("ordinal", ["yes"])(Counter(units))


@pytest.mark.parametrize("statistic", [kappa(), alpha()])
@pytest.mark.parametrize("units", [[("yes", "yes")] * 9, [("yes", None)] * 9, []])
def test_what_is_undefined_has_a_reason_and_no_number(statistic, units) -> None:
    found = estimate(units, statistic)
    assert (found.value, found.low, found.high) == (None, None, None) and found.why


def test_a_constant_rater_has_a_kappa_of_zero() -> None:
    assert kappa()(Counter([("yes", "yes"), ("yes", "no")])).value == 0.0


def test_perfect_agreement_of_few_is_not_certain() -> None:
    few = estimate([("yes", "yes"), ("no", "no")] * 3, kappa())
    many = estimate([("yes", "yes"), ("no", "no")] * 300, kappa())
    assert few.value == many.value == 1.0 and few.high == many.high == 1.0
    assert few.low is not None and many.low is not None and few.low < 0.3 < 0.98 < many.low


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Raters with a known kappa of 0.6 (truth shared with 0.6, else a fair draw): 200 repetitions."""
    inside = 0
    for seed in range(200):
        draw = random.Random(seed)
        units = []
        for _ in range(60):
            same = draw.random() < 0.6
            first = draw.random() < 0.5
            units.append((first, first if same else draw.random() < 0.5))
        found = estimate([(str(a), str(b)) for a, b in units], kappa(), resamples=200)
        assert found.low is not None and found.high is not None
        inside += found.low <= 0.6 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


def test_units_of_one_group_are_drawn_together() -> None:
    """Ten copies of each unit are no more evidence than one when they are of one group."""
    units = drawn(5, 30, 2, 2)
    groups = [number for number in range(30) for _ in range(10)]
    copied = [unit for unit in units for _ in range(10)]
    single, together, apart = (
        estimate(units, kappa()),
        estimate(copied, kappa(), groups=groups),
        estimate(copied, kappa()),
    )
    width = [m.high - m.low for m in (single, together, apart) if m.high is not None and m.low is not None]
    assert width[1] == pytest.approx(width[0], rel=0.25) and width[2] < 0.5 * width[0]
    assert estimate(units, kappa(), seed=3) == estimate(units, kappa(), seed=3)
    assert RESAMPLES >= 1000


def test_flips_are_pairs_of_repeats_that_differ() -> None:
    found = flips(estimate([(1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (None, 1.0, 1.0)], raw))
    assert found.value == pytest.approx((0 + 2 / 3 + 0) / 3)
    assert found.low is not None and found.high is not None and found.low <= found.value <= found.high


def test_the_example_of_the_workbench_page_gives_what_it_says() -> None:
    page = Path(agreement.__file__).with_name("WORKBENCH.md")
    assert doctest.testfile(str(page), module_relative=False).failed == 0


@pytest.fixture(scope="module")
def gpt4() -> list[Unit]:
    """Three scores from 1 to 5 that GPT-4 gave to each of 320 replies."""
    rows = json.loads((DATA / "mt_bench_eval.json").read_text())
    return [tuple(float(score) for score in row["gpt4_score"]) for row in rows]


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.real
@absent
def test_three_repeated_scores_of_a_real_judge(level: Level, gpt4: list[Unit]) -> None:
    assert len(gpt4) == 320
    order = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = alpha(level, order)(Counter(gpt4))
    assert found.value == pytest.approx(by_krippendorff(gpt4, level, order), abs=1e-12)


@pytest.mark.parametrize("weights", SKLEARN)
@pytest.mark.real
@absent
def test_the_first_and_the_second_score_of_a_real_judge(weights: Weights, gpt4: list[Unit]) -> None:
    order = [1.0, 2.0, 3.0, 4.0, 5.0]
    pairs: list[Unit] = [(first, second) for first, second, *_ in gpt4]
    expected = cohen_kappa_score(*zip(*pairs, strict=True), labels=order, weights=SKLEARN[weights])
    assert kappa(weights, order)(Counter(pairs)).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.real
@absent
def test_human_preferences_against_a_judge_of_length() -> None:
    """1,392 human preferences (first, second, tie) against the rule that the longer reply is the better one."""
    rows = [json.loads(line) for line in (DATA / "autoj_pairwise.json").read_text().splitlines()]
    human = [str(row["label"]) for row in rows]
    judge = [longer(row["response 1"], row["response 2"]) for row in rows]
    assert Counter(human) == {"0": 520, "1": 499, "2": 373}
    units = list(zip(human, judge, strict=True))
    found = estimate(units, kappa())
    assert found.value == pytest.approx(cohen_kappa_score(human, judge), abs=1e-12)
    assert found.low is not None and found.high is not None and 0.0 < found.low < found.value < found.high < 0.4
    table, counted = confusion_matrix(human, judge, labels=["0", "1", "2"]), confusion(units)
    for i, one in enumerate("012"):
        assert [counted.get((one, other), 0) for other in "012"] == list(table[i])


def longer(first: str, second: str) -> str:
    """Which of two replies is longer; a tie when they are within a tenth."""
    if abs(len(first) - len(second)) < 0.1 * max(len(first), len(second)):
        return "2"
    return "0" if len(first) > len(second) else "1"
