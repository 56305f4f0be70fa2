"""Anthropic's dialect: a messages request read, and its answer written, whole or as a stream of events.

Source: the API reference of Anthropic, "Create a message" and "Streaming messages".
"""

import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from rft.agents.recorder.asked import Asked, Refused, read
from rft.types import Completion, Message, Tool, ToolCall

UNHEEDED = frozenset(("metadata", "service_tier", "betas", "anthropic_version", "container"))
"""Fields that change nothing about an answer."""
STOP = {"stop": "end_turn", "length": "max_tokens"}


def asked(body: bytes) -> Asked:
    """The call that a request makes. Raises Refused."""
    request, ignored = read(body, _Request, UNHEEDED)
    choice = (request.tool_choice or {}).get("type", "auto")
    if choice not in ("auto", "none"):
        ignored.append("tool_choice")
    messages = [Message(role="system", content=_said(request.system))] if request.system else []
    for number, message in enumerate(request.messages):
        messages += _messages(message, number)
    return Asked(
        messages=messages,
        tools=[
            Tool(name=tool.name, description=tool.description or "", parameters=tool.input_schema or {})
            for tool in (request.tools or [] if choice != "none" else [])
        ],
        model=request.model,
        stream=bool(request.stream),
        ignored=ignored,
    )


def answer(completion: Completion, asked: Asked) -> dict[str, Any]:
    """The whole answer."""
    return _envelope(asked, completion.prompt_tokens) | {
        "content": _blocks(completion),
        "stop_reason": _stop(completion),
        "usage": {"input_tokens": completion.prompt_tokens, "output_tokens": completion.completion_tokens},
    }


def events(completion: Completion, asked: Asked) -> Iterator[tuple[str, Any]]:
    """The answer as server-sent events: event name and data."""

    def event(kind: str, **data: Any) -> tuple[str, Any]:
        return kind, {"type": kind, **data}

    yield event("message_start", message=_envelope(asked, completion.prompt_tokens))
    for number, block in enumerate(_blocks(completion)):
        if block["type"] == "text":
            empty, delta = block | {"text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty = block | {"input": {}}
            delta = {"type": "input_json_delta", "partial_json": msgspec.json.encode(block["input"]).decode()}
        yield event("content_block_start", index=number, content_block=empty)
        yield event("content_block_delta", index=number, delta=delta)
        yield event("content_block_stop", index=number)
    yield event(
        "message_delta",
        delta={"stop_reason": _stop(completion), "stop_sequence": None},
        usage={"output_tokens": completion.completion_tokens},
    )
    yield event("message_stop")


def _envelope(asked: Asked, prompt_tokens: int) -> dict[str, Any]:
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": prompt_tokens, "output_tokens": 0},
    }


def _stop(completion: Completion) -> str:
    return "tool_use" if completion.tool_calls else STOP[completion.finish_reason]


def _blocks(completion: Completion) -> list[dict[str, Any]]:
    said = [{"type": "text", "text": completion.text}] if completion.text else []
    return said + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call)} for call in completion.tool_calls
    ]


def _input(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as the object that the dialect wants; what is none is shown as it was written."""
    return call.arguments if isinstance(call.arguments, dict) else {"arguments": call.arguments}


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}
    tool_use_id: str = ""
    content: "str | list[_Block] | None" = None


class _Message(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    model: str = "policy"
    system: str | list[_Block] | None = None
    tools: list[_Tool] | None = None
    tool_choice: dict[str, Any] | None = None
    stream: bool | None = None


def _messages(message: _Message, number: int) -> list[Message]:
    """One message in ours: results of tools are messages of their own, what is said beside them follows."""
    blocks = [_Block(type="text", text=message.content)] if isinstance(message.content, str) else message.content
    for block in blocks:
        if block.type not in ("text", "tool_use", "tool_result", "thinking", "redacted_thinking"):
            raise Refused(
                400, "unsupported_content", f"messages[{number}]: a block '{block.type}'; the policy reads text."
            )
    results = [
        Message(role="tool", content=_said(block.content), tool_call_id=block.tool_use_id)
        for block in blocks
        if block.type == "tool_result"
    ]
    calls = [
        ToolCall(id=block.id, name=block.name, arguments=block.input) for block in blocks if block.type == "tool_use"
    ]
    texts = [block.text or "" for block in blocks if block.type == "text"]
    if not texts and results:
        return results
    return [*results, Message(role=message.role, content="\n".join(texts), tool_calls=calls)]


def _said(content: str | list[_Block] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(block.text if block.text is not None else f"[{block.type}]" for block in content)
