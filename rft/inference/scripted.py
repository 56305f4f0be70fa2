"""Replays written answers, from the recipe or from one YAML file: for tests, documents and measurements."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rft.errors import InferenceError, RecipeError
from rft.inference.tool_calls import split
from rft.plugins import first_line
from rft.types import Completion, Message, Task, Tool


@dataclass(kw_only=True)
class Scripted:
    """Answers each conversation with the same replies, in order. Token ids and log-probabilities are unknown."""

    replies: list[str] = field(default_factory=list)
    """What every task is answered, one reply a turn; tools are called as `rft.inference.tool_calls` reads it."""
    path: str | None = None
    """A YAML or JSON file: task id to its list of replies; the key `default` answers all other tasks."""
    latency: float = 0.0
    """Seconds that each answer takes."""
    by_task: dict[str, list[str]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.replies and self.path is None:
            raise ValueError("neither replies nor path is given; a script needs one of them")
        if self.latency < 0:
            raise ValueError(f"latency is {self.latency}; expected 0 or more seconds")

    def load(self, model: str, sampling: Any) -> None:
        """Read `path`. Raises RecipeError when it does not hold replies."""
        if self.path is not None:
            self.by_task = read_replies(Path(self.path))

    def open(self, task: Task, *, seed: int) -> "ScriptedConversation":
        """A conversation that starts at the first reply; the seed changes nothing."""
        replies = self.by_task.get(task.id) or self.by_task.get("default") or self.replies
        return ScriptedConversation(task.id, replies, self.latency)

    def close(self) -> None:
        """Nothing is held."""


class ScriptedConversation:
    """One trajectory's place in its script."""

    def __init__(self, task_id: str, replies: Sequence[str], latency: float) -> None:
        self.task_id = task_id
        self.replies = replies
        self.latency = latency
        self.turn = 0

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        """The next reply. Raises InferenceError when the script is over or the deadline passes first."""
        if self.turn >= len(self.replies):
            raise InferenceError(
                f"scripted: '{self.task_id}' was asked for reply {self.turn + 1} and its script has "
                f"{len(self.replies)}. Write more replies, or let the script submit."
            )
        left = deadline - time.monotonic()
        time.sleep(max(0.0, min(self.latency, left)))
        if left < self.latency or left <= 0:
            raise InferenceError("scripted: time: the deadline passed before the answer.")
        self.turn += 1
        text, calls = split(self.replies[self.turn - 1], tools, self.turn)
        return Completion(text=text, tool_calls=calls, finish_reason="stop")

    def close(self) -> None:
        """Nothing is held."""


def read_replies(path: Path) -> dict[str, list[str]]:
    """Task id to replies. Raises RecipeError that names the file and the key."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise RecipeError(f"{path}: cannot be read ({first_line(error)}); expected a YAML file of replies.") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: holds a {type(data).__name__}; expected task ids with their lists of replies.")
    for key, replies in data.items():
        if not isinstance(key, str) or not isinstance(replies, list) or not all(isinstance(r, str) for r in replies):
            raise RecipeError(f"{path}: '{key}' is not a list of texts; expected one text a turn. Quote them.")
    return data
