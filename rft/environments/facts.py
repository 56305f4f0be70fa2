"""What the environments over real repositories keep among a task's facts, and how such a task is graded."""

from collections.abc import Sequence

from rft.environments import grading
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
            timeout=timeout,
        )
    except KeyError as error:
        raise EnvironmentFault(f"{task.id}: has no {error} among its facts. Make the tasks again.") from None
