"""The signed score: its bounds, its direction, and what unknown and required verdicts do to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.scorers import dropout, signed
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


@given(CRITERIA, st.floats(0, 0.999), st.text(max_size=20), st.integers(-1, 7))
def test_dropout_leaves_out_a_share_and_never_what_is_required_or_all(lines, share: float, key: str, place: int):
    rubric, _ = make(lines, required=place)
    free = [c.id for c in rubric.criteria if not c.required]
    gone = dropout(rubric, share, key)
    assert gone == dropout(rubric, share, key) and set(gone) <= set(free) and len(gone) == len(set(gone))
    if len(free) < 2 or not share:
        assert gone == []
    else:
        assert 1 <= len(gone) < len(free) and abs(len(gone) - share * len(free)) <= 1


@given(CRITERIA, st.floats(0, 0.999), st.floats(0, 0.999), st.text(max_size=20))
def test_a_larger_share_drops_the_same_and_more(lines, some: float, more: float, key: str) -> None:
    rubric, _ = make(lines)
    some, more = sorted((some, more))
    assert set(dropout(rubric, some, key)) <= set(dropout(rubric, more, key))


@given(CRITERIA, st.floats(0, 0.999), st.text(max_size=9), st.integers(0, 7), st.floats(0, 1))
def test_what_is_dropped_moves_no_score_and_the_rest_moves_it_the_right_way(lines, share, key, place, better) -> None:
    place %= len(lines)
    polarity, weight, value = lines[place]
    raised = [*lines[:place], (polarity, weight, max(value, better)), *lines[place + 1 :]]
    gone = dropout(make(lines)[0], share, key)
    before, after = signed(*make(lines), without=gone).value, signed(*make(raised), without=gone).value
    assert before is not None and after is not None and 0 <= before <= 1
    if f"c{place}" in gone:
        assert before == after
    else:
        assert after >= before - 1e-9 if polarity == "encourage" else after <= before + 1e-9


def test_every_criterion_is_dropped_in_its_turn_and_no_key_is_like_the_next() -> None:
    rubric, _ = make([("encourage", 1, 1.0)] * 8)
    drawn = [tuple(dropout(rubric, 0.25, f"0/1/task-{n}")) for n in range(400)]
    assert all(len(gone) == 2 for gone in drawn) and len(set(drawn)) == 28, "every pair of eight"
    counts = [sum(f"c{n}" in gone for gone in drawn) for n in range(8)]
    assert all(70 < count < 130 for count in counts), "a quarter of 400 each"


def test_an_unknown_that_is_dropped_leaves_the_score_alone() -> None:
    rubric, verdicts = make([("encourage", 1, None), ("encourage", 1, 1.0)])
    assert signed(rubric, verdicts, unknown="no_score").value is None
    assert signed(rubric, verdicts, unknown="no_score", without=["c0"]).value == 1.0


def test_what_weighs_nothing_is_not_dropped_in_place_of_what_does() -> None:
    rubric, _ = make([("encourage", 0, None), ("encourage", 1, 1.0), ("encourage", 1, 1.0)])
    assert all("c0" not in dropout(rubric, 0.5, str(n)) for n in range(50))


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ValueError, match="expected 0 or more and less than 1"):
        dropout(make([("encourage", 1, 1.0)])[0], share, "k")
