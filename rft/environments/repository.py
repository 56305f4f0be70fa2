"""A user's own repositories as tasks: a commit, a statement, and tests or a command that tells success."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rft.environments import facts, grading, python, snapshots, splits, task_folder
from rft.errors import RecipeError, did_you_mean
from rft.interfaces import SandboxProvider, StartState
from rft.types import Outcome, Task

CHECK = "exit_code"
"""The one test of a task that has a check command: does it end with 0?"""


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """The keys of a task's `task.yaml`."""

    repository: str
    """A git repository, relative to the task's directory. Only the commit's files go into the sandbox, no history."""
    commit: str
    """The commit that an attempt starts from."""
    split: str = "train"
    """Which of the recipe's splits the task is in."""
    command: str = ""
    """Runs the tests, such as `python -m pytest tests/test_x.py`; tests.json says which must pass."""
    parser: str = "pytest"
    """How the command's results are read: pytest, unittest, django, sympy, junit or tap."""
    check: str = ""
    """Instead of `command`: a command that ends with 0 when the task is solved, and not before."""
    python: str = ""
    """The Python version that the project wants; the one that rft runs on when left out."""
    packages: list[str] = field(default_factory=list)
    """What pip installs for the tests, such as `pytest==8.4.0`."""
    install: str = "yes"
    """`yes`: the project itself is installed, for its dependencies and commands; `no`: its files are enough."""
    extras: list[str] = field(default_factory=list)
    """Extras of the project that are installed with it."""
    version: str = ""
    """The version that a project is given which reads it from its git history."""
    image: str = ""
    """The container image in which the task runs, where the sandbox runs containers."""


@dataclass(kw_only=True)
class Repository:
    """Tasks in git repositories of your own, in a folder with one directory for each task.

    A task's directory holds `task.yaml`, `problem_statement.md`, `tests.json`, and, where you have them, `gold.patch`
    and `test.patch` (tests that the agent does not see). `rft/environments/README.md` shows one.
    """

    path: str
    """The folder of tasks, or one task's directory."""
    grading_timeout: float = 300.0
    """Seconds that the tests of one attempt may take."""
    build_timeout: float = python.BUILD_TIMEOUT
    """Seconds that building a task's Python environment may take, the first time that it is wanted on a machine."""
    setup_code: str = "confined"
    """Installing a project runs its setup code. `confined`: inside bubblewrap; `trusted`: as the user who runs rft."""
    protected: Sequence[str] = field(default=grading.PROTECTED, init=False)

    def __post_init__(self) -> None:
        python.check_building(self.setup_code, self.build_timeout)
        if self.grading_timeout <= 0:
            raise RecipeError(f"environment.grading_timeout: is {self.grading_timeout}; expected seconds above 0.")

    def tasks(self, split: str) -> Iterator[Task]:
        """The tasks of a split by the name of their directories. Raises RecipeError."""
        every = [self._task(directory) for directory in task_folder.directories(Path(self.path).expanduser())]
        known = sorted({task.split for task in every})
        splits.check(self.path, split, known)
        return (task for task in every if task.split == split)

    def start_state(self, task: Task) -> StartState:
        """The task's commit as a repository of one commit, with its Python environment. Raises EnvironmentFault."""
        read = TaskFile(**task.meta["task"])
        place = Path(task.meta["directory"], Path(read.repository).expanduser()).resolve()
        commit = snapshots.resolve(place, read.commit)
        fill = snapshots.from_commit(place, commit)
        needs = python.Needs(
            python=read.python,
            packages=tuple(read.packages),
            installed=read.install == "yes",
            extras=tuple(read.extras),
            version=read.version,
        )
        built = python.build(
            task.id, needs, [str(place), commit], fill, setup_code=self.setup_code, within=self.build_timeout
        )
        path = snapshots.start_state([str(place), commit], fill, generated=built.generated)
        return StartState(path, built.software, read.image)

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        """Apply a patch in a fresh sandbox and run the task's tests. Raises EnvironmentFault or SandboxError."""
        suite = facts.suite(task, timeout=self.grading_timeout, protected=self.protected)
        return grading.grade(task.id, self.start_state(task), patch, suite, sandboxes)

    def _task(self, directory: Path) -> Task:
        row = task_folder.row(directory)
        tests = {name: row.pop(name, []) for name in ("FAIL_TO_PASS", "PASS_TO_PASS")}
        texts = {name: row.pop(name) for name in task_folder.FILES}
        identity = row.pop("instance_id")
        read = _task_file(directory / task_folder.TASK_FILE, row)
        if read.check and any(tests.values()):
            raise RecipeError(f"{directory}: has tests.json and `check`; expected one of them. Remove the other.")
        if read.check:
            tests["FAIL_TO_PASS"] = [CHECK]
        if not texts["problem_statement"].strip():
            raise RecipeError(f"{directory}: has no problem_statement.md; expected what the agent is asked to do.")
        if not tests["FAIL_TO_PASS"]:
            raise RecipeError(f"{directory}: names no test that must come to pass; expected tests.json or `check`.")
        return Task(
            id=identity,
            statement=texts["problem_statement"],
            split=read.split,
            repository=read.repository,
            fail_to_pass=tests["FAIL_TO_PASS"],
            pass_to_pass=tests["PASS_TO_PASS"],
            gold_patch=texts["patch"],
            meta={
                "directory": str(directory.resolve()),
                "task": dataclasses.asdict(read),
                "image": read.image,
                "command": read.check or read.command,
                "parser": CHECK if read.check else read.parser,
                "test_patch": texts["test_patch"],
            },
        )


def _task_file(path: Path, given: dict[str, Any]) -> TaskFile:
    """The keys of a `task.yaml`, checked. Raises RecipeError that names the key."""
    fields = {item.name: item for item in dataclasses.fields(TaskFile)}
    for key, value in given.items():
        if key not in fields:
            hint = did_you_mean(key, fields)
            raise RecipeError(f"{path}: {key}: unknown key; expected one of {', '.join(fields)}.{hint}")
        wanted = list if key in ("packages", "extras") else str
        if not isinstance(value, wanted):
            raise RecipeError(f"{path}: {key}: expected {'a list' if wanted is list else 'a single value'}.")
    for key in ("repository", "commit"):
        if not given.get(key):
            raise RecipeError(f"{path}: '{key}' is missing; every task needs it. Add it.")
    read = TaskFile(**given)
    if bool(read.command) == bool(read.check):
        raise RecipeError(
            f"{path}: expected either `command`, which runs tests, or `check`, which tells by its exit code."
        )
    if read.install not in ("yes", "no"):
        raise RecipeError(f"{path}: install: is '{read.install}'; expected yes or no.")
    return read
