"""`rft check --deep`: tasks that hold, and each way in which one does not."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest

from rft import cli
from rft.environments import patches
from rft.environments.kata import Kata
from rft.interfaces import SandboxProvider
from rft.sandboxes.local import Local
from rft.types import Outcome, Task
from rft.verify import reason


@dataclass(kw_only=True)
class Spoilt(Kata):
    """Tasks of kata, of which the second has no gold answer and the third has another's."""

    def tasks(self, split: str) -> Iterator[Task]:
        one, two, three = list(Kata(modules=["money"]).tasks(split))[:3]
        text = (self.start_state(three).path / "README.md").read_text()
        yield one
        yield msgspec.structs.replace(two, gold_patch="")
        yield msgspec.structs.replace(three, gold_patch=patches.make("README.md", text, f"{text}\n"))


def deep(*overrides: str) -> int:
    return cli.main(["check", "quickstart", "evaluate.splits=[]", "sandbox={use: local}", *overrides, "--deep"])


@pytest.mark.process
def test_tasks_that_hold_are_counted_and_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert deep("collect.tasks=2") == 0
    said = capsys.readouterr()
    assert "2/2" in said.err and "gold patch" not in said.out


@pytest.mark.process
def test_tasks_that_do_not_hold_are_named_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert deep("environment={use: 'tests.test_verify:Spoilt'}") == 1
    said = capsys.readouterr()
    assert said.out.count(": it has no gold patch") == 1
    assert said.out.count(": its gold patch does not resolve it: ") == 1
    assert "2 of 3 tasks do not hold" in said.err


class Easy(Kata):
    """Tasks of kata that are solved whatever is done."""

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        return Outcome(resolved=True)


def test_a_task_that_everything_resolves_and_one_that_is_lost() -> None:
    task = next(iter(Kata(modules=["money"]).tasks("train")))
    assert reason(Easy(), task, Local()) == "doing nothing resolves it"
    lost = msgspec.structs.replace(task, meta={"module": "gone"})
    assert "no package is called 'gone'" in reason(Kata(), lost, Local())
