"""What environments share that make their tasks themselves, from a project's own tests, and keep them in the cache."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rft import plugins
from rft.environments import facts, grading, snapshots, trying
from rft.environments.python import BUILD_TIMEOUT, Built, Needs, build, check_building
from rft.errors import RecipeError
from rft.interfaces import SandboxProvider, StartState
from rft.types import Outcome, Task


@dataclass(kw_only=True)
class Made:
    """Options of such an environment, and what follows from them. A subclass says what is tried, and from where."""

    python: str = ""
    """The Python version to run on, such as `3.12`; the one that rft runs on when empty."""
    packages: list[str] = field(default_factory=lambda: ["pytest==8.4.2"])
    """What pip installs for the tests."""
    extras: list[str] = field(default_factory=list)
    """Extras of the project to install."""
    install: bool = True
    """Install the project itself, for its dependencies; its modules come from the working tree all the same."""
    count: int | None = 100
    """How many tasks are made; everything is tried when it is null."""
    workers: int = 2
    """How many candidates are tried at once."""
    sandbox: dict[str, Any] = field(default_factory=lambda: {"use": "bubblewrap", "cpu": 3600})
    """Where tests run while tasks are made."""
    grading_timeout: float = 120.0
    """Seconds that the tests of one attempt, or of one candidate, may take."""
    build_timeout: float = BUILD_TIMEOUT
    """Seconds that building a task's Python environment may take, the first time that it is wanted on a machine."""
    setup_code: str = "confined"
    """Installing a project runs its setup code. `confined`: inside bubblewrap; `trusted`: as the user who runs rft."""
    protected: Sequence[str] = field(default=grading.PROTECTED, init=False)

    def __post_init__(self) -> None:
        check_building(self.setup_code, self.build_timeout)
        for name in ("workers", "count", "grading_timeout"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise RecipeError(f"environment.{name}: {value}; expected more than 0.")

    def folder(self) -> Path:
        """Where the tasks, what was tried, and what was found out on the way are kept. Raises EnvironmentFault."""
        raise NotImplementedError

    def candidates(self) -> Sequence[trying.Candidate]:
        """What is tried, in this order. Raises RecipeError, EnvironmentFault, SandboxError."""
        raise NotImplementedError

    def is_fetched(self) -> bool:
        """Is all there that `folder` needs, so that it fetches nothing and runs nothing?"""
        return True

    def owed(self) -> str:
        """What is still to be made before there are tasks, in words; empty when they are there. Makes nothing."""
        wanted = f"{self.count} tasks" if self.count else "all tasks"
        if not self.is_fetched():
            return f"{wanted} are still to be made; nothing of them is in the cache"
        folder = self.folder()
        if trying.is_done(folder, self.count):
            return ""
        good, tried = trying.so_far(folder)
        return f"{wanted} are still to be made; in the cache are {good} good ones of {tried} tried"

    def every_task(self, title: str) -> Iterator[Task]:
        """The tasks of all splits; made when they are not there yet. Raises EnvironmentFault, and what `candidates`
        raises."""
        return trying.tasks(self.folder(), self.candidates, self.count, workers=self.workers, title=title)

    def sandboxes(self) -> SandboxProvider:
        """Where candidates are tried. Raises RecipeError."""
        provider: SandboxProvider = plugins.build("sandbox", self.sandbox, "environment.sandbox")
        return provider

    def built(self, name: str, source: str, fill: snapshots.Fill) -> Built:
        """The Python environment of the project that `fill` writes and `source` identifies. Raises EnvironmentFault."""
        needs = Needs(
            python=self.python, packages=tuple(self.packages), installed=self.install, extras=tuple(self.extras)
        )
        return build(name, needs, source, fill, setup_code=self.setup_code, within=self.build_timeout)

    def start_state(self, task: Task) -> StartState:
        """What an attempt at the task starts from, a repository of one commit. Raises EnvironmentFault."""
        raise NotImplementedError

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        """Apply a patch in a fresh sandbox and run the task's tests. Raises EnvironmentFault or SandboxError."""
        suite = facts.suite(task, timeout=self.grading_timeout, protected=self.protected)
        return grading.grade(task.id, self.start_state(task), patch, suite, sandboxes)
