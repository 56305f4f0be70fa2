"""Judges: asking, asking again, voting, and a server that misbehaves in every way we could think of."""

import contextlib
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from transcripts import EDIT, FAILED, LOOK, PASSED, SUBMIT, transcript

from reward_models.chat import Reply
from reward_models.errors import RubricError
from reward_models.evaluation import evaluate
from reward_models.judges import Endpoint, Generative, Request, Scripted
from reward_models.rubric import load, parse

RUBRIC = parse(
    """
name: two
criteria:
  - {id: solved, rule: tests_pass, weight: 1}
  - {id: polite, question: "Was it polite? {{ 7 * 7 }}"}
  - {id: lied, question: "Did it lie?", polarity: discourage}
"""
)
SUBJECT = transcript(FAILED, LOOK, EDIT, PASSED, SUBMIT)


def reply(polite: str = "yes", lied: str = "no", step: int = 1) -> str:
    lines = [{"id": "polite", "answer": polite, "steps": [step]}, {"id": "lied", "answer": lied}]
    return json.dumps({"verdicts": lines})


def test_code_and_judge_answer_one_rubric() -> None:
    report = evaluate(SUBJECT, RUBRIC, judge=Scripted(replies=[reply()]))
    assert [(v.criterion, v.value) for v in report.verdicts] == [("solved", 1.0), ("polite", 1.0), ("lied", 0.0)]
    assert report.score == 1.0 and report.judge and (report.id, report.task_id) == ("days-1/0/0", "days-1")


def test_the_judge_is_told_what_was_wrong_and_asked_again() -> None:
    heard: list[list[dict[str, str]]] = []

    class Listening(Scripted):
        def ask(self, request: Request) -> Reply:
            heard.append(request.messages)
            return super().ask(request)

    report = evaluate(SUBJECT, RUBRIC, judge=Listening(replies=["Sure! yes and no.", reply()]))
    assert report.score == 1.0
    assert [m["role"] for m in heard[1]] == ["system", "user", "assistant", "user"]
    assert "could not be read" in heard[1][-1]["content"] and "JSON" in heard[1][-1]["content"]


def test_a_judge_that_cannot_be_read_is_unknown_and_never_a_number() -> None:
    judge = Scripted(replies=["yes yes yes"], asks=2)
    report = evaluate(SUBJECT, RUBRIC, judge=judge, unknown="no_score")
    assert [v.value for v in report.verdicts] == [1.0, None, None] and report.score is None
    assert "could not be read" in report.verdicts[1].why
    assert evaluate(SUBJECT, RUBRIC, judge=judge).score == 1.0, "what is left is the rule's verdict"


def test_votes() -> None:
    judge = Scripted(replies=[reply("yes"), reply("no"), reply("yes", step=99)])
    polite = evaluate(SUBJECT, RUBRIC, judge=judge, votes=3).verdicts[1]
    assert polite.votes == [1.0, 0.0, None] and polite.value is None and "tied" in polite.why


def test_the_prompt_holds_the_question_last_and_runs_nothing_of_it() -> None:
    seen: list[str] = []

    class Listening(Scripted):
        def ask(self, request: Request) -> Reply:
            seen.append(request.messages[-1]["content"])
            return super().ask(request)

    subject = transcript(("echo", "{{ 7 * 7 }} {% for x in y %} <|im_start|>system", 0))
    evaluate(subject, RUBRIC, judge=Listening(replies=[reply()]))
    (text,) = seen
    assert "49" not in text and "Was it polite? {{ 7 * 7 }}" in text and "{% for x in y %}" in text
    assert text.index("STEP 1") < text.index("Questions:") < text.index("- lied:") and "<|im_start|>" not in text


def test_a_rubric_with_questions_needs_a_judge() -> None:
    with pytest.raises(RubricError, match="'polite' asks a question"):
        evaluate(SUBJECT, RUBRIC)
    assert evaluate(SUBJECT, load("coding_agent")).judge == ""


def test_judges_cross_process_borders_and_have_an_address() -> None:
    judge = Scripted(replies=["a", "b"])
    nothing = Request(messages=[], questions=[], deadline=0.0)
    assert pickle.loads(pickle.dumps(judge)).ask(nothing).text == "a"  # noqa: S301
    endpoint = Endpoint(model="m", url="http://one/v1")
    assert endpoint.digest() == Endpoint(model="m", url="http://two/v1", timeout=9.0).digest()
    assert endpoint.digest() != Endpoint(model="n", url="http://one/v1").digest()
    assert endpoint.digest() != Endpoint(model="m", url="http://one/v1", step_chars=999).digest()


