"""Chat messages become a transcript: what other programs keep of an attempt, as judges and rules see it."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from reward_models.errors import TranscriptError, did_you_mean
from reward_models.types import Transcript, TranscriptStep

Messages = str | Sequence[Mapping[str, Any]]
"""A text, or OpenAI chat messages: `{"role": …, "content": …}`, with `tool_calls` and results of the role `tool`."""

FACTS = tuple(name for name in Transcript.__struct_fields__ if name not in ("statement", "steps"))
"""What messages do not say of an attempt, and whoever knows it may add."""

SHELLS = frozenset(("bash", "shell", "sh", "terminal", "execute_bash", "execute_command", "run_command", "run_shell"))
"""Tools whose `command` or `cmd` is a shell command, and is read as one."""
EDITORS = frozenset(("str_replace_editor", "str_replace_based_edit_tool"))
"""Tools whose arguments are a verb, a path, and texts."""


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """What it says, with a note in place of what is no text."""
        if isinstance(self.content, list):
            parts = (part.text if part.text is not None else f"[{part.type}]" for part in self.content)
            return "\n".join(parts)
        return self.content or ""


def transcript_of(messages: Messages, *, prompt: Messages | None = None, **facts: Any) -> Transcript:
    """The transcript of an attempt that is kept as a chat.

    `prompt` is what stood before the agent's first turn; without it that is everything before the first `assistant`
    message. It becomes the statement: one message as it is, several each under its role. A text in place of messages
    is a prompt, or one turn of the agent. Each tool call of a turn is a step of its own, the turn's text standing in
    the first. Results of tools go to their calls; what a user says between turns is what the turn before came to, and
    after the last turn it is the follow-up. `facts` are the transcript's other fields: `id`, `task_id`, `patch` (the
    agent's own final change), `stop`, `resolved`, `protected`, `tampered`, `followup`.

    Raises TranscriptError, one line, for what is no chat or holds no turn of an agent.
    """
    for name in facts:
        if name not in FACTS:
            raise TranscriptError(
                f"{name}: no fact of a transcript; expected {', '.join(FACTS)}.{did_you_mean(name, FACTS)}"
            )
    turns = _read(messages, "messages", "assistant")
    if prompt is None:
        first = next((n for n, message in enumerate(turns) if message.role == "assistant"), len(turns))
        opening, turns = turns[:first], turns[first:]
    else:
        opening = _read(prompt, "prompt", "user")
    if not any(message.role == "assistant" for message in turns):
        raise TranscriptError("messages: no message of the role 'assistant'; expected at least one turn of an agent.")
    steps, followup = _steps(turns)
    known = {"id": "", "followup": followup} | facts
    try:
        return msgspec.convert({**known, "statement": _statement(opening), "steps": steps}, Transcript)
    except msgspec.ValidationError as error:
        raise TranscriptError(f"{_where(error)}. Mend the facts that are given with the messages.") from None


def _read(messages: Messages, where: str, role: Literal["user", "assistant"]) -> list[_Message]:
    if isinstance(messages, str):
        return [_Message(role=role, content=messages)]
    try:
        return msgspec.convert(messages, list[_Message])
    except (msgspec.ValidationError, RecursionError) as error:
        raise TranscriptError(f"{where}{_where(error)}; expected a text or OpenAI chat messages.") from None


def _where(error: Exception) -> str:
    """`[3].role: what is wrong` from msgspec's `What is wrong - at `$[3].role``."""
    problem, _, at = str(error).replace("`", "").partition(" - at $")
    return f"{at.removeprefix('.')}: {problem}"


def _statement(opening: list[_Message]) -> str:
    if len(opening) == 1:
        return opening[0].text
    return "\n\n".join(f"[{message.role}]\n{message.text}" for message in opening)


def _steps(turns: list[_Message]) -> tuple[list[TranscriptStep], str]:
    """The steps, and what a user wrote after the last of them."""
    steps: list[TranscriptStep] = []
    open_calls: dict[int, str | None] = {}
    said: list[str] = []
    for message in turns:
        if message.role == "assistant":
            _came_back(steps, len(steps) - 1, said)
            said, open_calls = [], {}
            for call, step in _turn(message, len(steps) + 1):
                if call is not None:
                    open_calls[len(steps)] = call.id
                steps.append(step)
        elif message.role in ("tool", "function"):
            place = _answered(open_calls, message.tool_call_id)
            _came_back(steps, len(steps) - 1 if place is None else place, [message.text])
        else:
            said.append(message.text)
    return steps, "\n\n".join(said)


def _turn(message: _Message, index: int) -> list[tuple[_Call | None, TranscriptStep]]:
    text = "\n\n".join(part for part in (message.reasoning_content, message.text) if part)
    calls: list[_Call | None] = [*(message.tool_calls or [])] or [None]
    return [
        (
            call,
            TranscriptStep(
                index=index + n,
                text="" if n else text,
                command=call_as_text(call.function.name, call.function.arguments) if call else None,
                output="",
            ),
        )
        for n, call in enumerate(calls)
    ]


def _answered(open_calls: dict[int, str | None], identity: str | None) -> int | None:
    """The step that a result belongs to: its call's, by id where there is one, else the first without a result."""
    place = next((n for n, call in open_calls.items() if identity is not None and call == identity), None)
    place = next(iter(open_calls), None) if place is None else place
    if place is not None:
        del open_calls[place]
    return place


def _came_back(steps: list[TranscriptStep], place: int, texts: list[str]) -> None:
    if texts and place >= 0:
        output = "\n\n".join([steps[place].output, *texts] if steps[place].output else texts)
        steps[place] = msgspec.structs.replace(steps[place], output=output)


def call_as_text(name: str, arguments: str | dict[str, Any] | None) -> str:
    """A call as one text: a shell's command as it is, an editor's as words, any other with its JSON."""
    given = _arguments(arguments)
    if isinstance(given, dict):
        if name in SHELLS:
            command = given.get("command", given.get("cmd"))
            if isinstance(command, str):
                return command
        if name in EDITORS and {"command", "path"} <= given.keys():
            texts = [
                word
                for key, value in given.items()
                if key not in ("command", "path") and value is not None
                for word in (f"--{key}", str(value))
            ]
            return shlex.join(["str_replace_editor", str(given["command"]), str(given["path"]), *texts])
        return f"{name} {_json(given)}" if given else name
    return f"{name} {given}".rstrip()


def _arguments(given: str | dict[str, Any] | None) -> dict[str, Any] | str:
    """Arguments as an object where they are one, whether it comes as such or as JSON; else as they are."""
    if isinstance(given, dict):
        return given
    try:
        decoded = msgspec.json.decode(given or "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return given or ""
    return decoded if isinstance(decoded, dict) else given or ""


def _json(arguments: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(arguments).decode()
    except (TypeError, ValueError, RecursionError):
        return str(arguments)
