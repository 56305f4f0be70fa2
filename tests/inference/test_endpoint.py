"""The client against a real server on loopback that misbehaves in every way that servers do."""

import email.utils
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.errors import ContextFull, InferenceError, RecipeError, Unanswered
from rft.inference.endpoint import Endpoint
from rft.plugins import build
from rft.recipe import Sampling
from rft.types import Completion, Message, Task, Tool, ToolCall

KEY = "sk-very-secret"
GO = [Message(role="user", content="go")]


def answer(**changes: Any) -> dict[str, Any]:
    """What vLLM sends for `return_token_ids` and `logprobs`."""
    tokens = [{"token": "o", "logprob": -0.5, "bytes": None, "top_logprobs": []}, {"token": "k", "logprob": -0.25}]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "ok", "reasoning": None},
        "logprobs": {"content": tokens},
        "finish_reason": "stop",
        "token_ids": [7, 2],
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"id": "x", "choices": [choice | changes], "usage": usage, "prompt_token_ids": [1, 5, 6]}


class Server(ThreadingHTTPServer):
    """Answers each request with the next of `script`, the last one again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Callable[[Handler], None]] = [say(answer())]
        self.seen: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.guard = threading.Lock()

    def handle_error(self, *arguments: Any) -> None:
        """A client that went away is what some tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.seen.append((body, dict(self.headers)))
            act = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        act(self)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


def say(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Callable[[Handler], None]:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()

    def act(handler: Handler) -> None:
        handler.send_response(status)
        for name, text in (headers or {}).items():
            handler.send_header(name, text)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return act


def cut(handler: Handler) -> None:
    """Half an answer, then the connection is gone."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.connection.shutdown(socket.SHUT_RDWR)


def hang_up(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        return


def sleep(handler: Handler) -> None:
    time.sleep(3)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server: Server, task: Task, seconds: float = 20, **options: Any) -> Completion:
    endpoint = Endpoint(url=server.url, **({"token_ids": True, "tries": 3} | options))
    endpoint.load("the-model", Sampling(temperature=0.5, top_p=0.9, max_tokens=9))
    try:
        return endpoint.open(task, seed=4).reply(GO, deadline=time.monotonic() + seconds)
    finally:
        endpoint.close()


def test_everything_the_server_tells_is_recorded(server: Server, task: Task) -> None:
    assert ask(server, task) == Completion(
        text="ok",
        finish_reason="stop",
        prompt_ids=[1, 5, 6],
        ids=[7, 2],
        logprobs=[-0.5, -0.25],
        prompt_tokens=3,
        completion_tokens=2,
    )


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_that_the_server_keeps_apart_are_recorded(server: Server, task: Task, name: str) -> None:
    server.script = [say(answer(message={"role": "assistant", "content": "ok", name: "Hm."}))]
    made = ask(server, task)
    assert (made.text, made.reasoning) == ("ok", "Hm.")


def test_the_request_says_what_the_recipe_says(server: Server, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key can come from the environment only, so the test sets it there."""
    monkeypatch.setenv("MY_KEY", KEY)
    ask(server, task, key_variable="MY_KEY", extra={"top_k": 5, "max_tokens": None, "max_completion_tokens": 3})
    body, headers = server.seen[0]
    assert headers["Authorization"] == f"Bearer {KEY}"
    seed = body.pop("seed")
    assert body == {
        "model": "the-model",
        "messages": [{"role": "user", "content": "go"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "logprobs": True,
        "return_token_ids": True,
        "top_k": 5,
        "max_completion_tokens": 3,
    }
    ask(server, task, model="served")
    assert server.seen[1][0]["model"] == "served"
    assert server.seen[1][0]["seed"] == seed


def test_tools_and_their_calls_go_both_ways(server: Server, task: Task) -> None:
    called = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [called, called | {"id": None}]}
    server.script = [say(answer(message=message, finish_reason="tool_calls"))]
    endpoint = Endpoint(url=server.url)
    endpoint.load("the-model", Sampling())
    call = ToolCall(id="c0", name="bash", arguments={"command": "ls"})
    messages = [
        *GO,
        Message(role="assistant", content="", tool_calls=[call]),
        Message(role="tool", content="a.py", tool_call_id="c0"),
    ]
    tool = Tool(name="bash", parameters={"type": "object"})
    line = endpoint.open(task, seed=4)
    made = line.reply(messages, deadline=time.monotonic() + 20, tools=[tool])
    endpoint.close()
    assert [(c.id, c.name, c.arguments) for c in made.tool_calls] == [
        ("c1", "bash", {"command": "ls"}),
        ("call_1_1", "bash", {"command": "ls"}),
    ]
    assert (made.text, made.finish_reason) == ("", "stop")
    body, _ = server.seen[0]
    assert body["tools"] == [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c0", "type": "function", "function": {"name": "bash", "arguments": '{"command":"ls"}'}}
            ],
        },
        {"role": "tool", "content": "a.py", "tool_call_id": "c0"},
    ]


