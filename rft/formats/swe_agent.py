"""SWE-agent `.traj` files of every generation: with `trajectory` and `history`, or with `history` alone."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from rft.formats.chat import row_of
from rft.formats.documents import Document, Fields, decode
from rft.formats.messages import attempt_of, read_messages
from rft.formats.trajectory import patch_of, stop_of, trajectory
from rft.transcript import turn
from rft.types import Message, Step, StopReason, Trajectory


def fits(value: Any) -> bool:
    """Whether a document looks like a SWE-agent trajectory."""
    if not isinstance(value, dict):
        return False
    steps, history = value.get("trajectory"), value.get("history")
    if isinstance(steps, list):
        return isinstance(value.get("info"), dict) or isinstance(history, list)
    return isinstance(history, list) and any(isinstance(m, dict) and "role" in m for m in history)


def read(document: Document) -> Trajectory:
    """The attempt: each of its steps, with what the model was shown as the history has it.

    The prompts that newer generations repeat at every step (`query`, `messages`) are left out and counted under
    `left_out`; all else that rft has no field for is kept in `extra`. Raises RecipeError.
    """
    row = Fields(document.value, document.where)
    config = _config(row, document.where)
    taken = [Fields(item, document.where, f"trajectory[{n}]") for n, item in enumerate(row.items("trajectory"))]
    shown = row.items("history")
    queries = [query for step in taken for query in (step.pop("query") or step.pop("messages"),) if query]
    prompt, told = _history(shown or (queries[0] if queries else []), document.where, whole=bool(shown))
    steps, strays = _steps(taken, told) if taken else ([_acted(step) for step in told], [])
    info = row.inner("info")
    status = info.text("exit_status")
    patch, note = patch_of(info.take("submission", str, ""))
    version = info.text("swe_agent_version")
    cost = info.inner("model_stats").pop_float("instance_cost") if info.has("model_stats") else None
    facts = {**info.rest(), **_only("model_stats", document.value.get("info"))}
    extra = {
        **({"left_out": {"query": len(queries)}} if queries else {}),
        **({"strays": [message.content for message in strays]} if strays else {}),
        **({"exit_status": status} if status else {}),
        **({"info": facts} if facts else {}),
    }
    environment = row.pop("environment")
    return trajectory(
        prompt=prompt,
        steps=steps,
        task_id=config.inner("problem_statement").text("id") or document.path.name.split(".traj")[0],
        stop=stop_of(status),
        patch=patch,
        policy=config.inner("agent").inner("model").text("name"),
        agent=f"SWE-agent {version}".strip(),
        cost=cost,
        extra=row.rest() | ({"environment": environment} if environment else {}) | note | extra,
    )


def _only(name: str, value: Any) -> dict[str, Any]:
    return {name: value[name]} if isinstance(value, dict) and value.get(name) else {}


def _config(row: Fields, where: str) -> Fields:
    """`replay_config`, an object or its JSON as a text; it stays in `extra`."""
    given = row.pop("replay_config")
    if given:
        row.put_back("replay_config", given)
    value = decode(given.encode(errors="replace"), f"{where}: replay_config") if isinstance(given, str) else given
    return Fields(value or {}, where, "replay_config")


def _history(values: Sequence[Any], where: str, *, whole: bool) -> tuple[list[Message], list[Step]]:
    """The prompt, demonstrations included, and the turns of a history; of a query only the prompt is the attempt's."""
    messages = read_messages([_without_action(value) for value in values], where, "history")
    first = next(
        (n for n, m in enumerate(messages) if m.role == "assistant" and not m.extra.get("is_demo")), len(messages)
    )
    prompt, steps = attempt_of(messages, prompt=first, followup=False)
    return prompt, steps if whole else []


def _without_action(value: Any) -> Any:
    """A history's message without what the step repeats, and with its thoughts where readers look for them."""
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if k not in ("thought", "agent", "message_type", "thinking_blocks")}
    blocks = value.get("thinking_blocks")
    if isinstance(blocks, list):
        thoughts = [b.get("thinking") for b in blocks if isinstance(b, dict)]
        kept["reasoning"] = "\n\n".join(t for t in thoughts if isinstance(t, str))
    return kept


