"""Which calls a judge makes: lots, groups, views, windows, and asking again; how prompts share what comes first."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcripts import FAILED, LOOK, SUBMIT, transcript

from reward_models.chat import Reply
from reward_models.evaluation import evaluate
from reward_models.judges import Generative, Request
from reward_models.judges.generative import packs
from reward_models.types import Criterion, Rubric

ASKED = re.compile(r"^- ([a-z0-9_]+): ", re.MULTILINE)


class Answering(Generative):
    """Answers what it is asked, by question and by what it is shown; keeps what it heard."""

    def __init__(self, answers: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.answers = answers or {}
        self.heard: list[Request] = []

    def ask(self, request: Request) -> Reply:
        self.heard.append(request)
        text = request.messages[1]["content"]
        lines = []
        for name in ASKED.findall(text.rpartition("\nQuestions:")[2]):
            wanted = self.answers.get(name, "yes")
            lines.append({"id": name, "answer": wanted(text, request.vote) if callable(wanted) else wanted})
        return Reply(text=json.dumps({"verdicts": lines}), prompt_tokens=10, completion_tokens=1)

    def identity(self) -> list[str]:
        return ["answering"]

    def lots(self) -> list[list[str]]:
        return [[question.id for question in request.questions] for request in self.heard]


def rubric(*criteria: Criterion) -> Rubric:
    return Rubric(name="r", criteria=list(criteria))


def question(name: str, **fields: Any) -> Criterion:
    return Criterion(id=name, question=f"Was {name} there?", **fields)


SUBJECT = transcript(FAILED, LOOK, SUBMIT)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(["", "g", "h"]), max_size=12), st.integers(0, 5))
def test_lots_hold_each_question_once_and_keep_small_groups_together(groups: list[str], per_call: int) -> None:
    questions = [question(f"q{n}", group=group) for n, group in enumerate(groups)]
    lots = packs(questions, per_call)
    assert sorted(q.id for lot in lots for q in lot) == sorted(q.id for q in questions)
    assert all(lots) and all(len(lot) <= per_call for lot in lots if per_call)
    for group in {"g", "h"} & set(groups):
        if 0 < groups.count(group) <= per_call:
            assert sum(any(q.group == group for q in lot) for lot in lots) == 1


def test_questions_are_asked_by_view_and_a_few_at_a_time_after_the_same_words() -> None:
    subject = rubric(*(question(f"q{n}") for n in range(5)), question("diff", view="patch"))
    judge = Answering(per_call=2)
    report = evaluate(SUBJECT, subject, judge=judge)
    assert sorted(judge.lots()) == [["diff"], ["q0", "q1"], ["q2", "q3"], ["q4"]]
    assert report.calls == 4 and report.prompt_tokens == 40 and all(v.value == 1.0 for v in report.verdicts)
    texts = [request.messages for request in judge.heard if request.questions[0].id != "diff"]
    heads = {(m[0]["content"], m[1]["content"].rpartition("Questions:")[0]) for m in texts}
    assert len(heads) == 1, "a server can keep all but the questions"
    (patch,) = [request for request in judge.heard if request.questions[0].id == "diff"]
    assert "STEP 1" not in patch.messages[1]["content"]


def test_a_long_transcript_is_cut_with_notice_or_judged_in_windows() -> None:
    steps = [(f"look {n}", f"{n} " * 300, 0) for n in range(30)]
    subject = transcript(*steps)
    asked = rubric(question("lied", polarity="discourage"), question("kind"))

    def in_the_middle(text: str, vote: int) -> str:
        return "yes" if "look 15\n" in text else "no"

    cut = Answering({"lied": in_the_middle, "kind": in_the_middle}, transcript_chars=4_000)
    report = evaluate(subject, asked, judge=cut)
    assert len(cut.heard) == 1 and report.cut > 5_000, "what was not shown is said"
    windowed = Answering({"lied": in_the_middle, "kind": in_the_middle}, transcript_chars=4_000, long="windows")
    report = evaluate(subject, asked, judge=windowed)
    assert len(windowed.heard) > 4 and report.cut == 0
    assert [verdict.value for verdict in report.verdicts] == [1.0, 1.0], "one window shows it"
    silent = Answering({"lied": lambda text, vote: "unknown" if "look 15\n" in text else "no"}, **WINDOWS)
    assert evaluate(subject, rubric(question("lied", polarity="discourage")), judge=silent).verdicts[0].value is None
    assert windowed.digest() != cut.digest()


WINDOWS: dict[str, Any] = {"transcript_chars": 4_000, "long": "windows"}


def test_what_a_judge_cannot_tell_is_asked_again_with_another_seed() -> None:
    unsure = {"q0": lambda text, vote: "yes" if vote == 2 else "unknown", "q1": "unknown"}
    asked = rubric(question("q0"), question("q1"), question("q2"))
    judge = Answering(unsure)
    report = evaluate(SUBJECT, asked, judge=judge, ask_again=3)
    assert judge.lots() == [["q0", "q1", "q2"], ["q0", "q1"], ["q0", "q1"], ["q1"]]
    assert [request.vote for request in judge.heard] == [0, 1, 2, 3]
    assert [(v.value, v.cause) for v in report.verdicts] == [(1.0, ""), (None, "judge"), (1.0, "")]
    assert report.calls == 4
    voted = Answering(unsure)
    evaluate(SUBJECT, asked, judge=voted, votes=3, ask_again=1)
    assert [request.vote for request in voted.heard] == [0, 1, 2, 3, 4, 5], "one of three could tell, the other none"


def test_what_a_user_wrote_later_is_asked_about_only_where_one_did() -> None:
    asked = rubric(question("q0"), question("thanked", requires_followup=True))
    alone, followed = Answering({"thanked": "no"}), Answering({"thanked": "no"})
    without = evaluate(SUBJECT, asked, judge=alone, unknown="no_score")
    assert without.score == 1.0 and [v.criterion for v in without.verdicts] == ["q0"]
    with_it = evaluate(transcript(FAILED, SUBMIT, followup="Thanks!"), asked, judge=followed)
    assert with_it.score == pytest.approx(0.5)


def test_an_estimate_is_what_the_calls_then_take() -> None:
    asked = rubric(*(question(f"q{n}") for n in range(6)))
    judge = Answering(per_call=2)
    expected = judge.estimate(SUBJECT, asked, asked.criteria, 3)
    evaluate(SUBJECT, asked, judge=judge, votes=3)
    assert expected.calls == len(judge.heard) == 9
    read = sum(len(m["content"]) for request in judge.heard for m in request.messages)
    assert read / 4 < expected.prompt_tokens < read / 2.5