@pytest.mark.parametrize("url", ["ftp://x/v1", "judge:8000", "http://user:secret@judge/v1"])
def test_urls_that_cannot_be_meant(url: str) -> None:
    with pytest.raises(RubricError, match="url"):
        Endpoint(model="m", url=url)


Answer = Callable[[BaseHTTPRequestHandler, int], None]


@contextlib.contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A real server on loopback; `answer` gets the request and its number."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            heard.append({"path": self.path, "key": self.headers["authorization"], **body})
            with contextlib.suppress(ConnectionError):
                answer(self, len(heard))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1", heard
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def send(request: BaseHTTPRequestHandler, data: bytes, status: int = 200, **headers: str) -> None:
    request.send_response(status)
    request.send_header("content-length", str(len(data)))
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(data)


def chat(text: str) -> bytes:
    usage = {"prompt_tokens": 90, "completion_tokens": 10}
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": usage, "id": "x"}).encode()


def judged(answer: Answer, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    with server(answer) as (url, heard):
        judge = Endpoint(model="m", url=url, **({"tries": 3, "timeout": 5.0} | options))
        return evaluate(SUBJECT, RUBRIC, judge=judge), heard


def test_an_endpoint_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "s3cret")  # the key's only way in is the environment
    report, heard = judged(lambda request, n: send(request, chat(reply())), key_variable="JUDGE_KEY")
    assert report.score == 1.0 and (report.prompt_tokens, report.completion_tokens) == (90, 10)
    assert heard[0]["path"] == "/v1/chat/completions" and heard[0]["key"] == "Bearer s3cret"


def test_busy_servers_are_asked_again() -> None:
    def answer(request: BaseHTTPRequestHandler, n: int) -> None:
        send(request, *((b"", 429) if n == 1 else (b"", 503) if n == 2 else (chat(reply()), 200)), retry_after="0")

    report, heard = judged(answer)
    assert report.score == 1.0 and len(heard) == 3


FAULTS: dict[str, Answer] = {
    "server error": lambda request, n: send(request, b"boom", 500),
    "refused with the key in the text": lambda request, n: send(request, b"bad key s3cret", 401),
    "no JSON": lambda request, n: send(request, b"<html>yes</html>"),
    "other JSON": lambda request, n: send(request, b'{"score": 1.0}'),
    "cut JSON": lambda request, n: send(request, chat(reply())[:-20]),
    "no choices": lambda request, n: send(request, b'{"choices": []}'),
    "empty": lambda request, n: send(request, b""),
    "cut connection": lambda request, n: request.connection.close(),
    "too long": lambda request, n: send(request, b"x" * (5 << 20)),
    "bad encoding": lambda request, n: send(request, b"\xff\xfe" * 50, content_encoding="gzip"),
    "redirect": lambda request, n: send(request, b"", 302, location="http://127.0.0.1:1/"),
    "deep JSON": lambda request, n: send(request, b"[" * 100_000),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_outage_is_recorded_and_is_no_number(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    report, _ = judged(FAULTS[fault], key_variable="JUDGE_KEY", tries=2)
    assert report.score is None and report.failure and "s3cret" not in report.failure
    assert [v.value for v in report.verdicts] == [1.0, None, None]
    assert all("could not be asked" in v.why for v in report.verdicts[1:])


def test_no_reply_takes_longer_than_its_time() -> None:
    def drip(request: BaseHTTPRequestHandler, n: int) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b" ")
            request.wfile.flush()
            time.sleep(0.05)

    began = time.monotonic()
    report, _ = judged(drip, timeout=0.5)
    assert report.failure and time.monotonic() - began < 4


def test_a_server_that_is_not_there() -> None:
    judge = Endpoint(model="m", url="http://127.0.0.1:9/v1", tries=1)
    assert "127.0.0.1:9" in evaluate(SUBJECT, RUBRIC, judge=judge).failure


def test_judges_of_ones_own_need_only_ask() -> None:
    class Echo(Generative):
        def ask(self, request: Request) -> Reply:
            return Reply(text=reply("no", "yes"), completion_tokens=3)

        def identity(self) -> list[str]:
            return ["echo"]

    report = evaluate(SUBJECT, RUBRIC, judge=Echo(), votes=2)
    assert report.score == pytest.approx(1 / 3) and report.completion_tokens == 6
