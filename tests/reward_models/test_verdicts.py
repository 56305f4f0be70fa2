"""A reply becomes verdicts strictly: nothing is read into it, and no reply breaks the reader."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.types import Criterion, Verdict
from reward_models.verdicts import UnreadableReply, majority, parse

QUESTIONS = [Criterion(id="a", question="A?"), Criterion(id="b", question="B?")]


def reply(**answers: str) -> str:
    return json.dumps(
        {"verdicts": [{"id": k, "reason": "r", "steps": [1], "quote": "q", "answer": v} for k, v in answers.items()]}
    )


@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        "  {}\n",
        "```json\n{}\n```",
        "```\n{}\n```",
        "<think>a is {{no}}</think>\n{}",
        "<think>x</think>```json\n{}\n```",
    ],
)
def test_readable_replies(wrap: str) -> None:
    a, b = parse(wrap.replace("{{", "{").replace("}}", "}").replace("{}", reply(b="no", a="yes")), QUESTIONS, steps=[1])
    assert (a.criterion, a.value, a.steps, a.evidence, a.why) == ("a", 1.0, [1], "q", "r")
    assert (b.criterion, b.value) == ("b", 0.0)


def test_unknown_is_a_value_of_its_own() -> None:
    assert parse(reply(a="unknown", b="yes"), QUESTIONS, steps=[1])[0].value is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("a: yes, b: yes", "not the JSON object"),
        ("The answer is " + reply(a="yes", b="yes"), "not the JSON object"),
        (reply(a="yes", b="yes") + " I hope that helps", "not the JSON object"),
        (reply(a="yes", b="yes")[:-3], "not the JSON object"),
        (reply(a="yes"), "'b' is not answered"),
        (reply(a="yes", b="no", c="no"), "no question is called 'c'"),
        (reply(a="Yes", b="no"), "not the JSON object"),
        (reply(a="yes, mostly", b="no"), "not the JSON object"),
        ('{"verdicts": [{"id": "a", "answer": true}]}', "not the JSON object"),
        ('{"verdicts": [{"id": "a", "answer": "yes"}, {"id": "a", "answer": "no"}]}', "answered twice"),
        ('{"verdicts": [{"id": "a", "answer": "yes", "score": 10}]}', "not the JSON object"),
        ("[" * 100_000, "not the JSON object"),
        ("x" * 2_000_000, "2000000 characters"),
        ("<think>" + reply(a="yes", b="yes"), "not the JSON object"),
    ],
)
def test_what_is_not_stated_is_not_read(text: str, says: str) -> None:
    with pytest.raises(UnreadableReply, match=says):
        parse(text, QUESTIONS, steps=[1])


def test_a_cited_step_must_have_been_shown() -> None:
    a, _ = parse(reply(a="yes", b="no"), QUESTIONS, steps=[2, 3])
    assert a.value is None and "step 1" in a.why


@given(st.text(max_size=200) | st.binary(max_size=99).map(lambda data: data.decode("utf-8", "surrogateescape")))
@settings(max_examples=300, deadline=None)
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(UnreadableReply):
        parse(text, QUESTIONS, steps=[1])


@given(st.integers(0, 400), st.text(max_size=3), st.integers(0, 5))
@settings(max_examples=400, deadline=None)
def test_a_damaged_reply_states_what_it_states_or_is_refused(at: int, put: str, drop: int) -> None:
    whole = reply(a="yes", b="no")
    text = whole[: at % len(whole)] + put + whole[at % len(whole) + drop :]
    try:
        found = parse(text, QUESTIONS, steps=[1])
    except UnreadableReply:
        return
    stated = {line["id"]: line["answer"] for line in json.loads(text.strip(), strict=False)["verdicts"]}
    for verdict in found:
        assert verdict.value in ({"yes": 1.0, "no": 0.0, "unknown": None}[stated[verdict.criterion]], None)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([1.0, 1.0, 0.0], 1.0), ([0.0, None, None], 0.0), ([1.0, 0.0], None), ([None, None], None),
        ([0.0, 0.0, 1.0, None], 0.0), ([1.0, 0.0, None], None),
    ],
)  # fmt: skip
def test_majority(votes: list[float | None], expected: float | None) -> None:
    (elected,) = majority([[Verdict(criterion="a", value=vote, why=f"{vote}")] for vote in votes])
    assert elected.value == expected and elected.votes == votes
    assert elected.why == f"{expected}" or expected is None
