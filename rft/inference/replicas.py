"""Asks several servers of one model: an attempt keeps to one of them, and goes on at another when that one is gone.

Reads the address book that `fleet` writes. An attempt's prefix stays in the cache of the server that read it.
"""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from rft.errors import InferenceError, Unanswered
from rft.inference.endpoint import Endpoint, EndpointConversation
from rft.inference.fleet import Book
from rft.types import Completion, Message, Task, Tool

PAUSE = 0.5
"""Seconds between two looks for a replica while there is none."""
SHUNNED = 10.0
"""Seconds for which a server that did not answer is left alone by this process."""
ASKED = 3
"""How many servers may fail at one call with an error of their own before it is taken for the call's doing."""


@dataclass
class Line:
    """One server, as this process knows it."""

    endpoint: Endpoint
    attempts: int = 0
    """How many have chosen it and are not over."""
    shunned: float = 0.0
    """When it may be chosen again, a `time.monotonic()` value."""


@dataclass(kw_only=True)
class Replicas:
    """What a stage that serves the policy gives to those who ask it; recipes name the server, such as `vllm`."""

    book: str
    """The address book's file."""
    patience: float
    """Seconds that a call waits for a replica while none answers."""
    endpoint: dict[str, Any] = field(default_factory=dict)
    """Options of `endpoint`, without its URL."""
    lines: dict[str, Line] = field(init=False, default_factory=dict, repr=False)
    lock: Any = field(init=False, repr=False)
    read: tuple[Any, Book | None] = field(init=False, default=(None, None), repr=False)

    def load(self, model: str, sampling: Any) -> None:
        """Read the book. Raises InferenceError when there is none."""
        self.lock = threading.Lock()
        self.asked = model, sampling
        self.current()

    def open(self, task: Task, *, seed: int) -> "RoutedConversation":
        """A conversation with the replica that has the fewest."""
        return RoutedConversation(self, seed)

    def close(self) -> None:
        """Close the connections."""
        for line in self.lines.values():
            line.endpoint.close()

    def current(self) -> Book:
        """The book as it is now."""
        path = Path(self.book)
        try:
            stamp = (path.stat().st_mtime_ns, path.stat().st_ino)
            if self.read[0] != stamp:
                self.read = stamp, msgspec.json.decode(path.read_bytes(), type=Book)
        except (OSError, msgspec.DecodeError) as error:
            raise InferenceError(
                f"{path}: cannot be read ({error}); expected the replicas' addresses. "
                "Keep `runs` in a folder that every node sees."
            ) from None
        assert self.read[1] is not None
        return self.read[1]

    def take(self) -> Line | None:
        """The replica with the fewest attempts, one more from now on; None while none answers.

        Raises InferenceError when none ever will.
        """
        with self.lock:
            book = self.current()
            if book.gone:
                raise InferenceError(book.gone)
            now = time.monotonic()
            lines = [line for line in (self._line(url, book.key) for url in book.urls) if line.shunned <= now]
            if not lines:
                return None
            # Every process begins with a replica of its own choice, not all with the first.
            line = min(lines, key=lambda one: (one.attempts, random.random()))
            line.attempts += 1
            return line

    def leave(self, line: Line, *, shun: bool = False) -> None:
        """An attempt is over, or goes elsewhere because the replica did not answer."""
        with self.lock:
            line.attempts -= 1
            if shun:
                line.shunned = time.monotonic() + SHUNNED

    def answers(self, line: Line) -> bool:
        """Whether the book still lists a replica."""
        with self.lock:
            return line.endpoint.url in self.current().urls

    def _line(self, url: str, key: str) -> Line:
        if url not in self.lines:
            endpoint = Endpoint(url=url, **self.endpoint)
            endpoint.connect(*self.asked, key=key, direct=True)
            self.lines[url] = Line(endpoint)
        return self.lines[url]


class RoutedConversation:
    """One trajectory's requests, all to one replica while that one lives."""

    def __init__(self, replicas: Replicas, seed: int) -> None:
        self.replicas = replicas
        self.seed = seed
        self.line: Line | None = None
        self.conversation: EndpointConversation | None = None

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        """The answer of its replica, or of another when that one is gone; only the call in flight is asked again.

        Raises ContextFull, and InferenceError when none answers before the deadline or within the patience.
        """
        until = min(deadline, time.monotonic() + self.replicas.patience)
        problem, failed = "no replica has been up", 0
        while True:
            conversation = self._connected()
            if conversation is not None:
                try:
                    return conversation.reply(messages, deadline=deadline, tools=tools)
                except Unanswered as error:
                    problem, failed = str(error), failed + error.failed
                    # one that answers, or had no time to, is as good for others as before
                    self._leave(shun=not error.failed and time.monotonic() < deadline)
            if failed == ASKED:
                raise InferenceError(f"policy.inference: asked {ASKED} times, replicas fail at it: {problem}")
            if time.monotonic() + PAUSE >= until:
                raise InferenceError(f"policy.inference: no replica answers: {problem}")
            if conversation is None:
                time.sleep(PAUSE)

    def close(self) -> None:
        """Free its place."""
        self._leave()

    def _connected(self) -> EndpointConversation | None:
        """The conversation, with a replica that answers; None while there is none."""
        if self.line is not None and not self.replicas.answers(self.line):
            self._leave()
        if self.line is None:
            self.line = self.replicas.take()
            if self.line is None:
                return None
            if self.conversation is None:
                self.conversation = EndpointConversation(self.line.endpoint, self.seed)
            self.conversation.endpoint = self.line.endpoint  # its turns, and so its seeds, go on
        return self.conversation

    def _leave(self, *, shun: bool = False) -> None:
        if self.line is not None:
            self.replicas.leave(self.line, shun=shun)
            self.line = None
