"""Chat messages of any dialect (OpenAI, Anthropic, Inspect, SWE-agent) -> a prompt and steps.

All readers that are given a conversation make it an attempt here, so what belongs to what is decided once.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from reward_models.messages import call_as_text
from rft.formats.documents import Fields, wrong
from rft.transcript import commands_of
from rft.types import Message, Step, ToolCall

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_OTHER_NAMES = {"human": "user", "gpt": "assistant", "model": "assistant", "ai": "assistant", "observation": "tool"}
_BLOCK = re.compile(r"```(?:bash|sh|shell|mswea_bash_command)[ \t]*\n(.*?)\n?```", re.DOTALL)
_CALL = re.compile(r"<function=([^>\n]{1,100})>(.*?)</function>", re.DOTALL)
_EXIT = re.compile(
    r"\A\[exit (-?\d+)\]|\A<returncode>(-?\d+)</returncode>"
    r"|\[(?:Command finished|The command completed) with exit code (-?\d+)"
)
"""How rft's `bash`, mini-swe-agent and OpenHands write a command's exit code into what the model reads."""
_PARAMETER = re.compile(r"<parameter=([^>\n]{1,100})>(.*?)</parameter>", re.DOTALL)


def read_messages(values: Sequence[Any], where: str, path: str = "messages") -> list[Message]:
    """The messages; a message of Anthropic's that holds several results becomes several. Raises RecipeError."""
    return [
        message for number, value in enumerate(values) for message in _read(Fields(value, where, f"{path}[{number}]"))
    ]


def _read(fields: Fields) -> list[Message]:
    role = fields.text("role", "from")
    role = _OTHER_NAMES.get(role, role)
    if role not in ROLES:
        raise wrong(
            fields.where, fields.at("role"), f"Invalid enum value '{role[:40]}'; expected one of {', '.join(ROLES)}"
        )
    given = fields.pop("content")
    given = fields.pop("value") if given is None else given
    parts = _Parts(given, fields)
    calls = [
        *parts.calls,
        *(
            _call(Fields(call, fields.where, f"{fields.at('tool_calls')}[{n}]"))
            for n, call in enumerate(fields.items("tool_calls"))
        ),
    ]
    identity = fields.text("tool_call_id")
    several = fields.take("tool_call_ids", list[str], [])
    if not identity and several:
        identity, several = several[0], several[1:]
    if several:
        fields.put_back("tool_call_ids", several)
    spoken = Message(
        role=role,
        content=parts.text,
        reasoning=fields.first(("reasoning_content", "reasoning"), str, "") or parts.reasoning,
        tool_calls=calls,
        tool_call_id=identity,
        extra={**fields.rest(), **({"content": given} if parts.more else {})},
    )
    if parts.results and not (parts.text or calls):
        return parts.results
    return [*parts.results, spoken]


class _Parts:
    """What a message's content says: its text, its thoughts, and calls and results where they stand in the content."""

    def __init__(self, content: Any, fields: Fields) -> None:
        self.calls: list[ToolCall] = []
        self.results: list[Message] = []
        self.more = False
        """Whether something in it is not in the text."""
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        if isinstance(content, str):
            self._texts.append(content)
        elif isinstance(content, list):
            for number, part in enumerate(content):
                self._take(Fields(part, fields.where, f"{fields.at('content')}[{number}]"))
        elif content is not None:
            raise wrong(
                fields.where, fields.at("content"), f"Expected str | array | null, got {type(content).__name__}"
            )
        self.text = "\n".join(self._texts)
        self.reasoning = "\n\n".join(self._thoughts)

    def _take(self, part: Fields) -> None:
        sort = part.text("type") or "text"
        if sort in ("text", "output_text", "input_text"):
            self._texts.append(part.take("text", str, ""))
        elif sort in ("thinking", "reasoning"):
            self._thoughts.append(part.first(("thinking", "reasoning", "text"), str, ""))
        elif sort == "tool_use":
            self.calls.append(
                ToolCall(id=part.text("id"), name=part.text("name"), arguments=part.take("input", dict[str, Any], {}))
            )
        elif sort == "tool_result":
            inner = _Parts(part.pop("content"), part)
            result = Message(role="tool", content=inner.text, tool_call_id=part.text("tool_use_id"), extra=part.rest())
            self.results.append(result)
        else:
            self._texts.append(f"[{sort}]")
            self.more = True
        self.more = self.more or bool(any(part.rest().values()) and sort != "tool_result")


