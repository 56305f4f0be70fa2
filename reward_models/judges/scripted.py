"""A judge that replays what it is given."""

import threading
from dataclasses import dataclass, field
from typing import Any

from reward_models.chat import Reply
from reward_models.errors import RubricError
from reward_models.judges.base import Request
from reward_models.judges.generative import Generative


@dataclass(kw_only=True)
class Scripted(Generative):
    """Replays replies in the order of asking, from the start again after the last. For tests, docs and dry runs."""

    replies: list[str]
    """What is answered, one text for each asking."""
    _asked: int = field(default=0, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.replies:
            raise RubricError("replies is empty; expected at least one text")

    def ask(self, request: Request) -> Reply:
        """The next reply."""
        with self._lock:
            number = self._asked
            self._asked += 1
        return Reply(text=self.replies[number % len(self.replies)])

    def identity(self) -> list[str]:
        """The replies."""
        return self.replies

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in super().__getstate__().items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "_lock": threading.Lock()}
