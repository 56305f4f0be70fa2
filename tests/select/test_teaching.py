"""What kept attempts teach: pairs, labels and advantages; what is masked; and that nothing is lost in silence."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from reward_models.types import Report, Verdict
from rft import select
from rft.errors import RecipeError
from rft.plugins import build
from rft.select.advantages import Advantages, normalised, steps_ahead
from rft.select.candidate import Candidate
from rft.select.masks import cited, without
from rft.select.stage import Funnel
from rft.select.teaching import Imitate, Labels, Pairs, StepPairs
from rft.store import Records
from rft.types import Decision, Example, Step, TokenRow
from tests.conftest import make_trajectory
from tests.select.prepared import prepare

SPANS = [(2, 4), (6, 8), (10, 12)]


def candidate(
    name: str,
    score: float | None,
    *,
    ids: list[int] | None = None,
    verdicts: list[Verdict] | None = None,
    rows: int = 1,
) -> Candidate:
    steps = [Step(index=n, reply="r", command="c", observation="") for n in (1, 2, 3)]
    example = Example(
        id=f"{name}/0", trajectory_id=name, task_id="t", ids=ids or list(range(12)), spans=SPANS, steps=[1, 2, 3],
        logprobs=[-float(n) for n in range(6)], provenance="recorded",
    )  # fmt: skip
    return Candidate(
        trajectory=make_trajectory(name, steps=steps),
        report=Report(id=name, task_id="t", rubric="r", judge="", verdicts=verdicts or [], score=score),
        examples=[example] * rows,
        seed=0,
    )


def shows(criterion: str, *steps: int, value: float | None = 1.0) -> Verdict:
    return Verdict(criterion=criterion, value=value, steps=list(steps))


def test_pairs_set_the_best_against_the_worst() -> None:
    group = [candidate(f"a{n}", score) for n, score in enumerate([0.1, 0.9, 0.5, 0.4, None])]
    group.append(candidate("two-rows", 1.0, rows=2))
    taught = Pairs(margin=0.2)(group)
    assert [(e.trajectory_id, e.good) for e in taught.examples] == [("a1", True), ("a0", False)]
    assert taught.examples[0].pair == taught.examples[1].pair != ""
    assert taught.dropped == {
        "a2": "in no pair",
        "a3": "in no pair",
        "a4": "no score",
        "two-rows": "2 token rows, and a side of a pair is one",
    }
    assert len(Pairs()(group).examples) == 4
    assert len(Pairs(keep=1)(group).examples) == 2


def test_step_pairs_learn_from_where_two_attempts_part() -> None:
    same = list(range(12))
    parted = [*same[:7], 99, *same[8:]]
    group = [candidate("good", 0.9, ids=same), candidate("bad", 0.1, ids=parted)]
    (better, worse) = StepPairs()(group).examples
    assert (better.ids, better.spans, better.steps) == (same[:8], [(6, 8)], [2])
    assert (worse.ids, worse.good) == (parted[:8], False)
    (better, _) = StepPairs(learn="rest")(group).examples
    assert (better.spans, len(better.ids)) == ([(6, 8), (10, 12)], 12)
    assert StepPairs(shared=2)(group).dropped == {"good": "in no pair", "bad": "in no pair"}


@pytest.mark.parametrize("place", [0, 5, 9])
def test_attempts_that_read_different_things_are_no_step_pair(place: int) -> None:
    other = list(range(12))
    other[place] = 99
    taught = StepPairs(shared=0)([candidate("good", 0.9), candidate("bad", 0.1, ids=other)])
    assert not taught.examples


def test_labels_follow_the_score() -> None:
    group = [candidate(f"a{n}", score) for n, score in enumerate([0.8, 0.5, 0.3, None])]
    taught = Labels(good=0.7, bad=0.4)(group)
    assert [(e.trajectory_id, e.good) for e in taught.examples] == [("a0", True), ("a2", False)]
    assert taught.dropped == {"a1": "score 0.500 is neither good nor bad", "a3": "no score"}


def test_imitation_weighs_attempts_and_steps() -> None:
    group = [candidate("a", 0.5, verdicts=[shows("hasty", 2)]), candidate("b", 0.0), candidate("c", None)]
    taught = Imitate(weight="score", step_weights={"hasty": 0.5})(group)
    assert [e.weights for e in taught.examples] == [[0.5, 0.25, 0.5]]
    assert taught.dropped == {"b": "its score of 0 is its weight", "c": "no score"}
    assert [e.weights for e in Imitate()(group).examples] == [[], [], []]


def test_objectives_are_each_normalised_before_they_are_added() -> None:
    group = [
        candidate("a", 0.5, verdicts=[shows("tidy", value=0.0)]),
        candidate("b", 1.0, verdicts=[shows("tidy", value=0.001)]),
        candidate("c", 0.0, verdicts=[shows("tidy", value=None)]),
    ]
    taught = Advantages(objectives={"score": 1.0, "tidy": -0.5})(group)
    half = math.sqrt(0.5)
    expected = {"a": -half + 0.5 * half, "b": half - 0.5 * half}
    assert {e.trajectory_id: e.weights for e in taught.examples} == {
        name: pytest.approx([value] * 3) for name, value in expected.items()
    }
    assert taught.dropped == {"c": "tidy is unknown"}
    assert Advantages()([group[0]]).dropped == {"a": "nothing to compare it with"}
    alike = Advantages()([candidate("a", 0.5), candidate("b", 0.5)])
    assert alike.dropped == dict.fromkeys("ab", "no better and no worse than its group")


def test_what_no_ratio_can_be_taken_to_is_counted_and_no_baseline() -> None:
    bare = candidate("bare", 0.9)
    bare = Candidate(
        trajectory=bare.trajectory,
        report=bare.report,
        seed=0,
        examples=[replace(e, logprobs=[]) for e in bare.examples],
    )
    taught = Advantages(scale=False)([candidate("a", 1.0), candidate("b", 0.0), bare])
    assert {e.trajectory_id: e.weights[0] for e in taught.examples} == {"a": 0.5, "b": -0.5}
    assert taught.dropped == {"bare": "log-probabilities of what it drew were not recorded"}


def test_steps_that_show_a_fault_are_paid_for_by_what_led_to_them() -> None:
    group = [candidate("a", 0.5, verdicts=[shows("repeats", 2)]), candidate("b", 0.5)]
    taught = Advantages(step_rewards={"repeats": -1.0})(group)
    assert {e.trajectory_id: e.weights for e in taught.examples} == {"a": [-1.0, -1.0, 0.0], "b": [1.0, 1.0, 0.0]}


def expectation(go_on: float, advantages_of: Any) -> float:
    """The exact expectation of a group's policy gradient where each of two attempts pays 1 a step and may stop."""
    attempts = {1: 1 - go_on, 2: go_on * (1 - go_on), 3: go_on * go_on}
    total = 0.0
    for one, other in product(attempts, repeat=2):
        for length, row in zip((one, other), advantages_of([[-1.0] * one, [-1.0] * other]), strict=True):
            for step, advantage in enumerate(row, 1):
                if step < 3:
                    slope = 1 / go_on if step < length else -1 / (1 - go_on)
                    total += attempts[one] * attempts[other] * advantage * slope / 2
    return total


