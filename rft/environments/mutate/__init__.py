"""Bugs put into a real Python package, each verified by the package's own tests; made once and kept in the cache."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rft.environments import cache, python, snapshots, splits, trying
from rft.environments.made import Made
from rft.errors import RecipeError
from rft.interfaces import StartState
from rft.store import digest, digest_path
from rft.types import Task

SPLITS = ("train", "heldout", "heldout_functions")
EDITION = 3
"""Raised when the same options make other tasks."""
SUITE = 10
"""The clean package's whole suite may take this many times as long as the tests of one mutation."""


@dataclass(kw_only=True)
class Mutate(Made):
    """Verified bug tasks from any Python package with tests: a source distribution on PyPI, or a folder of yours.

    A mutation is kept when it breaks at least one test and leaves at least one passing, twice over; flaky tests are
    left out. Making tasks takes a few seconds for each, once; a killed making carries on. Splits: `train`; `heldout`,
    other mutations of the same functions; `heldout_functions`, functions that are never in `train`.
    """

    package: str = ""
    """What pip finds on PyPI, with its version, such as `more-itertools==10.8.0`; its source distribution has tests."""
    path: str = ""
    """Instead of `package`: a git checkout, whose last commit is taken; another folder; or a .tar.gz of sources."""
    tests: str = "tests"
    """What pytest is given: files and folders of the package, and options."""
    count: int | None = 100
    """How many tasks are made; every mutation is tried when it is null."""
    seed: int = 0
    """Other seeds try other mutations first."""
    grading_timeout: float = 60.0
    """Seconds that the tests of one attempt, or of one mutation, may take."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.package) == bool(self.path):
            raise RecipeError("environment: mutate needs either `package` or `path`; expected one of the two.")

    def tasks(self, split: str) -> Iterator[Task]:
        """The tasks of a split; makes all of them when they are not there yet. Raises RecipeError, EnvironmentFault."""
        splits.check("mutate", split, SPLITS)
        return (task for task in self.every_task(f"tasks of {self._name()}") if task.split == split)

    def start_state(self, task: Task) -> StartState:
        """The package with the task's bug, as a repository of one commit. Raises EnvironmentFault."""
        return self._start(task.meta.get("bug", ""))

    def _start(self, bug: str) -> StartState:
        source, fill = self._source
        built = self.built(self._name(), source, fill)
        return StartState(snapshots.start_state(source, fill, patch=bug, generated=built.generated), built.software)

    @functools.cached_property
    def _source(self) -> tuple[str, snapshots.Fill]:
        """What identifies the clean package's files, and what writes them."""
        place = Path(self.path).expanduser()
        if self.package:
            place = python.download(self.package, setup_code=self.setup_code, within=self.build_timeout)
        elif not place.exists():
            raise RecipeError(f"environment.path: {place} is not there; expected a checkout or a .tar.gz.")
        if (place / ".git").exists():
            commit = snapshots.resolve(place, "HEAD")
            return commit, snapshots.from_commit(place, commit)
        return digest_path(place), snapshots.from_folder(place) if place.is_dir() else snapshots.from_archive(place)

    def _name(self) -> str:
        text = self.package or Path(self.path).expanduser().resolve().name.removesuffix(".tar.gz")
        return "".join(c if c.isalnum() or c in "-_" else " " for c in text).split()[0].lower()

    def folder(self) -> Path:
        """Where the tasks, what was tried, and what is known of the clean package are kept. Raises EnvironmentFault."""
        source, _ = self._source
        options = [self.python, self.packages, self.install, self.extras, self.tests, self.seed]
        return cache.folder("mutate", f"{self._name()}-{digest([EDITION, source, options])}")

    def is_fetched(self) -> bool:
        """Is the package's source here?"""
        return not self.package or python.is_downloaded(self.package)

    def candidates(self) -> list[trying.Candidate]:
        """Mutations in the order in which they are tried. Raises RecipeError, EnvironmentFault, SandboxError."""
        try:
            from rft.environments.mutate.making import Maker
        except ModuleNotFoundError:
            raise RecipeError("environment: mutate needs libcst; run `pip install 'rft[mutate]'`.") from None
        from rft.environments.mutate import baseline

        sandboxes = self.sandboxes()
        start = self._start("")
        known = baseline.measure(
            self._name(),
            start,
            self.tests,
            sandboxes,
            self.folder(),
            timeout=SUITE * self.grading_timeout,
            workers=self.workers,
        )
        maker = Maker(
            package=self._name(),
            start=start,
            baseline=known,
            sandboxes=sandboxes,
            seed=self.seed,
            timeout=self.grading_timeout,
        )
        return maker.candidates()
