"""What the readers share: a blank trajectory, how attempts end, and patches as `git apply` takes them."""

from typing import Any

from rft import store
from rft.types import Message, Outcome, StopReason, Trajectory

ANONYMOUS = "prompt-"
"""How the id of a task begins that no source names: attempts with the same prompt are attempts at the same task."""

_ENDS = (
    ("submitted", StopReason.SUBMITTED),
    ("finish", StopReason.SUBMITTED),
    ("complete", StopReason.SUBMITTED),
    ("success", StopReason.SUBMITTED),
    ("context", StopReason.CONTEXT_FULL),
    ("format", StopReason.FORMAT_LIMIT),
    ("time", StopReason.TIME_LIMIT),
    ("token", StopReason.TOKEN_LIMIT),
    ("cost", StopReason.TOKEN_LIMIT),
    ("step", StopReason.STEP_LIMIT),
    ("limit", StopReason.STEP_LIMIT),
    ("iteration", StopReason.STEP_LIMIT),
    ("message", StopReason.STEP_LIMIT),
    ("error", StopReason.ERROR),
    ("exit_", StopReason.ERROR),
    ("stuck", StopReason.ERROR),
)
"""A word in another program's exit status, and what it means here; the first that is found counts."""


def trajectory(*, prompt: list[Message], extra: dict[str, Any], **facts: Any) -> Trajectory:
    """A trajectory that another program made. One without a task is an attempt at the task that its prompt states.

    `id` may be empty: whoever reads gives one that is unique among what is read.
    """
    known: dict[str, Any] = {
        "id": "",
        "split": "train",
        "round": 1,
        "sample": 0,
        "seed": 0,
        "stop": StopReason.UNKNOWN,
    } | facts
    if not known.get("task_id"):
        said: Any = [[m.role, m.content] for m in prompt] or [step.reply for step in known.get("steps", [])]
        known["task_id"] = f"{ANONYMOUS}{store.digest(said)}"
    return Trajectory(prompt=prompt, extra=extra, **known)


def stop_of(status: str) -> StopReason:
    """How an attempt ended, from another program's exit status; UNKNOWN for an empty or strange one."""
    lower = status.lower()
    if lower in set(StopReason):
        return StopReason(lower)
    return next((reason for word, reason in _ENDS if word in lower), StopReason.UNKNOWN)


def outcome_of(resolved: bool | None, *, tampered: list[str] | None = None) -> Outcome | None:
    """The outcome where something is known of it."""
    return Outcome(resolved=resolved, tampered=tampered or []) if resolved is not None or tampered else None


def patch_of(submission: str) -> tuple[str, dict[str, Any]]:
    """A patch that `git apply` takes: blank lines before it left out, and the line ends of a terminal (CRLF throughout)
    made plain ones; and a note of the latter."""
    lines = submission.lstrip("\r\n").split("\n")
    ends = [line.endswith("\r") for line in lines[:-1]]
    if ends and all(ends):
        return "\n".join(line.removesuffix("\r") for line in lines), {"patch_line_ends": "CRLF"}
    return submission.lstrip("\r\n"), {}
