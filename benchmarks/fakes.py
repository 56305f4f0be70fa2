"""Plug-ins that cost nothing, so that what is left is the collector: a sandbox without commands, an environment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rft.interfaces import SandboxProvider, StartState
from rft.types import Execution, Outcome, Task


@dataclass(kw_only=True)
class NullSandboxes:
    """Every command answers at once."""

    def missing(self) -> str:
        """Nothing is."""
        return ""

    def open(self, start: StartState) -> "NullSandbox":
        """A place where nothing happens."""
        return NullSandbox()


class NullSandbox:
    """Every command answers at once."""

    def run(self, command: str, *, timeout: float | None = None) -> Execution:
        """Always the same."""
        return Execution(output="ok", exit_code=0)

    def read(self, path: str, *, limit: int = 0) -> bytes:
        """Nothing is there."""
        raise FileNotFoundError(path)

    def write(self, path: str, data: bytes) -> None:
        """Goes nowhere."""

    def diff(self) -> str:
        """Nothing changed."""
        return ""

    def close(self) -> None:
        """Nothing is held."""


@dataclass(kw_only=True)
class NullEnvironment:
    """As many tasks as are asked for, all resolved."""

    count: int = 1000
    protected: Sequence[str] = field(default=(), init=False)

    def tasks(self, split: str) -> Iterator[Task]:
        """Numbered ones."""
        return (Task(id=f"n{i}", statement="nothing", split=split, repository="") for i in range(self.count))

    def start_state(self, task: Task) -> StartState:
        """Anywhere."""
        return StartState(Path())

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        """Always resolved."""
        return Outcome(resolved=True)