def _call(fields: Fields) -> ToolCall:
    """A call of OpenAI's (its name and arguments under `function`), or of Inspect's (`function` is the name)."""
    identity = fields.text("id")
    function = fields.pop("function")
    inner = Fields(function, fields.where, fields.at("function")) if isinstance(function, dict) else None
    given = (inner or fields).pop("arguments")
    name = inner.text("name") if inner else function if isinstance(function, str) else fields.text("name")
    if not name:
        raise wrong(fields.where, fields.at("function"), "Object missing required field name")
    extra = fields.rest() | ({"function": inner.rest()} if inner and inner.rest() else {})
    if extra.get("type") == "function":
        del extra["type"]
    return ToolCall(id=identity, name=name, arguments=read_arguments(given), extra=extra)


def read_arguments(given: Any) -> dict[str, Any] | str:
    """A call's arguments: an object where they are one, whether it comes as such or as JSON; else as text."""
    if isinstance(given, dict):
        return given
    if not isinstance(given, str):
        return {} if given is None else msgspec.json.encode(given).decode()
    try:
        decoded = msgspec.json.decode(given or "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return given
    return decoded if isinstance(decoded, dict) else given


def attempt_of(
    messages: Sequence[Message], *, prompt: int | None = None, followup: bool = True
) -> tuple[list[Message], list[Step]]:
    """The prompt and the steps. `prompt` is how many messages stand before the agent's first turn; all before the first
    `assistant` message when left out.

    A result goes to its call, by id where there is one, else to the first without a result. What a user says after a
    turn that called no tool is what the turn came to; anything else said before the next turn is kept as said after
    this one. What a user says after the last turn is a `followup`, or else what the turn came to.
    """
    if prompt is None:
        prompt = next((n for n, message in enumerate(messages) if message.role == "assistant"), len(messages))
    turns: list[_Turn] = []
    opening = list(messages[:prompt])
    for message in messages[prompt:]:
        if message.role == "assistant":
            turns.append(_Turn(message))
        elif turns:
            turns[-1].hear(message)
        else:
            opening.append(message)
    if turns and followup:
        turns[-1].finish()
    return opening, [turn.step(number) for number, turn in enumerate(turns, 1)]


class _Turn:
    """A reply and what comes after it, message by message."""

    def __init__(self, reply: Message) -> None:
        self.reply = reply
        self.calls = list(reply.tool_calls)
        self.pieces: list[str] = []
        self.after: list[Message] = []
        self.extra: dict[str, Any] = {}
        self.heard: Message | None = None
        """The user's message that is the observation."""

    def hear(self, message: Message) -> None:
        if message.role in ("tool", "function") and not self.after:
            self._result(message)
        elif message.role == "user" and not (self.calls or self.pieces or self.after):
            self.heard = message
            self.pieces.append(message.content)
        else:
            self.after.append(message)

    def _result(self, message: Message) -> None:
        open_calls = [n for n, call in enumerate(self.calls) if call.result is None]
        named = [n for n in open_calls if message.tool_call_id and self.calls[n].id == message.tool_call_id]
        start = sum(map(len, self.pieces)) + 2 * len(self.pieces)
        self.pieces.append(message.content)
        for number in (named or open_calls)[:1]:
            call = self.calls[number]
            more = {"tool_call_id": message.tool_call_id} if message.tool_call_id not in ("", call.id) else {}
            said = message.extra | more
            self.calls[number] = replace(
                call,
                result=(start, start + len(message.content)),
                extra=call.extra | ({"result": said} if said else {}),
            )
            return
        if message.extra or message.tool_call_id:
            self.extra.setdefault("results", []).append({"tool_call_id": message.tool_call_id} | message.extra)

    def finish(self) -> None:
        """What the user says after the last turn is no result of it."""
        if self.heard is not None:
            self.after.insert(0, self.heard)
            self.pieces, self.heard = [], None

    def step(self, index: int) -> Step:
        """The turn as a step."""
        seen = "\n\n".join(self.pieces)
        heard = {"observation": self.heard.extra} if self.heard and self.heard.extra else {}
        return Step(
            index=index,
            reply=self.reply.content,
            reasoning=self.reply.reasoning,
            command=commands_of(self.calls) or command_in(self.reply.content),
            tool_calls=self.calls,
            observation=seen,
            exit_code=exit_code_in(seen),
            after=self.after,
            extra=self.reply.extra | self.extra | heard,
        )


def exit_code_in(observation: str) -> int | None:
    """The exit code that an observation states; None where it states none, or one for each of several commands."""
    found = _EXIT.findall(observation)
    code = next((int(text) for text in found[0] if text), None) if len(found) == 1 else None
    return code if code is not None and code >= 0 else None


def command_in(reply: str) -> str | None:
    """The command that stands in a reply's own text: one call written as `<function=…>`, or one block of bash."""
    calls = _CALL.findall(reply)
    if len(calls) == 1:
        name, body = calls[0]
        given = {key: value.strip("\n") for key, value in _PARAMETER.findall(body)}
        return call_as_text(name.strip(), given)
    blocks = _BLOCK.findall(reply)
    return blocks[0].strip() or None if len(blocks) == 1 and not calls else None