def alive_only(rewards: list[list[float]]) -> list[list[float]]:
    """The tempting baseline: the mean over those that are still going at a step, the attempt itself included."""
    ahead = [[sum(row[step:]) for step in range(len(row))] for row in rewards]
    means = [
        sum(row[step] for row in ahead if step < len(row)) / sum(step < len(row) for row in ahead)
        for step in range(max(map(len, ahead)))
    ]
    return [[value - means[step] for step, value in enumerate(row)] for row in ahead]


@pytest.mark.parametrize("go_on", [0.2, 0.5, 0.9])
def test_the_step_baseline_leaves_the_gradient_s_expectation_as_it_is(go_on: float) -> None:
    truth = -(1 + 2 * go_on)  # of -(1 + p + p²), the expected sum of rewards
    assert expectation(go_on, steps_ahead) == pytest.approx(truth, abs=1e-9)
    assert abs(expectation(go_on, alive_only) - truth) > 0.1


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_normalised_scores_have_mean_0_and_spread_1(values: list[float]) -> None:
    found = normalised(values)
    assert sum(found) == pytest.approx(0, abs=1e-6)
    if any(found):
        assert sum(value * value for value in found) == pytest.approx(len(values) - 1, rel=1e-6)


@settings(deadline=None)
@given(
    masked=st.sets(st.integers(0, 6)),
    lengths=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=6),
)
def test_masked_steps_stay_in_the_context_and_nothing_else_changes(
    masked: set[int], lengths: list[tuple[int, int]]
) -> None:
    spans, place = [], 0
    for gap, length in lengths:
        spans.append((place + gap, place + gap + length))
        place += gap + length
    ids = list(range(place))
    steps = list(range(1, len(spans) + 1))
    logprobs = [float(n) for start, end in spans for n in range(start, end)]
    example = Example(
        id="a",
        trajectory_id="a",
        task_id="t",
        ids=ids,
        spans=spans,
        steps=steps,
        logprobs=logprobs,
        provenance="recorded",
    )
    found = without([example], masked)
    left = [(span, step) for span, step in zip(spans, steps, strict=True) if step not in masked]
    if not left:
        assert found == []
        return
    (kept,) = found
    assert list(zip(kept.spans, kept.steps, strict=True)) == left
    assert kept.ids == ids
    assert kept.logprobs == [float(n) for (start, end), _ in left for n in range(start, end)]


