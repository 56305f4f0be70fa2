"""Start states: git repositories of one commit, made from the shipped packages and kept in the user's cache folder."""

from functools import cache
from pathlib import Path

from rft.environments import snapshots
from rft.environments.kata.mutate import Mutation
from rft.errors import EnvironmentFault
from rft.types import Task

PACKAGES = Path(__file__).with_name("packages")


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

    def fill(place: Path) -> None:
        for name, text in content.items():
            (place / name).write_text(text, encoding="utf-8")

    return snapshots.start_state(["kata", content], fill)
