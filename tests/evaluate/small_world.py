"""A tiny environment for tests of stages: each task asks for a word in a file, and grading looks for it."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rft.errors import EnvironmentFault, RecipeError
from rft.interfaces import SandboxProvider, StartState
from rft.types import Outcome, Task


@dataclass(kw_only=True)
class SmallWorld:
    """Two splits of a few tasks; grading one of them may break."""

    folder: str
    tasks_in_split: int = 3
    broken: str = ""
    """A task whose grading breaks down."""
    protected: Sequence[str] = field(default=("test_*",), init=False)

    def tasks(self, split: str) -> Iterator[Task]:
        if split not in ("heldout", "unseen"):
            raise RecipeError(f"environment: no split is called '{split}'.")
        for number in range(self.tasks_in_split):
            yield Task(id=f"{split}-{number}", statement="Put 'fixed' in a.txt.", split=split, repository="one")

    def start_state(self, task: Task) -> StartState:
        state = Path(self.folder) / "state"
        if not state.exists():
            state.mkdir(parents=True)
            (state / "a.txt").write_text("broken\n")
            for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "start"]):
                identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
                subprocess.run(["git", *identity, *arguments], cwd=state, check=True, capture_output=True)
        return StartState(state)

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        if task.id == self.broken:
            raise EnvironmentFault("small world: the tests could not be run")
        return Outcome(resolved="+fixed" in patch, files_changed=patch.count("diff --git"))
