"""A judge's server that misbehaves in every way: each attempt ends scored rightly or with the reason why not."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from attempts import QUESTIONS, attempt, collected, recipe, rubric
from judge_server import Fault, JudgeServer, Request, judge_server, truth

from reward_models.types import Report
from rft.score import run
from rft.store import Records

HUGE = "x" * (10 << 20)
SLOW = 0.8


def once(fault: Fault, times: int = 1) -> Fault:
    """Misbehaves at first and then answers."""
    return lambda request: fault(request) if request.number <= times else request.answer()


def slow(request: Request) -> None:
    time.sleep(SLOW)
    request.answer()


def busy(request: Request) -> None:
    request.send(b"slow down", 429, retry_after="0.2")


def wrong_schema(request: Request) -> None:
    request.say(json.dumps({"scores": dict.fromkeys(request.questions, 1)}))


def other_words(request: Request) -> None:
    request.say(json.dumps({"verdicts": [line | {"answer": "maybe yes"} for line in request.lines()]}))


def prose(request: Request) -> None:
    request.say("Yes to all of them, it was a yes from me.")


def truncated(request: Request) -> None:
    request.say(json.dumps({"verdicts": request.lines()})[:-9])


def backwards(request: Request) -> None:
    request.say(json.dumps({"verdicts": request.lines()[::-1]}))


def one_short(request: Request) -> None:
    request.say(json.dumps({"verdicts": request.lines()[1:]}))


def twice_over(request: Request) -> None:
    lines = request.lines()
    request.say(json.dumps({"verdicts": [*lines, lines[0] | {"answer": "no"}]}))


def no_such_step(request: Request) -> None:
    request.say(json.dumps({"verdicts": [line | {"steps": [77]} for line in request.lines()]}))


def invented(request: Request) -> None:
    request.say(json.dumps({"verdicts": [line | {"quote": "rm -rf everything"} for line in request.lines()]}))


def error(request: Request) -> None:
    request.send(b'{"error": "out of order"}', 500)


def huge(request: Request) -> None:
    request.say(HUGE)


SCORED: dict[str, Fault] = {
    "attempt-well": Request.answer,
    "attempt-slow": slow,
    "attempt-busy": once(busy),
    "attempt-error": once(error, 2),
    "attempt-cut": once(Request.cut),
    "attempt-truncated": once(truncated),
    "attempt-schema": once(wrong_schema),
    "attempt-words": once(other_words, 2),
    "attempt-prose": once(prose),
    "attempt-empty": once(lambda request: request.say("")),
    "attempt-null": once(lambda request: request.say(None)),
    "attempt-huge": once(huge),
    "attempt-backwards": backwards,
    "attempt-short": once(one_short),
    "attempt-twice": once(twice_over),
    "attempt-no-format": Request.refuse_schema,
}
OUT: dict[str, tuple[Fault, str]] = {
    "attempt-ever-error": (error, "HTTP 500"),
    "attempt-ever-busy": (busy, "HTTP 429"),
    "attempt-ever-cut": (Request.cut, "no answer in 3 tries"),
    "attempt-ever-huge": (huge, "longer than"),
    "attempt-refused": (lambda request: request.send(b'{"error": "no such model"}', 404), "HTTP 404"),
}
UNKNOWN: dict[str, tuple[Fault, str]] = {
    "attempt-ever-prose": (prose, "unreadable"),
    "attempt-ever-empty": (lambda request: request.say(""), "unreadable"),
    "attempt-ever-truncated": (truncated, "unreadable"),
    "attempt-ever-schema": (wrong_schema, "unreadable"),
    "attempt-ever-short": (one_short, "unreadable"),
    "attempt-no-such-step": (no_such_step, "citation"),
    "attempt-invented": (invented, "citation"),
}
OPTIONS: dict[str, Any] = {"tries": 3, "timeout": 60.0, "deadline": 90.0, "concurrent": 16, "schema": True}


def judged(server: JudgeServer, folder: Path, names: list[str], **score: Any) -> dict[str, Report]:
    rubric(folder / "ten.yaml")
    made = recipe(folder, server.url, OPTIONS, **score)
    run_ = collected(made, [attempt(name) for name in names])
    run(made, run_, 1)
    return {report.id: report for report in Records(run_.stage(1, "score").path / "reports.jsonl", Report)}


@pytest.mark.process
def test_every_attempt_ends_scored_rightly_or_with_the_reason_why_not(tmp_path: Path) -> None:
    with judge_server() as server:
        server.faults = {**SCORED, **{name: fault for name, (fault, _) in {**OUT, **UNKNOWN}.items()}}
        began = time.monotonic()
        reports = judged(server, tmp_path, list(server.faults), unknown="no_score")
        took = time.monotonic() - began
    assert reports.keys() == server.faults.keys()
    for name in SCORED:
        values = {verdict.criterion: verdict.value for verdict in reports[name].verdicts}
        assert values == {q: truth(name, q) for q in QUESTIONS}, name
        assert reports[name].score == pytest.approx(sum(values.values()) / len(values)), name  # type: ignore[arg-type]
    for name, (_, words) in OUT.items():
        assert reports[name].score is None and words in reports[name].failure, (name, reports[name].failure)
        assert {(v.value, v.cause) for v in reports[name].verdicts} == {(None, "outage")}, name
    for name, (_, cause) in UNKNOWN.items():
        assert reports[name].score is None and not reports[name].failure, name
        assert {(v.value, v.cause) for v in reports[name].verdicts} == {(None, cause)}, name
        assert all(v.why for v in reports[name].verdicts), name
    assert took < OPTIONS["deadline"]


@pytest.mark.process
def test_no_transcript_outlives_its_deadline(tmp_path: Path) -> None:
    with judge_server() as server:
        names = [f"attempt-{n}" for n in range(4)]
        server.faults = dict.fromkeys(names[:3], Request.drip)
        began = time.monotonic()
        rubric(tmp_path / "ten.yaml")
        made = recipe(tmp_path, server.url, {"deadline": 1.0, "timeout": 60.0, "per_call": 2, "concurrent": 4})
        run_ = collected(made, [attempt(name) for name in names])
        run(made, run_, 1)
        assert time.monotonic() - began < 8
    reports = {r.id: r for r in Records(run_.stage(1, "score").path / "reports.jsonl", Report)}
    assert [bool(reports[name].failure) for name in names] == [True, True, True, False]


def test_a_server_that_refuses_schemas_is_asked_without_from_then_on(tmp_path: Path) -> None:
    with judge_server() as server:
        names = [f"attempt-{n}" for n in range(6)]
        server.faults = dict.fromkeys(names, Request.refuse_schema)
        rubric(tmp_path / "ten.yaml")
        made = recipe(tmp_path, server.url, {"schema": True, "concurrent": 1})
        run_ = collected(made, [attempt(name) for name in names])
        run(made, run_, 1)
        formats = ["response_format" in request.body for request in server.requests]
    assert formats == [True] + [False] * 6
    assert run_.stage(1, "score").require().counts["scored"] == 6


def test_a_schema_is_asked_for_where_the_server_can(tmp_path: Path) -> None:
    with judge_server() as server:
        judged(server, tmp_path, ["attempt-well"])
        (request,) = server.requests
    asked = request.body["response_format"]["json_schema"]
    assert asked["strict"] and "verdicts" in asked["schema"]["properties"]


@pytest.mark.parametrize("policy", ["leave_out", "stop"])
def test_what_an_outage_does_is_the_recipes_to_say(policy: str, tmp_path: Path) -> None:
    with judge_server() as server:
        server.faults = {"attempt-b": error}
        if policy == "stop":
            with pytest.raises(
                Exception, match=r"attempt-b: criterion 'q0' is unknown .*HTTP 500.*score.outage is stop"
            ):
                judged(server, tmp_path, ["attempt-a", "attempt-b"], outage=policy)
            return
        reports = judged(server, tmp_path, ["attempt-a", "attempt-b"], outage=policy)
    assert reports["attempt-a"].score is not None
    assert reports["attempt-b"].score is None and not reports["attempt-b"].failure, "nothing else to score by"
    counts = json.loads((tmp_path / "runs/r/round_01/2_score/manifest.json").read_text())["counts"]
    assert counts["unknown"] == counts["unknown_outage"] == len(QUESTIONS)


@pytest.mark.process
def test_a_broken_server_is_left_alone_and_found_again(tmp_path: Path) -> None:
    """Forty attempts come upon a server that fails 11 times: after the tenth, one asks and the others wait."""
    with judge_server() as server:
        names = [f"attempt-{n}" for n in range(40)]
        state = {"left": 11}

        def down(request: Request) -> None:
            with server.lock:
                state["left"] -= 1
                broken = state["left"] >= 0
            error(request) if broken else request.answer()

        server.faults = dict.fromkeys(names, down)
        rubric(tmp_path / "ten.yaml")
        made = recipe(tmp_path, server.url, {"tries": 5, "concurrent": 4})
        run_ = collected(made, [attempt(name) for name in names])
        run(made, run_, 1)
    assert run_.stage(1, "score").require().counts["scored"] == 40
    assert len(server.requests) == 40 + 11
