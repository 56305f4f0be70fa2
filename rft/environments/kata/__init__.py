"""Small Python packages with one slip each, to be found and mended; reads the shipped `packages/` and `tasks.jsonl`."""

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rft.environments import patches, splits
from rft.environments.grading.answer import is_new_test
from rft.environments.kata import grading, repository
from rft.errors import EnvironmentFault, RecipeError, did_you_mean
from rft.interfaces import SandboxProvider, StartState
from rft.store import Records
from rft.types import Outcome, Task

TASKS = Path(__file__).with_name("tasks.jsonl")
SPLITS = ("train", "heldout", "heldout_functions")
PROTECTED = (
    "test_*",  # whatever its ending: a folder test_x/ or a library test_x.so would be imported before test_x.py
    "check.py",
    "conftest.py",
    "sitecustomize.py",
    "usercustomize.py",
    "pytest.ini",
    "tox.ini",
    "setup.cfg",
    "pyproject.toml",
    "*.pth",
)
_LEFTOVERS = ("__pycache__", "*.pyc")
"""What Python itself leaves behind: not graded, and nobody's fault."""


@dataclass(kw_only=True)
class Kata:
    """Hundreds of small repositories with one slip each, made by seeded mutation; needs no download.

    Splits: `train`; `heldout`, other slips in the functions of `train`; `heldout_functions`, functions that are never
    in `train`.
    """

    modules: list[str] | None = None
    """Only the tasks of these modules; all when left out."""
    grading_timeout: float = 20.0
    """Seconds that the tests of one attempt may take."""
    protected: Sequence[str] = field(default=PROTECTED, init=False)

    def __post_init__(self) -> None:
        if self.grading_timeout <= 0:
            raise RecipeError(f"environment.grading_timeout: is {self.grading_timeout}; expected seconds above 0.")
        known = repository.modules()
        for module in self.modules or []:
            if module not in known:
                raise RecipeError(
                    f"environment.modules: no module is called '{module}'; expected some of {', '.join(known)}."
                    f"{did_you_mean(module, known)}"
                )

    def tasks(self, split: str) -> Iterator[Task]:
        """The tasks of a split in the order of the file. Raises RecipeError for an unknown split."""
        splits.check("kata", split, SPLITS)
        return (
            task
            for task in Records(TASKS, Task)
            if task.split == split and (self.modules is None or task.meta["module"] in self.modules)
        )

    def start_state(self, task: Task) -> StartState:
        """The task's repository in the user's cache: one commit, the same for everyone. Raises EnvironmentFault."""
        return StartState(repository.start_state(task))

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        """Run the task's tests on its start state with the patch, protected files left out.

        A patch that changes nothing else needs no sandbox: its outcome is the start state's.
        Raises EnvironmentFault or SandboxError when it cannot be measured.
        """
        started = time.monotonic()
        try:
            files = patches.split(patch)
        except ValueError as error:
            raise EnvironmentFault(f"{task.id}: the patch cannot be read: {error}; expected a git diff.") from None
        files = [file for file in files if not all(patches.matches(path, _LEFTOVERS) for path in file.paths)]
        protected = [file for file in files if any(patches.matches(path, self.protected) for path in file.paths)]
        tampered = self._paths(file for file in protected if not is_new_test(file, self.protected))
        graded = "".join(file.text for file in files if file not in protected)
        if graded:
            tests = self._tests(task, graded, sandboxes, is_whole=not protected)
        else:
            tests = dict.fromkeys(task.fail_to_pass, "failed") | dict.fromkeys(task.pass_to_pass, "passed")
        return Outcome(
            resolved=all(tests[name] == "passed" for name in [*task.fail_to_pass, *task.pass_to_pass]),
            tests=tests,
            tampered=sorted(tampered),
            new_tests=sorted(self._paths(protected) - tampered),
            files_changed=len(files),
            lines_added=sum(file.added for file in files),
            lines_removed=sum(file.removed for file in files),
            seconds=time.monotonic() - started,
        )

    def _paths(self, files: Iterable[patches.FilePatch]) -> set[str]:
        """The protected paths among those of some files."""
        return {path for file in files for path in file.paths if patches.matches(path, self.protected)}

    def _tests(self, task: Task, patch: str, sandboxes: SandboxProvider, *, is_whole: bool) -> dict[str, str]:
        """Test name to status. A patch that leans on protected changes that were left out has no tests to show."""
        word = secrets.token_hex(16)
        sandbox = sandboxes.open(self.start_state(task))
        try:
            sandbox.write(".graded.patch", patch.encode("utf-8", "surrogateescape"))
            applied = sandbox.run("git apply --whitespace=nowarn .graded.patch && rm .graded.patch")
            if applied.exit_code != 0 and not is_whole:
                return dict.fromkeys([*task.fail_to_pass, *task.pass_to_pass], "missing")
            if applied.exit_code != 0:
                raise EnvironmentFault(
                    f"{task.id}: the patch does not apply to the state it was taken from: "
                    f"{applied.output.strip()[:200] or applied.killed}. Report it."
                )
            execution = sandbox.run(grading.command(word, task.meta["module"]), timeout=self.grading_timeout)
        finally:
            sandbox.close()
        return grading.statuses(execution, word, [*task.fail_to_pass, *task.pass_to_pass], task.id)
