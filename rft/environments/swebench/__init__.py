"""Tasks of the SWE-bench family: SWE-bench, SWE-Gym, SWE-smith, SWE-rebench and R2E-Gym.

They are built from git mirrors, or are taken as they are in their container images.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import msgspec

from rft.environments import facts, grading, python, snapshots, splits
from rft.environments.swebench import in_image, rows
from rft.errors import EnvironmentFault, RecipeError
from rft.interfaces import SandboxProvider, StartState
from rft.types import Outcome, Task

log = logging.getLogger(__name__)
SPLITS = ("all", "train", "heldout")
_EXTRAS = re.compile(r"\.\[([\w, -]+)\]")


@dataclass(kw_only=True)
class SweBench:
    """Rows of the SWE-bench family, each built from a git mirror with a Python environment of its version, or each in
    its own container image.

    Splits: `all`; `train` and `heldout`, which share the rows between them.
    """

    path: str
    """A .json, .jsonl or .parquet file, a folder of them or of task directories, or a name on the Hugging Face hub."""
    repositories: str = ""
    """A folder of git mirrors, called `owner__name`, `owner+name` or `owner/name`. A sandbox that runs containers runs
    the same files and the same Python environment in the row's image. Left out, a task is the checkout and the Python
    environment of its image, which takes a sandbox that runs containers."""
    image: str = ""
    """The image of rows that name none, such as `swebench/sweb.eval.x86_64.{hub_id}:latest`. `{id}` is the row's id in
    lower case, `{hub_id}` the same with `_1776_` for `__`, as SWE-bench's images are called."""
    hub_split: str = "test"
    """Which split of a data set on the hub is read."""
    instances: list[str] | None = None
    """Only these instances; all when left out."""
    specs: list[str] = field(default_factory=list)
    """JSON files of environments by repository and version, as SWE-bench has them: `{repo: {version: {python,
    pip_packages, install, test_cmd, …}}}`. What a later file says of a version replaces what an earlier one says.
    Their `pre_install` commands are run but for those that call apt-get, and requirements files are not read."""
    packages: list[str] = field(default_factory=lambda: ["pytest<8"])
    """What pip installs besides what the specs say."""
    heldout: float = 0.1
    """The share of the rows in the split `heldout`."""
    grading_timeout: float = 900.0
    """Seconds that the tests of one attempt may take."""
    build_timeout: float = python.BUILD_TIMEOUT
    """Seconds that building a task's Python environment may take, the first time that it is wanted on a machine."""
    setup_code: str = "confined"
    """Installing a project runs its setup code. `confined`: inside bubblewrap; `trusted`: as the user who runs rft."""
    protected: Sequence[str] = field(default=grading.PROTECTED, init=False)

    def __post_init__(self) -> None:
        python.check_building(self.setup_code, self.build_timeout)
        if not 0 <= self.heldout < 1:
            raise RecipeError(f"environment.heldout: {self.heldout}; expected 0 or more and less than 1.")
        if self.grading_timeout <= 0:
            raise RecipeError(f"environment.grading_timeout: {self.grading_timeout}; expected more than 0 seconds.")

    def tasks(self, split: str) -> Iterator[Task]:
        """The tasks of a split in the order of the rows. Raises RecipeError."""
        splits.check("swebench", split, SPLITS)
        wanted = set(self.instances or [])
        for row in rows.read(self.path, self.hub_split):
            if self.instances is not None and row.get("instance_id") not in wanted:
                continue
            task = rows.task(row)
            task = msgspec.structs.replace(task, meta=task.meta | {"image": in_image.name(task, self.image)})
            wanted.discard(task.id)
            if dropped := task.meta.get("dropped"):
                _tell_dropped(task.id, ", ".join(dropped))
            if split in ("all", self._split(task.id)):
                yield msgspec.structs.replace(task, split=split)
        if wanted:
            raise RecipeError(f"environment.instances: {self.path} has no '{min(wanted)}'; expected ids of its rows.")

    def start_state(self, task: Task) -> StartState:
        """The task's commit without history, a bug applied where the task has one. Raises EnvironmentFault."""
        return self._start_state(task, with_tests=False)

    def grade(self, task: Task, patch: str, sandboxes: SandboxProvider) -> Outcome:
        """Apply a patch in a fresh sandbox and run the task's tests. Raises EnvironmentFault or SandboxError."""
        protected = [*self.protected, *in_image.PROTECTED]
        suite = facts.suite(self._with_command(task), timeout=self.grading_timeout, protected=protected)
        return grading.grade(task.id, self._start_state(task, with_tests=True), patch, suite, sandboxes)

    def _start_state(self, task: Task, *, with_tests: bool) -> StartState:
        if not self.repositories:
            return in_image.start_state(task, with_tests=with_tests)
        if task.meta.get("only_in_image"):
            raise EnvironmentFault(
                f"{task.id}: its tests lie in the image '{task.meta['image']}' alone; expected them in its rows or its "
                "repository. Leave out environment.repositories, or the row with environment.instances."
            )
        mirror = self._mirror(task)
        commit = snapshots.resolve(mirror, task.meta["commit"])
        fill = snapshots.from_commit(mirror, commit)
        needs = self._needs(task)
        built = python.build(
            task.id, needs, [task.repository, commit], fill, setup_code=self.setup_code, within=self.build_timeout
        )
        key = [task.repository, commit]
        path = snapshots.start_state(key, fill, patch=task.meta.get("bug", ""), generated=built.generated)
        return StartState(path, built.software, task.meta.get("image", ""))

    def _split(self, identity: str) -> str:
        share = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:6]) / (1 << 48)
        return "heldout" if share < self.heldout else "train"

    def _mirror(self, task: Task) -> Path:
        root = Path(self.repositories).expanduser()
        owner, _, name = task.repository.partition("/")
        for candidate in (f"{owner}__{name}", f"{owner}+{name}", f"{owner}/{name}"):
            for place in (root / candidate, root / f"{candidate}.git", root / candidate / "repo"):
                if (place / ".git").exists() or (place / "HEAD").is_file():
                    return place
        raise EnvironmentFault(
            f"{task.id}: {root} has no mirror of {task.repository}; expected {owner}__{name}. "
            f"Make it with `git clone --mirror`."
        )

    def _needs(self, task: Task) -> python.Needs:
        spec = self._spec(task)
        named = spec.get("packages", "")
        listed = named.split() if named and not named.endswith((".txt", ".yml")) else []
        given = [*listed, *spec.get("pip_packages", [])]
        have = {re.split(r"[<>=!~\[ ]", package)[0] for package in given}
        more = [package for package in self.packages if re.split(r"[<>=!~\[ ]", package)[0] not in have]
        install = spec.get("install", "") or ""
        extras = _EXTRAS.search(install)
        commands = [command for command in spec.get("pre_install") or [] if "apt-get" not in command]
        return python.Needs(
            python=str(spec.get("python", "")),
            packages=(*given, *more),
            installed=bool(install),
            extras=tuple(part.strip() for part in extras[1].split(",")) if extras else (),
            commands=tuple(commands),
            version=task.meta["version"] if install and task.meta.get("version", "")[:1].isdigit() else "",
        )

    def _spec(self, task: Task) -> dict[str, Any]:
        """The environment of a task's version; a row's own comes first. Raises EnvironmentFault."""
        own: dict[str, Any] = task.meta.get("spec") or {}
        if own:
            return own
        versions = self._specs.get(task.repository, {})
        try:
            spec: dict[str, Any] = versions[task.meta["version"]]
        except KeyError:
            known = ", ".join(versions) or "none"
            version = task.meta.get("version", "")
            raise EnvironmentFault(
                f"{task.id}: environment.specs say nothing of {task.repository} {version}; they know {known}."
            ) from None
        return spec

    @cached_property
    def _specs(self) -> dict[str, dict[str, Any]]:
        merged: dict[str, dict[str, Any]] = {}
        for name in self.specs:
            try:
                found = json.loads(Path(name).expanduser().read_text(encoding="utf-8"))
                for repo, versions in found.items():
                    merged.setdefault(repo, {}).update(versions)
            except (OSError, ValueError, AttributeError) as error:
                raise RecipeError(f"environment.specs: {name} cannot be read ({error}); expected JSON.") from None
        return merged

    def _with_command(self, task: Task) -> Task:
        """The task with the command that its row or its spec says. Raises EnvironmentFault."""
        if task.meta["command"]:
            return task
        spec = self._spec(task) if self.repositories or self.specs else {}
        test_cmd = spec.get("test_cmd") or "pytest -rA"
        command = test_cmd[-1] if isinstance(test_cmd, list) else test_cmd
        files = " ".join(rows.test_files(task.meta["test_patch"]))
        return msgspec.structs.replace(task, meta=task.meta | {"command": f"{command} {files}"})


@cache
def _tell_dropped(identity: str, names: str) -> None:
    log.warning("%s: its lists name %s, which are no tests; they are left out.", identity, names)
