"""Start states: git repositories of one commit, made from the shipped packages and kept in the user's cache folder."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from rft.environments.kata.mutate import Mutation
from rft.errors import EnvironmentFault
from rft.store import digest
from rft.types import Task

PACKAGES = Path(__file__).with_name("packages")
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "kata",
    "GIT_AUTHOR_EMAIL": "kata@example.invalid",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "kata",
    "GIT_COMMITTER_EMAIL": "kata@example.invalid",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}
"""Nothing of the user's git settings, and the same commit for everyone."""


@cache
def modules() -> list[str]:
    """The names of the shipped packages."""
    return sorted(path.name for path in PACKAGES.iterdir() if (path / f"{path.name}.py").is_file())


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def clean_source(module: str) -> str:
    """The module as it should be."""
    return _read(PACKAGES / module / f"{module}.py")


def files(module: str, source: str) -> dict[str, str]:
    """A repository's files by name, around this source of its module."""
    return {
        f"{module}.py": source,
        f"test_{module}.py": _read(PACKAGES / module / f"test_{module}.py"),
        "check.py": _read(PACKAGES / "check.py"),
        "README.md": f"# {module}\n\n" + _read(PACKAGES / "README.md"),
        ".gitignore": "__pycache__/\n",
    }


def mutation(task: Task) -> Mutation:
    """The slip that made the task. Raises EnvironmentFault when the task is not one of kata's."""
    try:
        return Mutation(**{name: task.meta[name] for name in ("function", "operator", "line", "before", "after")})
    except KeyError as error:
        raise EnvironmentFault(f"{task.id}: has no {error} among its facts; expected a task of kata.") from None


def start_state(task: Task) -> Path:
    """The task's repository, made when it is not there yet; any number of processes may ask at once.

    Raises EnvironmentFault.
    """
    module = str(task.meta.get("module"))
    if module not in modules():
        raise EnvironmentFault(f"{task.id}: no package is called '{module}'; expected one of {', '.join(modules())}.")
    try:
        content = files(module, mutation(task).apply(clean_source(module)))
    except ValueError as error:
        raise EnvironmentFault(
            f"{task.id}: does not fit the package '{module}': {error}. Make the tasks again."
        ) from None
    place = _cache_folder() / digest([content, _ENVIRONMENT])
    if not place.is_dir():
        try:
            _build(place, content)
        except (OSError, subprocess.SubprocessError) as error:
            raise EnvironmentFault(f"{place}: the start state cannot be made ({error}). Is git installed?") from None
    return place


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rft" / "kata"


def _build(place: Path, content: dict[str, str]) -> None:
    """Make the repository beside its place and move it there whole; whoever comes second throws theirs away."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        for name, text in content.items():
            (fresh / name).write_text(text, encoding="utf-8")
        git = "git init -q --template= -b main && git add -A && git commit -q --no-verify -m 'Start state'"
        subprocess.run(
            ["/bin/sh", "-c", git],
            cwd=fresh,
            env=_ENVIRONMENT | {"PATH": os.environ.get("PATH", os.defpath)},
            check=True,
            capture_output=True,
            timeout=60,
        )
        fresh.chmod(0o755)
        try:
            fresh.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