@pytest.mark.parametrize(
    "fault", [hang_up, cut, say({}, 500), say(b"<html>", 502), say(b"{"), say(b"[]"), say(b"\xff\xfe")]
)
def test_a_passing_fault_is_asked_again(fault: Callable[[Handler], None], server: Server, task: Task) -> None:
    server.script = [fault, say(answer())]
    assert ask(server, task).text == "ok"
    assert len(server.seen) == 2


@pytest.mark.parametrize("fault", [hang_up, cut, say({}, 503), say(b"null")])
def test_a_lasting_fault_is_recorded_after_the_tries(
    fault: Callable[[Handler], None], server: Server, task: Task
) -> None:
    server.script = [fault]
    with pytest.raises(InferenceError, match="no answer in 2 tries") as caught:
        ask(server, task, tries=2)
    assert "\n" not in str(caught.value)
    assert len(server.seen) == 2


def test_nobody_listens(task: Task) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = Endpoint(url=f"http://127.0.0.1:{free.getsockname()[1]}/v1", tries=2)
    endpoint.load("m", Sampling())
    with pytest.raises(InferenceError, match="Connection refused"):
        endpoint.open(task, seed=0).reply(GO, deadline=time.monotonic() + 10)


def test_retry_after_is_heeded(server: Server, task: Task) -> None:
    server.script = [say({}, 429, {"Retry-After": "1"}), say(answer())]
    began = time.monotonic()
    assert ask(server, task).text == "ok"
    assert 0.95 < time.monotonic() - began < 5


def test_retry_after_as_a_date_is_heeded(server: Server, task: Task) -> None:
    server.script = [say({}, 503, {"Retry-After": email.utils.formatdate(time.time() + 2, usegmt=True)}), say(answer())]
    began = time.monotonic()
    assert ask(server, task).text == "ok"
    assert 0.5 < time.monotonic() - began < 6


@pytest.mark.parametrize("value", ["-5", "soon", "Fri, 99 Foo", "1e99", "9" * 400, "Mon, 01 Jan 1999 00:00:00 GMT"])
def test_a_strange_retry_after_does_no_harm(value: str, server: Server, task: Task) -> None:
    server.script = [say({}, 429, {"Retry-After": value}), say(answer())]
    assert ask(server, task).text == "ok"


@pytest.mark.parametrize("slow", [sleep, drip, say({}, 429, {"Retry-After": "30"})])
def test_the_deadline_holds(slow: Callable[[Handler], None], server: Server, task: Task) -> None:
    server.script = [slow]
    began = time.monotonic()
    with pytest.raises(InferenceError, match="time"):
        ask(server, task, seconds=0.4)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_final_and_quotes_the_server(
    status: int, server: Server, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key can come from the environment only, so the test sets it there."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = f"no\x1b[31m such\nmodel {KEY} " + "x" * 5000
    server.script = [say({"error": {"message": said, "code": status}}, status)]
    with pytest.raises(InferenceError, match=r"no .* such model …") as caught:
        ask(server, task)
    assert len(server.seen) == 1
    assert KEY not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("before", [394, 3994])
def test_no_part_of_the_key_is_quoted_where_the_answer_is_cut(
    before: int, server: Server, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key can come from the environment only, so the test sets it there."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.script = [say(b"\n" * before + KEY.encode(), 401)]
    with pytest.raises(InferenceError, match="HTTP 401") as caught:
        ask(server, task)
    assert KEY[:2] not in str(caught.value)


def test_a_key_may_end_with_a_newline(server: Server, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does when it was read from a file."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    ask(server, task)
    assert server.seen[0][1]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("mark", ["\n", "\r\nX-Other: 1", "\x01", "é"])
def test_a_key_that_no_header_can_carry_is_refused_unquoted(
    mark: str, server: Server, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key can come from the environment only, so the test sets it there."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}{mark}{KEY}")
    with pytest.raises(InferenceError, match="the key holds") as caught:
        ask(server, task, tries=1)
    assert KEY not in str(caught.value)
    assert not server.seen


@pytest.mark.parametrize(
    "said",
    [
        {"error": {"message": "This model's maximum context length is 2048 tokens.", "code": 400}},
        {"error": {"message": "no", "code": "context_length_exceeded"}},
        {"detail": "the request exceeds the available context window"},
    ],
)
def test_a_full_context_is_told_apart(said: dict[str, Any], server: Server, task: Task) -> None:
    server.script = [say(said, 400)]
    with pytest.raises(ContextFull):
        ask(server, task)


def test_an_answer_that_the_server_broke_off_is_none(server: Server, task: Task) -> None:
    server.script = [say(answer(finish_reason="abort"))]
    with pytest.raises(Unanswered, match=r"the server broke the answer off \(abort\)") as caught:
        ask(server, task)
    assert caught.value.failed and len(server.seen) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"message": None},
        {"message": {"content": ["a"]}},
        {"finish_reason": None},
        {"token_ids": ["a"]},
        {"token_ids": [1.5, 2]},
        {"logprobs": {"content": [{"logprob": "low"}]}},
        {"logprobs": {"content": [{"logprob": -1.0}]}},
        {"finish_reason": "content_filter"},
    ],
)
def test_an_answer_of_another_shape_is_an_inference_error(wrong: dict[str, Any], server: Server, task: Task) -> None:
    server.script = [say(answer(**wrong))]
    with pytest.raises(InferenceError):
        ask(server, task, tries=1)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"choices": []}', b'{"choices": "a"}', b"", b'"\\ud800"'])
