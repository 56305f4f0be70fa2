"""OpenAI's dialect: a chat-completions request read, and its answer written, whole or as a stream of events.

Source: the API reference of OpenAI, "Create chat completion" and "The chat completion chunk object".
"""

import time
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from rft.agents.recorder.asked import Asked, Refused, read
from rft.transcript import arguments_of, text_of
from rft.types import Completion, Message, Tool, ToolCall

UNHEEDED = frozenset(("user", "metadata", "store", "parallel_tool_calls", "safety_identifier", "prompt_cache_key"))
"""Fields that change nothing about an answer."""


def asked(body: bytes) -> Asked:
    """The call that a request makes. Raises Refused."""
    request, ignored = read(body, _Request, UNHEEDED)
    if request.n not in (None, 1):
        raise Refused(400, "invalid_request", f"n: {request.n}; expected 1, the policy answers once. Ask again.")
    if isinstance(request.tool_choice, str) and request.tool_choice in ("auto", "none"):
        tools = [] if request.tool_choice == "none" else request.tools or []
    else:
        tools = request.tools or []
        ignored += ["tool_choice"] if request.tool_choice is not None else []
    return Asked(
        messages=[_message(message, number) for number, message in enumerate(request.messages)],
        tools=[
            Tool(name=t.function.name, description=t.function.description or "", parameters=t.function.parameters or {})
            for t in tools
        ],
        model=request.model,
        stream=bool(request.stream),
        usage=bool(request.stream_options and request.stream_options.include_usage),
        ignored=ignored,
    )


def answer(completion: Completion, asked: Asked) -> dict[str, Any]:
    """The whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": completion.text or None, "refusal": None}
    if completion.tool_calls:
        message["tool_calls"] = [_call(call) for call in completion.tool_calls]
    else:
        message["content"] = completion.text
    choice = {"index": 0, "message": message, "finish_reason": _finish(completion), "logprobs": None}
    return _envelope("chat.completion", asked) | {"choices": [choice], "usage": _usage(completion)}


def events(completion: Completion, asked: Asked) -> Iterator[tuple[str, Any]]:
    """The answer as server-sent events: event name (none here) and data."""
    envelope = _envelope("chat.completion.chunk", asked)

    def chunk(delta: dict[str, Any], finish: str | None = None) -> tuple[str, Any]:
        return "", envelope | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}

    yield chunk({"role": "assistant", "content": ""})
    if completion.text:
        yield chunk({"content": completion.text})
    for number, call in enumerate(completion.tool_calls):
        yield chunk({"tool_calls": [_call(call) | {"index": number}]})
    yield chunk({}, _finish(completion))
    if asked.usage:
        yield "", envelope | {"choices": [], "usage": _usage(completion)}
    yield "", "[DONE]"


def _envelope(kind: str, asked: Asked) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": asked.model}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": text_of(call.arguments)}}


def _finish(completion: Completion) -> str:
    return "tool_calls" if completion.tool_calls else completion.finish_reason


def _usage(completion: Completion) -> dict[str, int]:
    read, written = completion.prompt_tokens, completion.completion_tokens
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str = "{}"


class _Called(msgspec.Struct):
    function: _CalledFunction
    id: str = ""


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    tool_calls: list[_Called] | None = None
    tool_call_id: str | None = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    function: _Function
    type: Literal["function"] = "function"


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Request(msgspec.Struct):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    model: str = "policy"
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: int | None = None


def _message(message: _Message, number: int) -> Message:
    return Message(
        role="system" if message.role == "developer" else message.role,
        content=_text(message.content, number),
        tool_calls=[
            ToolCall(id=call.id, name=call.function.name, arguments=arguments_of(call.function.arguments))
            for call in message.tool_calls or []
        ],
        tool_call_id=message.tool_call_id or "",
    )


def _text(content: str | list[_Part] | None, number: int) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type not in ("text", "refusal") or part.text is None:
            raise Refused(
                400,
                "unsupported_content",
                f"messages[{number}]: a part of the type '{part.type}'; the policy reads text.",
            )
    return "\n".join(part.text or "" for part in content)
