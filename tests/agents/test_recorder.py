"""The recorder on loopback: real clients in both dialects, what is recorded of their calls, and hostile requests."""

import contextlib
import http.client
import json
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.agents.attempt import Attempt
from rft.agents.recorder import Line, Recorder
from rft.errors import ContextFull, InferenceError
from rft.inference.scripted import Scripted
from rft.interfaces import Conversation
from rft.transcript import messages_of
from rft.types import Completion, Message, StopReason, Tool
from tests.conftest import bash_block, make_task

BASH = {
    "type": "function",
    "function": {
        "name": "bash",
        "description": "Run a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    },
}
CALL = 'Look.\n<tool_call>{"name": "bash", "arguments": {"command": "ls -a"}}</tool_call>'
CLIENT = openai.OpenAI(base_url="http://127.0.0.1:1", api_key="none", max_retries=0, timeout=20)


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    yield server
    CLIENT.close()
    server.close()


class Desk:
    """One attempt at the recorder, and clients that ask it."""

    def __init__(self, recorder: Recorder, line: Line, key: str) -> None:
        self.line = line
        self.key = key
        self.port = recorder.port
        self.client = CLIENT.with_options(base_url=f"http://127.0.0.1:{recorder.port}/t/{key}/v1")

    def ask(self, *messages: Any, **options: Any) -> Any:
        return self.client.chat.completions.create(model="m", messages=list(messages), **options)

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any, dict[str, str]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return send(self.port, "POST", path, data, headers)


def send(port: int, method: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        text = response.read()
        is_json = response.headers["content-type"] == "application/json"
        return response.status, json.loads(text) if is_json else text.decode(), dict(response.headers)
    finally:
        connection.close()


@contextmanager
def desk(
    recorder: Recorder, policy: Conversation | Sequence[str], seconds: float = 60, **limits: int
) -> Iterator[Desk]:
    """An attempt whose policy is a conversation, or a script."""
    if isinstance(policy, list | tuple):
        scripted = Scripted(replies=list(policy))
        scripted.load("none", None)
        policy = scripted.open(make_task(), seed=0)
    assert not isinstance(policy, Sequence)
    line = Line(policy, deadline=time.monotonic() + seconds, **limits)
    with recorder.open(line) as key:
        yield Desk(recorder, line, key)
    line.close()


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


class Exact:
    """A policy that tells its tokens: one for each character, and one for the end of each message."""

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.seen: list[Sequence[Message]] = []

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        self.seen.append(list(messages))
        text = self.replies.pop(0)
        prompt = [ord(c) for m in messages for c in m.content + "\0"]
        ids = [ord(c) for c in text + "\0"]
        return Completion(text=text, finish_reason="stop", prompt_ids=prompt, ids=ids, logprobs=[-0.5] * len(ids))

    def close(self) -> None:
        """Nothing is held."""


def rebuilt(attempt: Attempt) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in messages_of(attempt.prompt, attempt.steps)]


# --- clients ---


def test_a_conversation_becomes_steps_with_what_came_back(recorder: Recorder) -> None:
    with desk(recorder, [bash_block("ls", "Look."), "done"]) as at:
        first = at.ask({"role": "developer", "content": "be brief"}, user("mend f"))
        assert (
            first.choices[0].message.content == bash_block("ls", "Look.") and first.choices[0].finish_reason == "stop"
        )
        answered = {"role": "assistant", "content": "  " + bash_block("ls", "Look.").strip()}
        at.ask({"role": "developer", "content": "be brief"}, user("mend f"), answered, user("code.py"))
    attempt = at.line.attempt
    assert [(m.role, m.content) for m in attempt.prompt] == [("system", "be brief"), ("user", "mend f")]
    assert [(s.index, s.command, s.observation) for s in attempt.steps] == [(1, "ls", "code.py"), (2, None, "")]
    assert not any(step.shown for step in attempt.steps) and attempt.prefix_breaks == 0


def test_tools_go_out_and_their_results_come_home(recorder: Recorder) -> None:
    with desk(recorder, [CALL, "done"]) as at:
        message = at.ask(user("go"), tools=[BASH]).choices[0].message
        assert message.content == "Look." and message.tool_calls[0].function.name == "bash"
        assert json.loads(message.tool_calls[0].function.arguments) == {"command": "ls -a"}
        result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": [{"type": "text", "text": ".."}]}
        at.ask(user("go"), message.model_dump(exclude_none=True), result, user("and now?"), tools=[BASH])
    attempt = at.line.attempt
    assert attempt.tools == [
        Tool(name="bash", description="Run a command.", parameters=BASH["function"]["parameters"])  # type: ignore[index]
    ]
    step = attempt.steps[0]
    assert (step.command, step.observation, step.tool_calls[0].result) == ("ls -a", "..", (0, 2))
    assert rebuilt(attempt)[:4] == [("user", "go"), ("assistant", "Look."), ("tool", ".."), ("user", "and now?")]


def test_a_stream_says_the_same(recorder: Recorder) -> None:
    with desk(recorder, [CALL]) as at:
        chunks = list(at.ask(user("go"), tools=[BASH], stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == "Look."
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert [(c.index, c.function.name, c.function.arguments) for c in calls] == [(0, "bash", '{"command":"ls -a"}')]
    assert chunks[-2].choices[0].finish_reason == "tool_calls" and chunks[-1].usage.total_tokens == 0


def test_the_other_dialect(recorder: Recorder) -> None:
    tool = {"name": "bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
    ask = {"model": "claude", "max_tokens": 9, "system": [{"type": "text", "text": "be brief"}], "tools": [tool]}
    with desk(recorder, [CALL, "done"]) as at:
        status, first, _ = at.post("/v1/messages", ask | {"messages": [user("go")]}, **{"x-api-key": at.key})
        assert status == 200 and first["stop_reason"] == "tool_use" and first["usage"]["input_tokens"] == 0
        text, use = first["content"]
        assert text == {"type": "text", "text": "Look."} and use["input"] == {"command": "ls -a"}
        result = [{"type": "tool_result", "tool_use_id": use["id"], "content": [{"type": "text", "text": ".."}]}]
        turns = [user("go"), {"role": "assistant", "content": first["content"]}, {"role": "user", "content": result}]
        headers = {"Authorization": f"Bearer {at.key}"}
        status, stream, _ = at.post("/v1/messages", ask | {"messages": turns, "stream": True}, **headers)
    events = [line.removeprefix("event: ") for line in stream.split("\n") if line.startswith("event: ")]
    assert events == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert '"text":"done"' in stream and '"stop_reason":"end_turn"' in stream
    attempt = at.line.attempt
    assert attempt.prompt[0].role == "system" and attempt.steps[0].observation == ".."
    assert len(attempt.steps) == 2 and not attempt.steps[1].shown


def test_what_the_policy_does_not_heed_is_said(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    body = {"messages": [user("go")], "temperature": 0, "user": "u", "a\r\nb: c": 1, "stop": None}
    with caplog.at_level(logging.WARNING), desk(recorder, ["a", "b"]) as at:
        for _ in range(2):
            status, _, headers = at.post(f"/t/{at.key}/v1/chat/completions", body)
            assert status == 200 and headers["x-rft-ignored"] == "a??b??c, temperature"
    assert caplog.text.count("temperature: ignored") == 1 and at.line.ignored == {"temperature", "a??b??c"}


# --- exact tokens ---


def test_exact_prefixes_are_one_row_and_a_break_says_where(recorder: Recorder) -> None:
    policy = Exact("one", "two", "summary", "four")
    with desk(recorder, policy) as at:
        say = lambda text: {"role": "assistant", "content": text}  # noqa: E731
        at.ask(user("go"))
        at.ask(user("go"), say("one"), user("x"))
        at.ask(user("shorten: go"))  # a helper's conversation
        at.ask(user("go"), say("one"), user("x"), say("two"), user("y"))  # back to the first
    attempt = at.line.attempt
    assert attempt.prefix_breaks == 1 and len(attempt.tokens) == 2
    main, helper = attempt.tokens
    text = "go\0one\0x\0two\0y\0four\0"
    assert main.ids == [ord(c) for c in text] and [text[a:b] for a, b, _ in main.spans] == ["one\0", "two\0", "four\0"]
    assert [step for *_, step in main.spans] == [1, 2, 4] and len(main.logprobs or []) == 13
    assert helper.repeated == 0 and [step for *_, step in helper.spans] == [3]
    shown = [[m.content for m in step.shown] for step in attempt.steps]
    assert shown == [[], [], ["shorten: go"], ["go", "one", "x", "two", "y"]]
    assert [step.observation for step in attempt.steps] == ["x", "y", "", ""]


def test_a_shortened_history_costs_what_is_read_again(recorder: Recorder) -> None:
    with desk(recorder, Exact("one", "two")) as at:
        at.ask(user("a long task"), {"role": "assistant", "content": "old"}, user("x"))
        at.ask(user("a long task"), user("later"))
    first, second = at.line.attempt.tokens
    assert second.repeated == len("a long task\0") and at.line.attempt.prefix_breaks == 1
    assert [m.content for m in at.line.attempt.steps[1].shown] == ["a long task", "later"]
    assert first.repeated == 0


def test_a_reply_goes_back_to_the_policy_as_it_was(recorder: Recorder) -> None:
    policy = Exact("  one \n", "two")
    with desk(recorder, policy) as at:
        at.ask(user("go"))
        at.ask(user("go"), {"role": "assistant", "content": "one"}, user("x"))
    assert [m.content for m in policy.seen[1]] == ["go", "  one \n", "x"] and len(at.line.attempt.tokens) == 1


# --- the end of an attempt ---


class Failing:
    """A policy that cannot be asked."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        raise self.error

    def close(self) -> None:
        """Nothing is held."""


class Thinking(Exact):
    """A policy whose server keeps its thoughts apart."""

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        return msgspec.structs.replace(super().reply(messages, deadline=deadline), reasoning="Hm.")


def test_thoughts_are_recorded_though_the_agent_does_not_hand_them_back(recorder: Recorder) -> None:
    with desk(recorder, Thinking("a", "b")) as at:
        at.ask(user("go"))
        at.ask(user("go"), {"role": "assistant", "content": "a"}, user("on"))
    assert [(s.reasoning, s.reply, bool(s.shown)) for s in at.line.attempt.steps] == [("Hm.", x, False) for x in "ab"]


def test_limits_are_told_to_the_agent_and_kept(recorder: Recorder) -> None:
    with desk(recorder, ["a", "b"], max_steps=1) as at:
        at.ask(user("go"))
        with pytest.raises(openai.PermissionDeniedError, match="step_limit"):
            at.ask(user("go"))
    assert at.line.limit == StopReason.STEP_LIMIT and len(at.line.attempt.steps) == 1
    with desk(recorder, ["a"], seconds=0) as at, pytest.raises(openai.PermissionDeniedError, match="time_limit"):
        at.ask(user("go"))
    with desk(recorder, Failing(ContextFull("too long"))) as at:
        with pytest.raises(openai.BadRequestError) as caught:
            at.ask(user("go"))
        assert caught.value.code == "context_length_exceeded" and at.line.limit == StopReason.CONTEXT_FULL
    with desk(recorder, Failing(InferenceError("the server\nis gone"))) as at:
        with pytest.raises(openai.InternalServerError, match="the server is gone"):
            at.ask(user("go"))
        assert at.line.failure is not None and at.line.failure.where == "inference"
    with desk(recorder, Failing(ZeroDivisionError("a plug-in's own"))) as at:
        with pytest.raises(openai.InternalServerError, match="ZeroDivisionError: a plug-in's own"):
            at.ask(user("go"))
        assert at.line.failure is not None and at.line.failure.where == "inference"


def test_a_key_ends_with_its_attempt(recorder: Recorder) -> None:
    with desk(recorder, ["a"]) as at:
        pass
    with pytest.raises(openai.AuthenticationError, match="no attempt under way"):
        at.ask(user("go"))


def test_a_door_belongs_to_one_attempt(recorder: Recorder) -> None:
    door = socket.create_server(("127.0.0.1", 0))
    port = door.getsockname()[1]
    scripted = Scripted(replies=["a"])
    scripted.load("none", None)
    line = Line(scripted.open(make_task(), seed=0), deadline=time.monotonic() + 9)
    with desk(recorder, ["b"]) as other, recorder.open(line, door) as key:
        client = CLIENT.with_options(base_url=f"http://127.0.0.1:{port}/v1", api_key=key)
        with pytest.raises(openai.AuthenticationError, match="another attempt"):
            client.with_options(api_key=other.key).models.list()
        assert client.models.list().data[0].id == "policy"
        assert client.chat.completions.create(model="m", messages=[user("go")]).choices[0].message.content == "a"  # type: ignore[list-item]
        silent = socket.create_connection(("127.0.0.1", port), timeout=9)
    with silent, contextlib.suppress(ConnectionResetError):  # it was not even let in
        assert silent.recv(9) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


# --- hostile requests ---

GO = {"messages": [user("go")]}
HOSTILE: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{", 400, "truncated"),
    "no object": ([1], 400, "Expected `object`"),
    "no messages": ({}, 400, "missing required field `messages`"),
    "none of them": ({"messages": []}, 400, "length >= 1"),
    "wrong role": ({"messages": [{"role": "root", "content": "x"}]}, 400, "Invalid enum value 'root'"),
    "wrong types": ({"messages": [{"role": "user", "content": 7}]}, 400, "content"),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "reads text"),
    "two answers": (GO | {"n": 2}, 400, "expected 1"),
    "a deep nest": (b'{"messages":' + b"[" * 200_000, 400, "expected a request"),
    "no UTF-8": (b'{"messages": [{"role": "user", "content": "\xff"}]}', 400, "expected a request"),
    "a lone surrogate": (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400, "expected a request"),
    "much": (b" " * (17 << 20), 413, "more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("route", ["chat/completions", "messages"])
def test_a_hostile_request_gets_one_line(recorder: Recorder, name: str, route: str) -> None:
    body, status, words = HOSTILE[name]
    if (route, name) in (("messages", "two answers"), ("messages", "an image")):
        body, words = {"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "reads text"
    with desk(recorder, ["fine"]) as at:
        code, answer, _ = at.post(f"/t/{at.key}/v1/{route}", body)
        assert code == status and words in answer["error"]["message"], answer
        assert "\n" not in answer["error"]["message"] and len(answer["error"]["message"]) <= 500
        assert at.ask(user("go")).choices[0].message.content == "fine"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/chat/completions", 401),
        ("POST", "/t/nobody/v1/messages", 401),
        ("POST", "/t/../v1/messages", 404),
        ("POST", "/t/{key}/v1/responses", 404),
        ("GET", "/t/{key}/v1/chat/completions", 404),
        ("PUT", "/t/{key}/v1/messages", 404),
        ("POST", "/etc/passwd", 401),
        ("POST", "/" + "a" * 5000, 404),
    ],
)
def test_unknown_routes_and_keys(recorder: Recorder, method: str, path: str, status: int) -> None:
    with desk(recorder, ["fine"]) as at:
        code, answer, _ = send(at.port, method, path.format(key=at.key), json.dumps(GO).encode(), {})
        assert code == status and "expected" in answer["error"]["message"]
        assert at.key not in json.dumps(answer)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300)
    | st.sampled_from([b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"])
)
def test_bytes_that_are_no_request_end_nothing(recorder: Recorder, data: bytes) -> None:
    with desk(recorder, ["fine"]) as at:
        with socket.create_connection(("127.0.0.1", at.port), timeout=9) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(1 << 16):
                pass
        assert at.ask(user("go")).choices[0].message.content == "fine"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("messages", "tools", "tool_choice", "stream", "stream_options", "model", "n", "system", "role", "content")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4), st.sampled_from(["chat/completions", "messages"]))
def test_any_json_is_answered(recorder: Recorder, body: dict[str, Any], route: str) -> None:
    with desk(recorder, ["fine"]) as at:
        code, answer, _ = at.post(f"/t/{at.key}/v1/{route}", GO | body)
        assert code in (200, 400) and (
            code == 200 or "expected" in answer["error"]["message"] or "reads text" in str(answer)
        )