def test_hostile_json_is_an_inference_error(data: bytes, server: Server, task: Task) -> None:
    server.script = [say(data)]
    with pytest.raises(InferenceError):
        ask(server, task, tries=1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_are_an_inference_error(server: Server, task: Task, data: bytes) -> None:
    server.script = [say(data)]
    with pytest.raises(InferenceError):
        ask(server, task, tries=1)


def test_a_huge_answer_is_cut_off(server: Server, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cap is a constant; a smaller one keeps the test quick."""
    monkeypatch.setattr("rft.inference.endpoint.MAX_BYTES", 1 << 20)
    server.script = [say(b" " * (10 << 20))]
    with pytest.raises(InferenceError, match="longer than"):
        ask(server, task, tries=1)


def test_an_answer_with_surrogates_and_control_characters_is_read_or_refused(server: Server, task: Task) -> None:
    server.script = [say(answer(message={"content": "\x00\x1b[2J\u202e"}))]
    assert ask(server, task).text == "\x00\x1b[2J\u202e"
    server.script = [say(b'{"choices":[{"message":{"content":"\\ud800"},"finish_reason":"stop"}]}')]
    with pytest.raises(InferenceError):
        ask(server, task, tries=1)


def test_surrogates_in_the_conversation_reach_the_server_replaced(server: Server, task: Task) -> None:
    endpoint = Endpoint(url=server.url)
    endpoint.load("m", Sampling())
    endpoint.open(task, seed=0).reply([Message(role="user", content="a\ud800b")], deadline=time.monotonic() + 10)
    endpoint.close()
    assert server.seen[0][0]["messages"][0]["content"] == "a?b"


def test_what_is_silently_ignored_is_said_once(server: Server, task: Task, caplog: pytest.LogCaptureFixture) -> None:
    server.script = [say({"choices": [{"message": {"content": "ok"}, "finish_reason": "length"}]})]
    endpoint = Endpoint(url=server.url, token_ids=True)
    endpoint.load("m", Sampling())
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            completion = endpoint.open(task, seed=seed).reply(GO, deadline=time.monotonic() + 10)
    endpoint.close()
    assert completion == Completion(text="ok", finish_reason="length")
    assert [("token ids" in m, "log-probabilities" in m) for m in caplog.messages] == [(True, False), (False, True)]


def test_a_closed_endpoint_says_so(server: Server, task: Task) -> None:
    endpoint = Endpoint(url=server.url)
    endpoint.load("m", Sampling())
    conversation = endpoint.open(task, seed=0)
    endpoint.close()
    endpoint.close()
    with pytest.raises(InferenceError, match="closed"):
        conversation.reply(GO, deadline=time.monotonic() + 10)


def test_the_key_is_in_no_representation(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key can come from the environment only, so the test sets it there."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = Endpoint(url=server.url)
    endpoint.load("m", Sampling())
    assert KEY not in repr(endpoint)
    assert KEY not in repr(vars(endpoint))
    endpoint.close()


@pytest.mark.parametrize("options", [{"url": "host:8000"}, {"url": "http://u:p@h/v1"}, {"url": "http://h", "tries": 0}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"^policy\.inference"):
        build("inference", {"use": "endpoint"} | options, "policy.inference")
