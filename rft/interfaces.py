"""What a plug-in must offer. Each protocol is met by shape; nothing is inherited and nothing registered."""

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, runtime_checkable

from rft.types import Completion, Execution, Failure, Message, Outcome, Step, StopReason, Task, TokenRow, Tool

Item = TypeVar("Item")
Result = TypeVar("Result")


class Image(Protocol):
    """A container image that is on this machine."""

    @property
    def identity(self) -> str:
        """The digest of its content."""

    def copy(self, folder: str, place: Path) -> None:
        """Put the files of one of its folders into an empty directory. Raises SandboxError."""


@dataclass(frozen=True)
class StartState:
    """What a sandbox holds when it opens."""

    path: Path | None
    """A read-only directory, a git repository with one commit; the sandbox works on a throw-away copy of it. None
    where `image` alone has the files."""
    software: tuple[Path, ...] = ()
    """Directories shown read-only at their own paths, such as a virtual environment and its interpreter; `bin/` of
    the first leads PATH."""
    image: str = ""
    """The container image that the task asks for, where containers run; other sandboxes do without."""
    unpack: Callable[[Image], Path] | None = None
    """Makes, once, what `path` would be from the files of `image`. Raises EnvironmentFault or SandboxError."""
    programs: tuple[str, ...] = ()
    """Folders of `image` that lead PATH; one that is not there does no harm."""
    covered: tuple[str, ...] = ()
    """Folders of `image` that are shown empty, such as those that hold the task's tests."""


class Sandbox(Protocol):
    """An open, isolated place that holds one copy of a task's start state as its working directory."""

    def run(
        self,
        command: str,
        *,
        timeout: float | None = None,
        output: int | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Execution:
        """Run `command` in a fresh bash in the working directory, at most `timeout` seconds; keep `output` bytes.

        `variables` stand in its environment beside the sandbox's own.

        Returns whatever happened to the command, its time limit and output cap included.
        Raises SandboxError only when the sandbox itself broke.
        """

    def read(self, path: str, *, limit: int = 1 << 20) -> bytes:
        """At most `limit` bytes of a file, `path` relative to the working directory. FileNotFoundError if absent."""

    def write(self, path: str, data: bytes) -> None:
        """Put a file, `path` relative to the working directory; makes missing folders."""

    def door(self) -> socket.socket:
        """A listening socket at a port of 127.0.0.1 as the sandbox's commands see it, for whoever is to answer them.

        They may connect to it from then on, and to nothing else. Raises SandboxError where there is no such thing.
        """

    def diff(self) -> str:
        """Unified git diff of the working directory against the start state, new files included.

        It never trusts the repository metadata that the agent could have changed, and it first ends every
        process that the agent left running.
        """

    def close(self) -> None:
        """End every process and drop every byte. Safe to call twice."""


class SandboxProvider(Protocol):
    """Opens sandboxes. The plug-in behind `sandbox: {use: …}`."""

    def missing(self) -> str:
        """What keeps this kind of sandbox from working here and how to get it, one line; empty when it works."""

    def open(self, start: StartState) -> Sandbox:
        """A sandbox on a throw-away copy of `start.path`, which is never changed. Raises SandboxError."""


@runtime_checkable
class RunsImages(SandboxProvider, Protocol):
    """A sandbox provider that runs container images. A task's is the fact `image` among its `meta`, if it has one."""

    def plan(self, images: Sequence[str]) -> str:
        """Which of these images are here, which are to come, and the room for them; one line, or nothing."""

    def fetch(self, images: Sequence[str]) -> None:
        """Have these images on this machine before they are wanted. Raises SandboxError when there is no room."""


class Environment(Protocol):
    """Where tasks come from and what success means. The plug-in behind `environment: {use: …}`."""

    protected: Sequence[str]
    """Path patterns (fnmatch, relative) that belong to the grader: tests and their configuration."""

    def tasks(self, split: str) -> Iterator[Task]:
        """The tasks of a split, always in the same order. Raises RecipeError for an unknown split."""

    def start_state(self, task: Task) -> StartState:
        """The task's start state, made once and kept. Raises EnvironmentFault."""

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        """Measure a patch in a fresh sandbox: protected hunks are left out, then the task's tests are run.

        Raises EnvironmentFault or SandboxError when it cannot be measured; that is never an unresolved task.
        """


@runtime_checkable
class TaskMaker(Protocol):
    """What an environment offers besides when its tasks have to be made first, which takes long."""

    def owed(self) -> str:
        """What `tasks` would have to make, in words; empty when the tasks are there. Makes nothing, fetches nothing.

        Raises RecipeError.
        """


class Conversation(Protocol):
    """One trajectory's line to a model. Used by one thread."""

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        """Answer the whole conversation so far, with calls of `tools` where some are offered; `deadline` is a
        `time.monotonic()` value.

        Raises InferenceError; raises ContextFull when the conversation no longer fits.
        """

    def close(self) -> None:
        """Free what the engine kept for this trajectory. Safe to call twice."""


class Inference(Protocol):
    """Asks a model. The plug-in behind `policy.inference: {use: …}`; many threads use one."""

    def load(self, model: str, sampling: Any) -> None:
        """Make ready to answer for `model` under a `rft.recipe.Sampling`. Called once, in the process that asks."""

    def open(self, task: Task, *, seed: int) -> Conversation:
        """A conversation about `task` whose sampling follows from `seed` alone."""

    def close(self) -> None:
        """Free everything. Safe to call twice."""


class Serving(Protocol):
    """A plug-in behind `policy.inference: {use: …}` whose model needs servers, which the stage that asks it starts."""

    def serve(self, model: str, folder: Path) -> contextlib.AbstractContextManager[dict[str, Any]]:
        """The section of an Inference that asks the servers, which run while the block lasts; logs go to `folder`.

        Called once, in the process that drives the stage. Raises StageError when they do not come up.
        """


class Attempt(Protocol):
    """What an agent leaves behind: the steps so far, whatever happened. Agents return `rft.agents.attempt.Attempt`."""

    prompt: list[Message]
    tools: list[Tool]
    steps: list[Step]
    stop: StopReason
    failure: Failure | None
    tokens: list[TokenRow]
    prefix_breaks: int
    extra: dict[str, Any]


class Agent(Protocol):
    """The loop between a policy and a sandbox. The plug-in behind `agent: {use: …}`."""

    def attempt(self, task: Task, sandbox: Sandbox, conversation: Conversation) -> Attempt:
        """Work on the task until a stop reason is met. Failures of model and sandbox are recorded, not raised."""


@dataclass(frozen=True, kw_only=True)
class Doing:
    """What a worker is at with one of its items."""

    name: str
    """The item: an attempt's id."""
    phase: str
    seconds: float
    """How long it has been in that phase."""


class Pool(Protocol):
    """How many things run at once. The plug-in behind `collect.pool: {use: …}`.

    One that spans machines may have `connected()`, a context in which this process is part of the cluster: what the
    stage serves is started within it.
    """

    def run(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        lost: Callable[[Item, str], Result],
    ) -> Iterator[Result]:
        """Yield one result an item, in the order they finish.

        `make_worker` is picklable and is called once in each worker process; the worker it returns is called by
        many threads, asked what it is at if it has `doing() -> list[Doing]`, and closed at the end if it has a
        `close`. `lost(item, why)` makes the result of an item whose worker died every time it was tried.
        """


@runtime_checkable
class Rule(Protocol):
    """One line of `select.rules`. Sees a task's whole group of those still in."""

    def __call__(self, group: Sequence[Any]) -> dict[str, str]:
        """Trajectory id to the reason for dropping it; what is not named stays in."""
