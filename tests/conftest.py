"""What several folders of tests share: a small task in a real git repository, and recipes that use shipped fakes."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rft.rundir import Stage
from rft.store import Records, digest_path
from rft.types import Completion, Message, Outcome, Step, StopReason, Task, TokenRow, Trajectory

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# How long an example takes says more of the machine than of the code.
settings.register_profile("rft", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rft")

FENCE = "```"


def bash_block(command: str, thought: str = "") -> str:
    """A reply as the agent `bash` expects it."""
    return f"{thought}\n{FENCE}bash\n{command}\n{FENCE}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A start state: one commit, two files."""
    path = tmp_path / "repository"
    path.mkdir()
    (path / "code.py").write_text("def f(x):\n    return x - 1\n")
    (path / "test_code.py").write_text("from code import f\nassert f(1) == 2\n")
    git = ["git", "-C", str(path), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *command], check=True)
    return path


def check_outputs(stage: Stage) -> None:
    """What a finished stage wrote is still what its manifest speaks of."""
    outputs = stage.require().outputs
    assert outputs and {name: digest_path(stage.run.path / name) for name in outputs} == outputs


def make_task(identity: str = "task-a", **changes: Any) -> Task:
    """A task that no environment knows."""
    fields = {"id": identity, "statement": "mend f", "split": "train", "repository": "r"}
    return Task(**(fields | changes))


def make_trajectory(identity: str, *, task: str = "task-a", **changes: Any) -> Trajectory:
    """An attempt with one command and recorded tokens."""
    fields: dict[str, Any] = {
        "id": identity,
        "task_id": task,
        "split": "train",
        "round": 1,
        "sample": 0,
        "seed": 0,
        "prompt": [Message(role="user", content="mend f")],
        "steps": [
            Step(index=1, reply=bash_block("ls"), command="ls", observation="[exit 0]\ncode.py", exit_code=0),
            Step(index=2, reply=bash_block("submit"), command="submit", observation=""),
        ],
        "stop": StopReason.SUBMITTED,
        "outcome": Outcome(resolved=True),
        "tokens": [TokenRow(ids=list(range(20)), spans=[(4, 8, 1), (12, 18, 2)])],
    }
    return Trajectory(**(fields | changes))


def write_records(path: Path, records: Sequence[Any]) -> Path:
    """A file of records of one kind."""
    with Records(path, type(records[0]) if records else Trajectory).writer() as append:
        for record in records:
            append(record)
    return path


def finish_stage(
    stage: Stage,
    files: Mapping[str, Sequence[Any]],
    counts: dict[str, int] | None = None,
    metrics: dict[str, float] | None = None,
) -> Stage:
    """A stage that is done: it has written these records, by the names of their files."""
    stage.start()
    outputs = [write_records(stage.path / name, records) for name, records in files.items()]
    stage.finish(outputs, counts=counts or {}, metrics=metrics or {})
    return stage


def completion(text: str, **changes: Any) -> Completion:
    """An answer that came to its end."""
    return Completion(**({"text": text, "finish_reason": "stop"} | changes))
