"""The signed score: its bounds, its direction, and what unknown and required verdicts do to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.scorers import signed
from reward_models.types import Criterion, Rubric, Verdict

CRITERIA = st.lists(
    st.tuples(st.sampled_from(["encourage", "discourage"]), st.floats(0.1, 10), st.floats(0, 1)), min_size=1, max_size=8
)


def make(lines: list[tuple[str, float, float | None]], required: int = -1) -> tuple[Rubric, list[Verdict]]:
    criteria = [
        Criterion(id=f"c{n}", rule="submitted", polarity=polarity, weight=weight, required=n == required)
        for n, (polarity, weight, _) in enumerate(lines)
    ]
    verdicts = [Verdict(criterion=f"c{n}", value=value) for n, (_, _, value) in enumerate(lines)]
    return Rubric(name="r", criteria=criteria), verdicts


def test_the_formula_by_hand() -> None:
    rubric, verdicts = make([("encourage", 3, 1.0), ("encourage", 1, 0.0), ("discourage", 2, 1.0)])
    # S = 3 - 2 = 1, between -2 and 4
    assert signed(rubric, verdicts).value == pytest.approx((1 + 2) / 6)


@given(CRITERIA)
def test_bounds_and_the_signed_sum(lines: list[tuple[str, float, float]]) -> None:
    score = signed(*make(lines)).value
    good = sum(w for p, w, _ in lines if p == "encourage")
    bad = sum(w for p, w, _ in lines if p == "discourage")
    total = sum(w * v if p == "encourage" else -w * v for p, w, v in lines)
    assert score is not None and 0 <= score <= 1
    assert score == pytest.approx((total + bad) / (good + bad))


@given(CRITERIA, st.integers(0, 7), st.floats(0, 1))
def test_more_of_a_good_thing_never_hurts_and_more_of_a_bad_one_never_helps(lines, place: int, better: float) -> None:
    place %= len(lines)
    polarity, weight, value = lines[place]
    raised = [*lines[:place], (polarity, weight, max(value, better)), *lines[place + 1 :]]
    before, after = signed(*make(lines)).value, signed(*make(raised)).value
    assert before is not None and after is not None
    assert after >= before - 1e-9 if polarity == "encourage" else after <= before + 1e-9


@given(CRITERIA, st.integers(0, 7))
def test_unknown_is_left_out_or_leaves_no_score(lines, place: int) -> None:
    place %= len(lines)
    blanked = [(p, w, None if n == place else v) for n, (p, w, v) in enumerate(lines)]
    without = [line for n, line in enumerate(lines) if n != place]
    assert signed(*make(blanked), unknown="no_score").value is None
    left = signed(*make(blanked)).value
    assert left == (pytest.approx(signed(*make(without)).value) if without else None)


def test_required() -> None:
    others = ("encourage", 1.0, 1.0)
    assert signed(*make([("encourage", 1, 0.0), others], required=0)).value == 0.0
    assert signed(*make([("discourage", 1, 1.0), others], required=0)).value == 0.0
    assert signed(*make([("encourage", 1, 1.0), others], required=0)).value == 1.0
    unknown = signed(*make([("encourage", 1, None), others], required=0))
    assert unknown.value is None and "c0" in unknown.why


def test_a_missing_verdict_is_unknown() -> None:
    rubric, verdicts = make([("encourage", 1, 1.0), ("encourage", 1, 0.0)])
    assert signed(rubric, verdicts[:1], unknown="no_score").value is None
    assert signed(rubric, verdicts[:1]).value == 1.0
    assert signed(rubric, []).value is None


def test_what_has_no_weight_is_only_watched() -> None:
    rubric, verdicts = make([("encourage", 1, 1.0), ("discourage", 0, None)])
    assert signed(rubric, verdicts, unknown="no_score").value == 1.0
    required, verdicts = make([("encourage", 1, 1.0), ("discourage", 0, 1.0)], required=1)
    assert signed(required, verdicts).value == 0.0
