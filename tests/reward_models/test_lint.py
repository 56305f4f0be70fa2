"""What is remarked on in a rubric, and what is not."""

import pytest

from reward_models import rubric as rubrics
from reward_models.lint import lint
from reward_models.types import Criterion, Report, Rubric, Verdict


def remarks(
    *criteria: Criterion, view: str = "trajectory", reports: list[Report] | None = None
) -> list[tuple[str, str]]:
    rubric = rubrics.check(Rubric(name="r", view=view, criteria=list(criteria)))
    return [(remark.criterion, remark.kind) for remark in lint(rubric, reports or [])]


def asks(question: str, identity: str = "it", **changes: object) -> Criterion:
    return Criterion(id=identity, question=question, reason="it matters", **changes)


@pytest.mark.parametrize(
    "question",
    [
        "Did the agent run the tests and commit the change?",
        "Did the agent read the file or then plainly ignore it?",
        "Does the change compile and does it keep the interface?",
        "Did it read the task? Did it answer?",
    ],
)
def test_two_behaviours_in_one_question(question: str) -> None:
    assert remarks(asks(question)) == [("it", "double_barrelled")]


@pytest.mark.parametrize(
    "question",
    [
        "Did the agent change tests and documentation?",
        "When a command failed or printed something unexpected, did the next steps respond to that output?",
        "Did the agent claim a result that it did not see and could not know?",
        "Does the change address the behaviour that the task complains about, and not another one?",
        'Did the agent print "read and write"?',
    ],
)
def test_a_joined_noun_or_a_clause_is_no_second_behaviour(question: str) -> None:
    assert remarks(asks(question)) == []


@pytest.mark.parametrize(
    ("question", "view"),
    [
        ("Did the agent run the tests?", "patch"),
        ("Do the early steps show the bug?", "patch"),
        ("Was the final answer submitted?", "prefix"),
        ("Was the user's reply a complaint?", "trajectory"),
        ("Is the bug fixed?", "trajectory"),
    ],
)
def test_what_the_view_does_not_show(question: str, view: str) -> None:
    assert remarks(asks(question), view=view) == [("it", "unanswerable")]
    assert remarks(asks(question, view=view)) == [("it", "unanswerable")], "the criterion's own view counts"


def test_what_the_view_shows() -> None:
    assert remarks(asks("Did the agent run the tests?")) == []
    assert remarks(asks("Did the user complain?", requires_followup=True, view="segment")) == []
    assert remarks(asks("Does the change touch one function?"), view="patch") == []


def test_duplicates_vague_words_negations_and_missing_reasons() -> None:
    first = asks("Did the agent run the whole test suite after its last change?", "one")
    near = asks("Did the agent run the whole test suite after the last change?", "two")
    other = asks("Did the agent look at the failing file?", "three")
    assert remarks(first, near, other) == [("two", "duplicate")]
    rule = Criterion(id="a", rule="small_diff", options={"max_lines": 3}, reason="r")
    twin = Criterion(id="b", rule="small_diff", options={"max_lines": 3}, reason="r")
    longer = Criterion(id="c", rule="small_diff", options={"max_lines": 9}, reason="r")
    assert remarks(rule, twin, longer) == [("b", "duplicate")]
    assert remarks(asks("Was the work of good quality?")) == [("it", "vague")]
    assert remarks(asks("Did the agent fail to run a check?")) == [("it", "negated")]
    assert remarks(asks("Did the agent change what the task did not ask for?")) == []
    assert remarks(Criterion(id="it", rule="tests_pass")) == [("it", "no_reason")]


def reports(*values: float | None, **changes: object) -> list[Report]:
    return [
        Report(id=str(n), task_id="t", rubric="r", judge="j", score=None,
               verdicts=[Verdict(criterion="it", value=value, **changes)])
        for n, value in enumerate(values)
    ]  # fmt: skip


def test_what_told_nothing_on_a_run() -> None:
    criterion = asks("Did the agent look?")
    assert remarks(criterion, reports=reports(*[1.0] * 12)) == [("it", "constant")]
    assert remarks(criterion, reports=reports(*[None] * 12, cause="judge")) == [("it", "constant")]
    assert remarks(criterion, reports=reports(*[1.0] * 12, 0.0)) == []
    assert remarks(criterion, reports=reports(*[1.0] * 3)) == [], "three verdicts say little"
    assert remarks(criterion, reports=reports(*[None] * 12, label="parser")) == [], "a label is an answer"


def test_shipped_rubrics_of_rules_have_nothing_to_remark() -> None:
    assert lint(rubrics.load("coding_agent")) == []
