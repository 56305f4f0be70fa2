"""What the environments over real repositories keep among a task's facts, and how such a task is graded."""

from collections.abc import Sequence

from rft.environments import grading, patches
from rft.errors import EnvironmentFault
from rft.types import Task


def suite(task: Task, *, timeout: float, protected: Sequence[str]) -> grading.Suite:
    """How the task's tests are run: its facts `command`, `parser` and `test_patch`. Raises EnvironmentFault."""
    try:
        return grading.Suite(
            command=task.meta["command"],
            parser=task.meta["parser"],
            fail_to_pass=task.fail_to_pass,
            pass_to_pass=task.pass_to_pass,
            test_patch=task.meta.get("test_patch", ""),
            protected=protected,
            source=source(task.gold_patch),
            timeout=timeout,
        )
    except KeyError as error:
        raise EnvironmentFault(f"{task.id}: has no {error} among its facts. Make the tasks again.") from None


def source(gold_patch: str) -> list[str]:
    """The files that a fix changes: they are no tests, whatever they are called. None where it cannot be read."""
    try:
        return [path for file in patches.read(gold_patch) for path in file.paths] if gold_patch else []
    except ValueError:
        return []
