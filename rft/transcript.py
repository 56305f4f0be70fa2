"""A trajectory as judges and rules see it, and as the conversation that a model reads."""

import json
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import msgspec
from msgspec.structs import replace

from reward_models.messages import call_as_text
from reward_models.types import Transcript, TranscriptStep
from rft.types import Message, Step, StopReason, TokenRow, Tool, ToolCall, Trajectory

TOOLS = "Tools, called by <function=name>, a <parameter=name>value</parameter> for each argument, and </function>:"


def to_transcript(trajectory: Trajectory) -> Transcript:
    """The transcript of a trajectory; it holds neither the gold patch nor the names of the grader's tests.

    The statement is the last thing that the model was told before its first turn, the follow-up what the user wrote
    after its last.
    """
    outcome = trajectory.outcome
    statement = next((m.content for m in reversed(trajectory.prompt) if m.role == "user"), "")
    steps = [_step(step) for step in trajectory.steps[:-1]] + [_step(step, last=True) for step in trajectory.steps[-1:]]
    return Transcript(
        id=trajectory.id,
        task_id=trajectory.task_id,
        statement=statement,
        steps=steps,
        patch=trajectory.patch,
        stop="" if trajectory.stop is StopReason.UNKNOWN else trajectory.stop.value,
        resolved=outcome.resolved if outcome is not None else None,
        protected=list(trajectory.protected),
        tampered=list(outcome.tampered) if outcome is not None else [],
        forged=list(outcome.forged) if outcome is not None else [],
        followup="\n\n".join(m.content for step in trajectory.steps[-1:] for m in step.after if m.role == "user"),
    )


def _step(step: Step, *, last: bool = False) -> TranscriptStep:
    # the exit code has a field of its own
    output = step.observation.removeprefix(f"[exit {step.exit_code}]").removeprefix("\n")
    said = [message.content for message in step.after if not (last and message.role == "user")]
    return TranscriptStep(
        index=step.index,
        text="\n\n".join(part for part in (step.reasoning, step.reply) if part),
        command=step.command,
        output="\n\n".join(part for part in (output, *said) if part),
        exit_code=step.exit_code,
        timed_out=step.timed_out,
        problem=step.problem,
    )


def commands_of(calls: Sequence[ToolCall]) -> str | None:
    """The tool calls of a turn as the command that rules read; None without any."""
    return "\n".join(call_as_text(call.name, call.arguments) for call in calls) if calls else None


def messages_of(prompt: Sequence[Message], steps: Sequence[Step]) -> list[Message]:
    """The conversation that led up to the next turn: the prompt, then each reply with what came back."""
    messages = list(prompt)
    for step in steps:
        messages = [*(step.shown or messages), *turn(step)]
    return messages


def turn(step: Step) -> list[Message]:
    """What a step adds to the conversation: the reply, what came back, and what else was said before the next one.

    What came back is a message of the role `tool` for each call that had a result. Without tool calls it is a user's,
    which an empty observation leaves out only where something else was said.
    """
    calls = [_without_result(call) for call in step.tool_calls]
    reply = Message(role="assistant", content=step.reply, reasoning=step.reasoning, tool_calls=calls)
    return [reply, *_came_back(step), *step.after]


def _came_back(step: Step) -> list[Message]:
    results, end = [], 0
    rest = ""
    for call in sorted((c for c in step.tool_calls if c.result), key=lambda c: c.result or (0, 0)):
        assert call.result is not None
        rest += step.observation[end : call.result[0]]
        end = max(end, call.result[1])
        content = step.observation[call.result[0] : call.result[1]]
        results.append(Message(role="tool", content=content, tool_call_id=call.id))
    rest = (rest + step.observation[end:]).strip() if results else step.observation
    if rest or not (results or step.after):
        results.append(Message(role="user", content=rest))
    return results


def _without_result(call: ToolCall) -> ToolCall:
    return ToolCall(id=call.id, name=call.name, arguments=call.arguments)


def plain(message: Message) -> Message:
    """A message as a chat template without tools takes it: thoughts and calls written out, results from the user.

    A call is written `<function=name>`, a `<parameter=…>` for each argument, `</function>`, as OpenHands and SWE-smith
    write it.
    """
    if message.role in ("tool", "function"):
        return Message(role="user", content=message.content)
    thought = message.reasoning.strip()
    opening = [f"<think>\n{thought}\n</think>"] if thought and thought not in message.content else []
    parts = [*opening, message.content, *map(_call_written_out, message.tool_calls)]
    return Message(role=message.role, content="\n\n".join(part for part in parts if part))


def written_out(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[Message]:
    """A conversation as a chat template without tools takes it, each message `plain`.

    What came back to one turn is one message; the tools are described at the end of the system's message.
    """
    merged: list[Message] = []
    for message in map(plain, messages):
        if merged and merged[-1].role == message.role == "user" and any(m.role == "assistant" for m in merged):
            merged[-1] = Message(role="user", content=f"{merged[-1].content}\n\n{message.content}")
        else:
            merged.append(message)
    if not tools:
        return merged
    opening = merged.pop(0).content + "\n\n" if merged and merged[0].role == "system" else ""
    return [Message(role="system", content=opening + _described(tools)), *merged]


def _described(tools: Sequence[Tool]) -> str:
    lines = [
        msgspec.json.encode({"name": t.name, "description": t.description, "parameters": t.parameters}).decode()
        for t in tools
    ]
    return "\n".join([TOOLS, *lines])


def arguments_of(text: str) -> dict[str, Any] | str:
    """A call's arguments as an object, or as the text that they are when it is none."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def text_of(arguments: dict[str, Any] | str) -> str:
    """A call's arguments as the text that OpenAI's dialect wants."""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _call_written_out(call: ToolCall) -> str:
    given = call.arguments
    if isinstance(given, str):
        return f"<function={call.name}>\n{given}\n</function>"
    lines = [f"<parameter={name}>{_as_text(value)}</parameter>\n" for name, value in given.items()]
    return f"<function={call.name}>\n{''.join(lines)}</function>"


def _as_text(value: Any) -> str:
    """A text as it is, on lines of its own where it has several; anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"\n{text}\n" if "\n" in text else text


def extend_rows(
    rows: list[TokenRow], prompt: list[int], ids: list[int], logprobs: list[float] | None, step: int
) -> bool:
    """Add a turn's exact tokens to the longest row that its prompt goes on from, or as a new row where it breaks.

    Returns whether it broke with what came before.
    """
    number = _row_before(rows, prompt)
    before = TokenRow(ids=[], spans=[], logprobs=[]) if number is None else rows[number]
    row = TokenRow(
        ids=[*prompt, *ids],
        spans=[*before.spans, (len(prompt), len(prompt) + len(ids), step)],
        logprobs=None if before.logprobs is None or logprobs is None else [*before.logprobs, *logprobs],
        repeated=before.repeated,
    )
    if number is not None:
        rows[number] = row
        return False
    breaks = bool(rows)
    if breaks:
        row = replace(row, repeated=max(shared(other.ids, prompt) for other in rows))
    rows.append(row)
    return breaks


def _row_before(rows: Sequence[TokenRow], prompt: Sequence[int]) -> int | None:
    lengths = {number: len(row.ids) for number, row in enumerate(rows) if list(prompt[: len(row.ids)]) == row.ids}
    return max(lengths, key=lambda number: lengths[number], default=None)


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