def _steps(taken: list[Fields], told: list[Step]) -> tuple[list[Step], list[Message]]:
    """A step for each item of `trajectory`, joined with the turn of the history that shows it; and other turns."""
    steps: list[Step] = []
    left = list(told)
    strays: list[Message] = []
    for index, item in enumerate(taken, 1):
        action, reply = item.text("action"), item.text("response") or item.text("thought")
        place = next((n for n, turn in enumerate(left) if _same(turn, action, reply)), None)
        if place is not None:
            strays += [Message(role="assistant", content=turn.reply) for turn in left[:place]]
        turn = left[place] if place is not None else None
        left = left[place + 1 :] if place is not None else left
        steps.append(_step(index, item, action, reply, turn))
    strays += [Message(role="assistant", content=turn.reply) for turn in left]
    return steps, strays


def _acted(turn: Step) -> Step:
    """A turn of a history that stands alone, its action as the command."""
    action = str(turn.extra.get("action") or "").strip() or turn.command
    return replace(turn, command=action, extra={k: v for k, v in turn.extra.items() if k != "action"})


def _same(turn: Step, action: str, reply: str) -> bool:
    said = turn.extra.get("action")
    return turn.reply == reply if said is None else said == action and (turn.reply == reply or bool(action.strip()))


def _step(index: int, item: Fields, action: str, reply: str, turn: Step | None) -> Step:
    seen = item.text("observation")
    seconds = item.pop_float("execution_time")
    thought = item.text("thought")
    extra = item.rest() | ({"thought": thought} if thought.strip() not in reply else {})
    if turn is None:
        return Step(
            index=index, reply=reply, command=action.strip() or None, observation=seen, seconds=seconds or 0.0,
            extra=extra,
        )  # fmt: skip
    shown = turn.observation or seen
    kept = {key: value for key, value in turn.extra.items() if key != "action"}
    return replace(
        turn,
        index=index,
        command=action.strip() or None,
        observation=shown,
        seconds=seconds or 0.0,
        extra=kept
        | extra
        | ({"observation": seen} if seen.strip() not in shown else {})
        | ({"response": reply} if reply != turn.reply else {}),
    )


def write(attempt: Trajectory) -> dict[str, Any]:
    """The `.traj` document of an attempt."""
    info = {key: value for key, value in (attempt.extra.get("info") or {}).items() if key != "model_stats"}
    status = attempt.extra.get("exit_status") or ("" if attempt.stop is StopReason.UNKNOWN else attempt.stop.value)
    stats = {"api_calls": len(attempt.steps), **((attempt.extra.get("info") or {}).get("model_stats") or {})}
    return {
        "environment": attempt.extra.get("environment") or attempt.task_id,
        "trajectory": [_item(step) for step in attempt.steps],
        "history": [_said(message) for message in attempt.prompt]
        + [row for step in attempt.steps for row in _turn(step)],
        "info": {
            **info,
            "exit_status": status,
            "submission": attempt.patch,
            "model_stats": {**stats, **({} if attempt.cost is None else {"instance_cost": attempt.cost})},
        },
        "replay_config": attempt.extra.get("replay_config")
        or {
            "agent": {"model": {"name": attempt.policy}},
            "problem_statement": {"id": attempt.task_id, "type": "text", "text": _statement(attempt)},
        },
    }


def _statement(attempt: Trajectory) -> str:
    return next((m.content for m in reversed(attempt.prompt) if m.role == "user"), "")


def _item(step: Step) -> dict[str, Any]:
    return {
        "action": step.command or "",
        "observation": step.extra.get("observation", step.observation),
        "response": step.reply,
        "thought": step.extra.get("thought", step.reply),
        "state": step.extra.get("state", {}),
        "execution_time": step.seconds,
    }


def _turn(step: Step) -> list[dict[str, Any]]:
    reply, *rest = turn(step)
    thinking = [{"type": "thinking", "thinking": reply.reasoning}] if reply.reasoning else []
    said = _said(replace(reply, reasoning="")) | {"thought": step.reply, "action": step.command or ""}
    rest = rest if step.observation or step.after else []
    return [said | ({"thinking_blocks": thinking} if thinking else {}), *map(_said, rest)]


def _said(message: Message) -> dict[str, Any]:
    row = row_of(message)
    identity = row.pop("tool_call_id", "")
    return row | ({"tool_call_ids": [identity]} if identity else {}) | {"agent": "main"}
