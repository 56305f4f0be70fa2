"""mini-swe-agent: `{"trajectory_format": "mini-swe-agent-…", "info": …, "messages": […]}`, or its bare messages."""

from typing import Any

from msgspec.structs import replace

from rft.formats.documents import Document, Fields
from rft.formats.messages import attempt_of, read_messages
from rft.formats.trajectory import patch_of, stop_of, trajectory
from rft.types import Step, Trajectory


def fits(value: Any) -> bool:
    """Whether a document looks like a mini-swe-agent trajectory."""
    if isinstance(value, dict):
        told = str(value.get("trajectory_format", "")).startswith("mini-swe-agent")
        return told or ("messages" in value and isinstance(value.get("info"), dict))
    return isinstance(value, list) and any(isinstance(m, dict) and m.get("role") == "exit" for m in value)


def read(document: Document) -> Trajectory:
    """The attempt; commands come from a message's `extra.actions`, or its one block of bash. Raises RecipeError."""
    given = {"messages": document.value} if isinstance(document.value, list) else document.value
    row = Fields(given, document.where)
    values = [_known_role(value) for value in row.items("messages")]
    prompt, steps = attempt_of(read_messages(values, document.where), followup=False)
    info = row.inner("info")
    status = info.text("exit_status")
    patch, note = patch_of(info.take("submission", str, ""))
    version = info.text("mini_version")
    told = info.rest() | ({"exit_status": status} if status else {})
    return trajectory(
        prompt=prompt,
        steps=[_step(step, document.where) for step in steps],
        task_id=row.text("instance_id"),
        stop=stop_of(status),
        patch=patch,
        policy=info.inner("config").inner("model").text("model_name"),
        agent=f"mini-swe-agent {version}".strip(),
        cost=info.inner("model_stats").pop_float("instance_cost"),
        extra=row.rest() | note | ({"info": told} if told else {}),
    )


def _known_role(value: Any) -> Any:
    """Its last message has a role of its own, `exit`."""
    return {**value, "role": "user"} if isinstance(value, dict) and value.get("role") == "exit" else value


def _step(step: Step, where: str) -> Step:
    """The step with what mini-swe-agent tells of it under the message's `extra`."""
    told = Fields(step.extra.get("extra") or {}, where, f"turn {step.index}: extra")
    results = [call.extra.get("result") for call in step.tool_calls[-1:]] or [step.extra.get("observation")]
    observed = Fields(_inner(results[0], "extra"), where, f"turn {step.index}: observation")
    actions = [Fields(action, where, "actions").text("command") for action in told.items("actions")]
    commands = [command for command in actions if command]
    usage = told.inner("response").inner("usage")
    return replace(
        step,
        command=step.command if step.tool_calls and not commands else "\n".join(commands) or step.command,
        exit_code=step.exit_code if (code := observed.pop_int("returncode")) is None else code,
        cost=told.pop_float("cost"),
        timestamp=told.text("timestamp"),
        prompt_tokens=usage.take("prompt_tokens", int, 0),
        completion_tokens=usage.take("completion_tokens", int, 0),
    )


def _inner(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
