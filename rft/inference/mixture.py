"""Asks several in turn: each attempt is made by one of them, so that attempts differ in more than a draw."""

import random
from dataclasses import dataclass, field
from typing import Any

from rft.interfaces import Conversation, Inference
from rft.plugins import build
from rft.types import Task


@dataclass(kw_only=True)
class Mixture:
    """One of several answers a whole attempt; which one follows from the task and the attempt's seed."""

    of: list[dict[str, Any]]
    """Who answers: `use:` sections, such as `[{use: demonstrator}, {use: local, model: kata-base}]`."""
    members: list[Inference] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.of:
            raise ValueError("of is empty; expected at least one section")
        self.members = [build("inference", section, f"of.{number}") for number, section in enumerate(self.of)]

    def load(self, model: str, sampling: Any) -> None:
        """Load all of them."""
        for member in self.members:
            member.load(model, sampling)

    def open(self, task: Task, *, seed: int) -> Conversation:
        """A conversation with the one that is drawn."""
        return random.Random(f"{task.id}/{seed}/of").choice(self.members).open(task, seed=seed)

    def close(self) -> None:
        """Close all of them."""
        for member in self.members:
            member.close()
