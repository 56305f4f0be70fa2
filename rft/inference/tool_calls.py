"""Tool calls in what a model wrote: the two notations that open models are trained on, read strictly.

`<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen), and `<function=name>` with a
`<parameter=key>value</parameter>` for each argument and `</function>`, alone or inside `<tool_call>` (SWE-agent, Qwen
Coder). What is neither stays text.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from rft.transcript import text_of
from rft.types import Message, Tool, ToolCall

# no opening stands in what is enclosed: a reply of nothing but openings would be searched again from each of them
_CALL = re.compile(
    r"<tool_call>((?:(?!<tool_call>).)*?)</tool_call>|(<function=(?:(?!<function=).)*?</function>)", re.DOTALL
)
_FUNCTION = re.compile(r"\s*<function=([^<>\s]+)>(.*)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^<>\s]+)>((?:(?!<parameter=).)*?)</parameter>", re.DOTALL)


class _Object(msgspec.Struct):
    name: str
    arguments: dict[str, Any] = {}


def split(text: str, tools: Sequence[Tool], turn: int) -> tuple[str, list[ToolCall]]:
    """A reply's text without its calls, and the calls; `turn` makes their ids. Without tools nothing is a call."""
    if not tools:
        return text, []
    calls: list[ToolCall] = []

    def take(found: re.Match[str]) -> str:
        call = _read(found[1] if found[1] is not None else found[2], tools)
        if call is None:
            return found[0]
        calls.append(ToolCall(id=f"call_{turn}_{len(calls) + 1}", name=call.name, arguments=call.arguments))
        return ""

    rest = _CALL.sub(take, text)
    return (rest.strip(), calls) if calls else (text, [])


def chat_tool(tool: Tool) -> dict[str, Any]:
    """A tool as chat templates and OpenAI-compatible servers take it."""
    given = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": {key: value for key, value in given.items() if value != ""}}


def chat_message(message: Message) -> dict[str, Any]:
    """A message as OpenAI-compatible servers take it."""
    given: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        given["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": text_of(call.arguments)}}
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        given["tool_call_id"] = message.tool_call_id
    return given


def _read(text: str, tools: Sequence[Tool]) -> _Object | None:
    if function := _FUNCTION.fullmatch(text):
        types = _types(function[1], tools)
        return _Object(
            function[1], {name: _typed(value, types.get(name)) for name, value in _PARAMETER.findall(function[2])}
        )
    try:
        return msgspec.json.decode(text.strip(), type=_Object)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _types(name: str, tools: Sequence[Tool]) -> dict[str, Any]:
    """The JSON type of each of a tool's parameters, where its schema tells."""
    schema = next((tool.parameters for tool in tools if tool.name == name), {})
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    return {key: value.get("type") for key, value in known.items() if isinstance(value, dict)}


def _typed(text: str, kind: Any) -> Any:
    """A parameter's value: text, unless the schema wants another type and the text is JSON."""
    text = text.removeprefix("\n").removesuffix("\n")
    if kind in (None, "string"):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
