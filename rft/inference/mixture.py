"""Asks several in turn: each attempt is made by one of them, so that attempts differ in more than a draw."""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rft.inference.serving import served
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

    @contextlib.contextmanager
    def serve(self, model: str, folder: Path) -> Iterator[dict[str, Any]]:
        """The same with members that run already, where they have to be served."""
        with contextlib.ExitStack() as stack:
            members = [served(section, model, folder / str(number)) for number, section in enumerate(self.of)]
            yield {"use": "mixture", "of": [stack.enter_context(member) for member in members]}

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
