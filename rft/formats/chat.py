"""Plain chats: a row of JSON with `messages` (OpenAI's or Anthropic's), ShareGPT's `conversations`, or a bare list."""

from typing import Any

import msgspec

from rft.formats.documents import Document, Fields, converted, wrong
from rft.formats.messages import attempt_of, read_messages
from rft.formats.trajectory import outcome_of, patch_of, stop_of, trajectory
from rft.transcript import messages_of
from rft.types import Message, Outcome, StopReason, Trajectory


def fits(value: Any) -> bool:
    """Whether a document looks like a chat."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(m, dict) and ("role" in m or "from" in m) for m in value)
    return isinstance(value, dict) and any(isinstance(value.get(name), list) for name in ("messages", "conversations"))


def read(document: Document) -> Trajectory:
    """The attempt that a chat tells of.

    Beside the messages a row may hold `id`, `task_id` (`instance_id`), `prompt` (what stood before the first turn),
    `patch` (`model_patch`), `stop` (`exit_status`), `resolved`, `protected`, `tampered`, `followup`, `model`, `cost`;
    what else it holds is kept in `extra`. Raises RecipeError.
    """
    value = {"messages": document.value} if isinstance(document.value, list) else document.value
    row = Fields(value, document.where)
    name = next((name for name in ("messages", "conversations") if row.has(name)), None)
    if name is None:
        raise wrong(document.where, "", 'no \'messages\'; expected {"messages": [{"role": …, "content": …}]}')
    messages = _messages(row.pop(name), document.where, name, "assistant")
    if not any(message.role == "assistant" for message in messages):
        raise wrong(document.where, name, "no message of the role 'assistant'; expected at least one turn of an agent")
    opening = _messages(row.pop("prompt"), document.where, "prompt", "user") if row.has("prompt") else None
    prompt, steps = attempt_of([*(opening or []), *messages], prompt=None if opening is None else len(opening))
    if followup := row.take("followup", str, ""):
        steps[-1].after.append(Message(role="user", content=followup))
    patch, note = patch_of(row.first(("patch", "model_patch", "git_patch"), str, ""))
    status = row.first(("stop", "exit_status"), str, "")
    stop = stop_of(status)
    facts: dict[str, Any] = {
        "id": row.text("id"),
        "task_id": row.text("task_id", "instance_id"),
        "patch": patch,
        "stop": stop,
        "outcome": outcome_of(row.pop_bool("resolved"), tampered=row.take("tampered", list[str], [])),
        "protected": row.take("protected", list[str], []),
        "policy": row.first(("model", "model_name_or_path"), str, ""),
        "cost": row.pop_float("cost"),
    }
    more = {"exit_status": status} if status and status != stop else {}
    return trajectory(prompt=prompt, steps=steps, extra=row.rest() | note | more, **facts)


def write(attempt: Trajectory) -> dict[str, Any]:
    """The row of an attempt: OpenAI's messages, and the facts that `read` knows."""
    outcome = attempt.outcome or Outcome(resolved=None)
    said = [row_of(message) for message in conversation(attempt)]
    # a prompt that holds turns of an assistant is set off, for these are not the attempt's
    apart = len(attempt.prompt) if any(m.role not in ("system", "user") for m in attempt.prompt) else 0
    facts = {
        "id": attempt.id,
        "task_id": attempt.task_id,
        "prompt": said[:apart],
        "messages": said[apart:],
        "patch": attempt.patch,
        "stop": "" if attempt.stop is StopReason.UNKNOWN else attempt.stop.value,
        "resolved": outcome.resolved,
        "tampered": outcome.tampered,
        "protected": attempt.protected,
        "model": attempt.policy,
        "cost": attempt.cost,
    }
    return {name: value for name, value in facts.items() if value not in (None, "", [])}


def conversation(attempt: Trajectory) -> list[Message]:
    """All that was said, in order; nothing that came back to the last turn is nothing said."""
    said = messages_of(attempt.prompt, attempt.steps)
    last = attempt.steps[-1] if attempt.steps else None
    return said[:-1] if last and not (last.observation or last.after) else said


def row_of(message: Message) -> dict[str, Any]:
    """A message as OpenAI writes it."""
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": _json(call.arguments)},
        }
        for call in message.tool_calls
    ]
    row = {
        "role": message.role,
        "content": message.content,
        "reasoning_content": message.reasoning,
        "tool_calls": calls,
        "tool_call_id": message.tool_call_id,
    }
    return {name: value for name, value in row.items() if value or name in ("role", "content")}


def _json(arguments: dict[str, Any] | str) -> str:
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def _messages(given: Any, where: str, path: str, role: str) -> list[Message]:
    """Messages, or a text as one message of `role`."""
    if isinstance(given, str):
        return [Message(role=role, content=given)]
    return read_messages(converted(given, list, where, path), where, path)
