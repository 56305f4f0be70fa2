"""One attempt from start to end: boot a sandbox, let the agent work, take the patch, grade it, close everything."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rft.errors import EnvironmentFault, InferenceError, RftError, SandboxError
from rft.interfaces import Agent, Doing, Environment, Inference, SandboxProvider
from rft.plugins import build
from rft.recipe import Recipe
from rft.types import Failure, Outcome, Record, StopReason, Task, Trajectory


class Owed(Record, frozen=True, kw_only=True):
    """An attempt that has to be made."""

    task: Task
    round: int
    sample: int
    seed: int

    @property
    def id(self) -> str:
        """The trajectory's id."""
        return f"{self.task.id}/{self.round:02d}/{self.sample:02d}"


@dataclass(kw_only=True)
class Plan:
    """What a worker process needs to build its plug-ins; picklable."""

    recipe: Recipe
    model: str
    """The round's policy."""
    inference: dict[str, Any]
    """The `use:` section of the engine that answers."""
    who: str
    """Who answers, as the records call it: the round's policy, or a teacher in its place."""

    def make_worker(self) -> "Worker":
        """The worker, in the process where this is called."""
        return Worker(self)


class Worker:
    """Makes attempts; one in each process, called by many threads."""

    def __init__(self, plan: Plan) -> None:
        recipe = plan.recipe
        self.who = plan.who
        self.environment: Environment = build("environment", recipe.environment, "environment")
        self.sandboxes: SandboxProvider = build("sandbox", recipe.sandbox, "sandbox")
        if problem := self.sandboxes.missing():  # on this node, which would break attempt after attempt
            raise SandboxError(f"sandbox: {problem}.")
        self.agent: Agent = build("agent", recipe.agent, "agent")
        self.inference: Inference = build("inference", plan.inference, "policy.inference")
        self.inference.load(plan.model, recipe.policy.sampling)
        self.clocks: dict[str, _Clock] = {}
        """Attempt id to the clock of an attempt that is being made."""

    def __call__(self, owed: Owed) -> Trajectory:
        """The attempt as a record, whatever happened to it."""
        attempt = _Facts()
        began = time.monotonic()
        try:
            with _blamed_on(attempt, "agent"):
                self._attempt(owed, attempt)
        except _Recorded:
            pass
        finally:
            self.clocks.pop(owed.id, None)
        return _record(
            owed,
            policy=self.who,
            protected=list(self.environment.protected),
            seconds=round(time.monotonic() - began, 4),
            **attempt.fields(),
        )

    def doing(self) -> list[Doing]:
        """Which attempts are in which phase since when."""
        now = time.monotonic()
        return [
            Doing(name=name, phase=clock.now, seconds=now - clock.since) for name, clock in list(self.clocks.items())
        ]

    def close(self) -> None:
        """Give back what the engine holds."""
        self.inference.close()

    def _attempt(self, owed: Owed, facts: "_Facts") -> None:
        task = owed.task
        clock = self.clocks[owed.id] = _Clock(facts.phases)
        with _blamed_on(facts, "environment"), clock.phase("prepare"):
            start = self.environment.start_state(task)
        with _blamed_on(facts, "sandbox"), clock.phase("boot"):
            sandbox = self.sandboxes.open(start)
        with contextlib.closing(sandbox):
            with _blamed_on(facts, "inference"):
                conversation = self.inference.open(task, seed=owed.seed)
            with contextlib.closing(conversation):
                clock.enter("attempt")
                attempt = self.agent.attempt(task, sandbox, conversation)
            facts.take(attempt)
            if facts.failure is not None:
                return
            with _blamed_on(facts, "sandbox"), clock.phase("diff"):
                facts.patch = sandbox.diff()
        with _blamed_on(facts, "grading"), clock.phase("grading"):
            facts.outcome = self.environment.grade(task, facts.patch, self.sandboxes)


def lost(owed: Owed, why: str) -> Trajectory:
    """The record of an attempt whose worker died every time."""
    return _record(
        owed,
        prompt=[],
        stop=StopReason.ERROR,
        failure=Failure(where="worker", message=why),
    )


def _record(owed: Owed, **facts: Any) -> Trajectory:
    return Trajectory(
        id=owed.id,
        task_id=owed.task.id,
        split=owed.task.split,
        round=owed.round,
        sample=owed.sample,
        seed=owed.seed,
        **facts,
    )


class _Recorded(Exception):
    """A failure that stands on the record already."""


class _Facts:
    """What is known of an attempt so far."""

    def __init__(self) -> None:
        self.attempt: Any = None
        self.patch = ""
        self.outcome: Outcome | None = None
        self.failure: Failure | None = None
        self.phases: dict[str, float] = {}

    def take(self, attempt: Any) -> None:
        """The agent's own part."""
        self.attempt = attempt
        self.failure = attempt.failure
        self.phases["model"] = round(attempt.model_seconds, 4)
        self.phases["commands"] = round(attempt.command_seconds, 4)

    def fields(self) -> dict[str, Any]:
        """The fields of the record."""
        attempt = self.attempt
        return {
            "prompt": attempt.prompt if attempt else [],
            "tools": attempt.tools if attempt else [],
            "steps": attempt.steps if attempt else [],
            "stop": attempt.stop if attempt and self.failure is None else StopReason.ERROR,
            "tokens": attempt.tokens if attempt else [],
            "prefix_breaks": attempt.prefix_breaks if attempt else 0,
            "extra": attempt.extra if attempt else {},
            "patch": self.patch,
            "outcome": self.outcome,
            "failure": self.failure,
            "phases": self.phases,
        }


@contextlib.contextmanager
def _blamed_on(facts: _Facts, where: str) -> Iterator[None]:
    """Whatever escapes is recorded as a failure of `where`; a bad attempt never ends its neighbours."""
    try:
        yield
    except _Recorded:
        raise
    except (SandboxError, InferenceError, EnvironmentFault) as error:
        kind = {SandboxError: "sandbox", InferenceError: "inference"}.get(type(error), where)
        facts.failure = Failure(where=kind, message=str(error)[:2000])
        raise _Recorded from None
    except Exception as error:  # plug-ins may raise anything
        text = str(error) if isinstance(error, RftError) else f"{type(error).__name__}: {error}"
        facts.failure = Failure(where=where, message=text[:2000])
        raise _Recorded from None


class _Clock:
    """Seconds of each phase."""

    def __init__(self, phases: dict[str, float]) -> None:
        self._phases = phases
        self.enter("begin")

    def enter(self, phase: str) -> None:
        """Begin a phase, for whoever asks what an attempt is at."""
        self.now, self.since = phase, time.monotonic()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.enter(name)
        began = self.since
        try:
            yield
        finally:
            self._phases[name] = round(time.monotonic() - began, 4)
