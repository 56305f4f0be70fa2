"""A reply becomes verdicts strictly: nothing is read into it, and no reply breaks the reader."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.transcript import Rendered
from reward_models.types import Criterion, Verdict
from reward_models.verdicts import UnreadableReply, elect, merge, parse, schema, unknown

QUESTIONS = [Criterion(id="a", question="A?"), Criterion(id="b", question="B?")]
SHOWN = Rendered(text="", shown={1: "a step with a q in it\nexit", 2: "| other\tq2 text, and more"}, rest="the task")
ORDERED = Criterion(id="o", question="How?", kind="ordered", answers=["none", "some", "all"])
CLASS = Criterion(id="c", question="Which?", kind="class", answers=["red", "green", "blue"], met=["red", "green"])
LABEL = Criterion(id="l", question="Which?", kind="class", answers=["red", "green"], weight=0.0)
TEXT = Criterion(id="t", question="What?", kind="text", weight=0.0)


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
    a, b = parse(wrap.replace("{{", "{").replace("}}", "}").replace("{}", reply(b="no", a="yes")), QUESTIONS, SHOWN)
    assert (a.criterion, a.value, a.steps, a.evidence, a.why) == ("a", 1.0, [1], "q", "r")
    assert (b.criterion, b.value) == ("b", 0.0)


def test_unknown_is_a_value_of_its_own() -> None:
    verdict = parse(reply(a="unknown", b="yes"), QUESTIONS, SHOWN)[0]
    assert (verdict.value, verdict.cause) == (None, "judge")


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
        (reply(a="Yes", b="no"), "answered 'Yes'; expected one of 'no', 'yes', 'unknown'"),
        (reply(a="yes, mostly", b="no"), "answered 'yes, mostly'"),
        ('{"verdicts": [{"id": "a", "answer": "yes", "answer": "no"}]}', "'answer' stands twice"),
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
        parse(text, QUESTIONS, SHOWN)


def test_a_cited_step_must_have_been_shown() -> None:
    a, _ = parse(reply(a="yes", b="no"), QUESTIONS, Rendered(text="", shown={2: "", 3: ""}))
    assert a.value is None and a.cause == "citation" and "step 1" in a.why


@given(st.text(max_size=200) | st.binary(max_size=99).map(lambda data: data.decode("utf-8", "surrogateescape")))
@settings(max_examples=300, deadline=None)
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(UnreadableReply):
        parse(text, QUESTIONS, SHOWN)


@given(st.integers(0, 400), st.text(max_size=3), st.integers(0, 5))
@settings(max_examples=400, deadline=None)
def test_a_damaged_reply_states_what_it_states_or_is_refused(at: int, put: str, drop: int) -> None:
    whole = reply(a="yes", b="no")
    text = whole[: at % len(whole)] + put + whole[at % len(whole) + drop :]
    try:
        found = parse(text, QUESTIONS, SHOWN)
    except UnreadableReply:
        return
    stated = {line["id"]: line["answer"] for line in json.loads(text.strip(), strict=False)["verdicts"]}
    for verdict in found:
        assert verdict.value in ({"yes": 1.0, "no": 0.0, "unknown": None}[stated[verdict.criterion]], None)


def one(question: Criterion, answer: str, **changes: object) -> Verdict:
    (found,) = parse(json.dumps({"verdicts": [{"id": question.id, "answer": answer, **changes}]}), [question], SHOWN)
    return found


@pytest.mark.parametrize(
    ("question", "answer", "value", "label"),
    [
        (ORDERED, "none", 0.0, "none"), (ORDERED, "some", 0.5, "some"), (ORDERED, "all", 1.0, "all"),
        (CLASS, "green", 1.0, "green"), (CLASS, "blue", 0.0, "blue"), (LABEL, "red", None, "red"),
        (TEXT, "it read\x1b days.py", None, "it read\\x1b days.py"), (QUESTIONS[0], "yes", 1.0, ""),
    ],
)  # fmt: skip
def test_kinds(question: Criterion, answer: str, value: float | None, label: str) -> None:
    verdict = one(question, answer)
    assert (verdict.value, verdict.label, verdict.cause) == (value, label, "")
    assert one(question, "unknown").cause == "judge" and one(question, "unknown").label == ""


@pytest.mark.parametrize(
    ("question", "answer"), [(ORDERED, "Some"), (ORDERED, "0.5"), (CLASS, "yellow"), (LABEL, "yes"), (TEXT, " ")]
)
def test_answers_that_the_question_does_not_have(question: Criterion, answer: str) -> None:
    with pytest.raises(UnreadableReply, match=f"question '{question.id}'"):
        one(question, answer)


@pytest.mark.parametrize(
    ("steps", "quote", "cited", "cause"),
    [
        ([1], "", [1], ""),
        ([], "", [], ""),
        ([1, 2], "with a q", [1, 2], ""),
        ([1], "with  a\nq", [1], ""),
        ([1], "it | exit", None, "citation"),
        ([1], "in it\n| exit", [1], ""),
        ([2], "with a q", None, "citation"),
        ([], "q2 text", [2], ""),
        ([], "the task", [], ""),
        ([1], "the task", None, "citation"),
        ([], "nowhere", None, "citation"),
        ([2], "`q2 text`", [2], ""),
        ([2], "other ... and more", [2], ""),
        ([2], "and more … other", None, "citation"),
        ([2], "…", None, "citation"),
        ([3], "", None, "citation"),
        ([1, 3], "with a q", None, "citation"),
    ],
)
def test_what_is_cited_must_be_there(steps: list[int], quote: str, cited: list[int] | None, cause: str) -> None:
    verdict = one(QUESTIONS[0], "yes", steps=steps, quote=quote)
    assert (verdict.value, verdict.cause) == (None if cause else 1.0, cause)
    assert cause or verdict.steps == cited


def test_the_schema_allows_what_is_read_and_names_every_answer() -> None:
    questions = [QUESTIONS[0], ORDERED, TEXT]
    array = schema(questions)["properties"]["verdicts"]
    entries = array["items"]["anyOf"]
    assert (array["minItems"], array["maxItems"]) == (3, 3)
    assert [entry["properties"]["answer"].get("enum") for entry in entries] == [
        ["no", "yes", "unknown"], ["none", "some", "all", "unknown"], None
    ]  # fmt: skip
    for entry in entries:
        names = list(entry["properties"])
        assert entry["required"] == names and names.index("reason") < names.index("answer")
    assert schema([ORDERED])["properties"]["verdicts"]["items"]["properties"]["id"]["enum"] == ["o"]


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([1.0, 1.0, 0.0], 1.0), ([0.0, None, None], 0.0), ([1.0, 0.0], None), ([None, None], None),
        ([0.0, 0.0, 1.0, None], 0.0), ([1.0, 0.0, None], None), ([0.0, 0.5, 1.0], 0.5), ([0.5, 1.0], None),
        ([0.0, 0.5, 0.5, 1.0], 0.5),
    ],
)  # fmt: skip
def test_votes(votes: list[float | None], expected: float | None) -> None:
    ballots = [
        Verdict(criterion="a", value=vote, why=f"{vote}", cause="judge" if vote is None else "") for vote in votes
    ]
    elected = elect(QUESTIONS[0], ballots)
    assert elected.value == expected and elected.votes == votes
    assert elected.why == f"{expected}" or expected is None
    assert elected.cause == ("" if expected is not None else "judge" if set(votes) == {None} else "tie")


def label(*labels: str) -> list[Verdict]:
    return [Verdict(criterion="l", value=None, label=name, cause="" if name else "judge") for name in labels]


def test_votes_on_labels() -> None:
    assert elect(LABEL, label("red", "green", "green")).label == "green"
    assert elect(LABEL, label("red", "", "green")).cause == "tie"
    assert elect(LABEL, label("red", "", "")).label == "red"
    assert elect(TEXT, label("", "one thing", "another")).label == "one thing"


Y, N, U = 1.0, 0.0, None


@pytest.mark.parametrize(
    ("polarity", "values", "expected"),
    [
        ("discourage", [N, Y, U], Y), ("discourage", [N, N], N), ("discourage", [N, U], U), ("discourage", [U, U], U),
        ("encourage", [N, Y, U], Y), ("encourage", [N, U], N), ("encourage", [U, U], U),
        ("encourage", [0.5, N, U], 0.5),
    ],
)  # fmt: skip
def test_parts_of_a_transcript_are_merged_by_polarity(polarity: str, values: list[float | None], expected) -> None:
    question = Criterion(id="a", question="A?", polarity=polarity)  # type: ignore[arg-type]
    parts = [
        Verdict(criterion="a", value=value, steps=[9 - n], cause="judge" if value is None else "")
        for n, value in enumerate(values)
    ]
    merged = merge(question, parts)
    assert merged.value == expected and (merged.cause == "judge") == (expected is None)
    if expected is not None:
        assert merged.steps == sorted(9 - n for n, value in enumerate(values) if value == expected)


def test_labels_of_parts() -> None:
    assert merge(LABEL, label("", "red", "red")).label == "red"
    assert merge(LABEL, label("green", "red")).cause == "tie"
    assert merge(TEXT, label("It read.", "", "It wrote.")).label == "It read. It wrote."


def test_unknown_says_why_and_what_kind() -> None:
    found = unknown(QUESTIONS, "the server is down", "outage")
    assert [(v.criterion, v.value, v.why, v.cause) for v in found] == [
        ("a", None, "the server is down", "outage"), ("b", None, "the server is down", "outage")
    ]  # fmt: skip
