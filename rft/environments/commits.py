"""Tasks from a repository's own history: commits that changed source and tests together, verified by those tests."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rft.environments import cache, grading, patches, snapshots, splits, trying
from rft.environments.made import Made
from rft.environments.trying import Tried
from rft.errors import EnvironmentFault, RecipeError
from rft.interfaces import SandboxProvider, StartState
from rft.store import digest
from rft.types import Task

SPLITS = ("train", "heldout")
EDITION = 1
"""Raised when the same options make other tasks."""
_TRAILER = re.compile(r"^(signed-off-by|co-authored-by|reviewed-by|change-id)\b.*$", re.IGNORECASE | re.MULTILINE)


@dataclass(kw_only=True)
class Commits(Made):
    """Verified tasks from a repository's own fix-plus-test commits; made once and kept in the cache.

    A commit is a task when it changes source files and tests, and its tests fail before the source change and pass
    after it. The statement is its message. Splits: `train` and `heldout`, the newest commits.
    """

    path: str
    """A git repository; the history of `until` is looked at, newest first."""
    until: str = "HEAD"
    """The newest commit to look at."""
    since: str = ""
    """Only commits after this date, as git reads dates, such as `2023-01-01`."""
    lines: int = 40
    """The most source lines that a commit may add and remove together."""
    command: str = "python -m pytest"
    """Runs tests; the commit's test files are put behind it."""
    count: int | None = 50
    """How many tasks are made; every commit is tried when it is null."""
    heldout: float = 0.2
    """The share of the tasks, the newest, that are kept out of training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lines < 1:
            raise RecipeError(f"environment.lines: {self.lines}; expected at least 1.")
        if not 0 <= self.heldout < 1:
            raise RecipeError(f"environment.heldout: {self.heldout}; expected 0 or more and less than 1.")

    def tasks(self, split: str) -> Iterator[Task]:
        """The tasks of a split, newest first; made when they are not there. Raises RecipeError, EnvironmentFault."""
        splits.check("commits", split, SPLITS)
        every = list(self.every_task(f"tasks of {self._place.name}'s commits"))
        held = round(self.heldout * len(every))
        chosen = every[:held] if split == "heldout" else every[held:]
        return (msgspec.structs.replace(task, split=split) for task in chosen)

    def start_state(self, task: Task) -> StartState:
        """The commit before the task's, without history. Raises EnvironmentFault."""
        return self._start(task.meta["commit"])

    @functools.cached_property
    def _place(self) -> Path:
        return Path(self.path).expanduser().resolve()

    @functools.cached_property
    def _newest(self) -> str:
        return snapshots.resolve(self._place, self.until)

    def _start(self, commit: str) -> StartState:
        newest = snapshots.from_commit(self._place, self._newest)
        built = self.built(self._place.name, self._newest, newest)
        fill = snapshots.from_commit(self._place, commit)
        return StartState(snapshots.start_state([commit], fill, generated=built.generated), built.software)

    def folder(self) -> Path:
        """Where the tasks and what was tried are kept. Raises EnvironmentFault."""
        options = [self.since, self.lines, self.command, self.python, self.packages, self.extras, self.install]
        return cache.folder("commits", f"{self._place.name}-{digest([EDITION, self._newest, options])}")

    def candidates(self) -> list[trying.Candidate]:
        """Commits, newest first. Raises RecipeError, EnvironmentFault."""
        sandboxes = self.sandboxes()
        since = [f"--since={self.since}"] if self.since else []
        listed = snapshots.git(self._place, "log", "--no-merges", "--format=%H %P", *since, self._newest, "--")
        pairs = [line.split() for line in listed.splitlines()]
        return [
            (commit, functools.partial(self._try, commit, parents[0], sandboxes))
            for commit, *parents in pairs
            if len(parents) == 1
        ]

    def _try(self, commit: str, parent: str, sandboxes: SandboxProvider) -> Tried:
        """Is the commit a task? Raises SandboxError, and EnvironmentFault when git or the environment break."""
        diff = snapshots.git(self._place, "diff", "--no-ext-diff", "--no-textconv", "--no-renames", parent, commit)
        try:
            source, tests = _parts(diff, self.lines)
        except ValueError as error:
            return Tried(id=commit, why=str(error))
        test_patch = "".join(file.text for file in tests)
        gold = "".join(file.text for file in source)
        files = [path for file in tests for path in file.paths if Path(path).name.endswith(".py") and _is_run(path)]
        if not files:
            return Tried(id=commit, why="it changes no test file")
        command = f"{self.command} {' '.join(files)}"
        suite = grading.Suite(
            command=command,
            parser="pytest",
            fail_to_pass=[],
            pass_to_pass=[],
            test_patch=test_patch,
            timeout=self.grading_timeout,
        )
        start = self._start(parent)
        try:
            before, after, again = (grading.run(commit, start, patch, suite, sandboxes) for patch in ("", gold, gold))
        except EnvironmentFault as error:
            return Tried(id=commit, why=str(error))
        steady = {name for name, status in after.items() if status == again.get(name) == "passed"}
        failing = sorted(name for name in steady if before.get(name) != "passed")
        if not failing:
            return Tried(id=commit, why="its tests do not fail before it and pass after it")
        message = snapshots.git(self._place, "show", "-s", "--format=%B", commit)
        return Tried(
            id=commit,
            task=Task(
                id=f"{self._place.name}-{commit[:12]}",
                statement=_statement(message),
                split="",
                repository=self._place.name,
                fail_to_pass=failing,
                pass_to_pass=sorted(steady - set(failing)),
                gold_patch=gold,
                meta={"commit": parent, "command": command, "parser": "pytest", "test_patch": test_patch},
            ),
        )


def _parts(diff: str, most: int) -> tuple[list[patches.FilePatch], list[patches.FilePatch]]:
    """The source files and the test files of a commit. Raises ValueError when it cannot be a task."""
    files = patches.split(diff)
    tests = [file for file in files if all(patches.matches(path, grading.PROTECTED) for path in file.paths)]
    source = [file for file in files if file not in tests and any(path.endswith(".py") for path in file.paths)]
    if not source or not tests:
        raise ValueError("it does not change source and tests together")
    if sum(file.added + file.removed for file in source) > most:
        raise ValueError(f"it changes more than {most} lines of source")
    return source, tests


def _is_run(path: str) -> bool:
    name = Path(path).name
    return name.startswith("test") or name.endswith("_test.py")


def _statement(message: str) -> str:
    """A commit's message as what is asked, without its trailers."""
    text = _TRAILER.sub("", message).strip()
    return f"{text}\n\nMake this change in the source. It will be checked by tests that you do not see.\n"