def test_only_a_verdict_that_says_so_masks() -> None:
    report = candidate("a", 1.0, verdicts=[shows("x", 1, value=0.0), shows("x", 2, value=None), shows("y", 3)]).report
    assert cited(report, ["x"]) == {}
    assert cited(report, ["y"]) == {3: ["y"]}
    assert cited(None, ["y"]) == {}


def test_a_judge_that_thinks_it_hardly_likely_masks_and_weighs_nothing(tmp_path: Path) -> None:
    rubric = tmp_path / "asked.yaml"
    rubric.write_text(
        "name: asked\nversion: 1\nview: trajectory\ncriteria:\n"
        "  - {id: hasty, question: Did it act without looking, polarity: discourage, weight: 1}\n"
        "  - {id: repeats_itself, rule: repeated_command, polarity: discourage, weight: 1}\n"
    )
    attempts = [make_trajectory(f"a/01/{n:02d}", task="a", sample=n) for n in range(3)]
    found = [shows("hasty", 1, value=0.04), shows("hasty", 1, value=0.8), shows("repeats_itself", 1, value=0.04)]
    reports = [
        Report(id=attempt.id, task_id="a", rubric="r", judge="", verdicts=[verdict], score=1.0)
        for attempt, verdict in zip(attempts, found, strict=True)
    ]
    run = prepare(tmp_path, "{rules: [], mask_steps: [hasty, repeats_itself]}", attempts, reports)
    run.recipe.score.rubric = str(rubric)
    select.run(run.recipe, run, 1)
    learnt = Records(run.stage(1, "select").path / "examples.jsonl", Example)
    assert [example.steps for example in learnt] == [[1, 2], [2], [2]]
    likely, unlikely = (
        Candidate(**{**vars(candidate("a", 1.0, verdicts=[shows("hasty", 2, value=value)])), "asked": {"hasty"}})
        for value in (0.8, 0.04)
    )
    weighed = Imitate(step_weights={"hasty": 0.5})([likely, unlikely])
    assert [example.weights for example in weighed.examples] == [[1.0, 0.5, 1.0], []]


def test_the_stage_masks_pairs_and_counts_what_teaches_nothing(tmp_path: Path) -> None:
    attempts = [make_trajectory(f"a/01/{n:02d}", task="a", sample=n) for n in range(3)]
    attempts.append(make_trajectory("a/01/03", task="a", tokens=[TokenRow(ids=list(range(9)), spans=[(4, 8, 1)])]))
    reports = [
        Report(id=attempt.id, task_id="a", rubric="r", judge="", verdicts=[shows("repeats_itself", 1)], score=score)
        for attempt, score in zip(attempts, [0.2, 0.9, 0.5, 1.0], strict=True)
    ]
    run = prepare(tmp_path, "{rules: [], mask_steps: [repeats_itself], teach: {use: pairs}}", attempts, reports)
    select.run(run.recipe, run, 1)
    folder = run.stage(1, "select").path
    assert [(e.trajectory_id, e.spans, e.good) for e in Records(folder / "examples.jsonl", Example)] == [
        ("a/01/01", [(12, 18)], True),
        ("a/01/00", [(12, 18)], False),
    ]
    assert {d.id: d.rule for d in Records(folder / "decisions.jsonl", Decision)} == {
        "a/01/00": "kept",
        "a/01/01": "kept",
        "a/01/02": "teach",
        "a/01/03": "mask_steps",
    }


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("{mask_steps: [repeat_itself]}", r"select.mask_steps: 'repeat_itself' .* Did you mean 'repeats_itself'"),
        ("{teach: {use: pears}}", "no teaching is called 'pears'"),
        ("{teach: {use: labels, good: 0.2, bad: 0.4}}", "select.teach: bad is 0.4"),
        ("{teach: {use: imitate, step_weights: {x: 0}}}", "step_weights.x is 0"),
        ("{teach: {use: pairs, margin: -0.1}}", "select.teach: margin is -0.1; expected at least 0"),
        ("{teach: {use: step_pairs, keep: 0}}", "select.teach: keep is 0; expected at least 1"),
        ("{teach: {use: advantages, step_rewards: {repeats: -1.0}}}", "select.teach: 'repeats'"),
        ("{teach: {use: advantages, objectives: {tests: 1.0}}}", "select.teach: 'tests'"),
    ],
)
def test_a_wrong_selection_is_one_line(tmp_path: Path, chosen: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        Funnel(prepare(tmp_path, chosen, [], []).recipe)
    assert "\n" not in str(caught.value)


def test_every_teaching_is_a_plug_in_with_defaults() -> None:
    for name in ("imitate", "pairs", "step_pairs", "labels", "advantages"):
        assert build("teaching", {"use": name}, "select.teach")([]).examples == []
