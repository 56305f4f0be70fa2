"""Tasks as files: one directory a task, laid out as SWE-bench's task repositories are.

<root>/tasks/<id>/            or <root>/<id>/
    task.yaml                 short facts; each environment says which
    problem_statement.md
    tests.json                {"FAIL_TO_PASS": […], "PASS_TO_PASS": […]}
    gold.patch                optional, as is test.patch
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rft.errors import RecipeError

FILES = {"problem_statement": "problem_statement.md", "patch": "gold.patch", "test_patch": "test.patch"}
"""Column of a SWE-bench row to the file that holds it."""
TASK_FILE, TESTS_FILE = "task.yaml", "tests.json"


def directories(root: Path) -> list[Path]:
    """The task directories under `root`, by name; `root` itself when it is one. Raises RecipeError when it has none."""
    if (root / TASK_FILE).is_file():
        return [root]
    inside = root / "tasks" if (root / "tasks").is_dir() else root
    found = sorted(path.parent for path in inside.glob(f"*/{TASK_FILE}"))
    if not found:
        raise RecipeError(f"{root}: holds no tasks; expected directories with a {TASK_FILE} in each.")
    return found


def rows(root: Path) -> Iterator[dict[str, Any]]:
    """Each task as one SWE-bench row; `instance_id` is the directory's name where `task.yaml` gives none.

    Raises RecipeError that names the file.
    """
    for directory in directories(root):
        yield row(directory)


def row(directory: Path) -> dict[str, Any]:
    """One task. Raises RecipeError that names the file."""
    try:
        facts = yaml.load((directory / TASK_FILE).read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # no 3.10 -> 3.1
        tests = json.loads(_text(directory / TESTS_FILE) or "{}")
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        why = str(error).split("\n")[0]
        raise RecipeError(f"{directory}: cannot be read ({why}); expected {TASK_FILE} and {TESTS_FILE}.") from None
    if not isinstance(facts, dict) or not isinstance(tests, dict):
        raise RecipeError(f"{directory}: {TASK_FILE} or {TESTS_FILE} holds something else; expected keys and values.")
    texts = {column: _text(directory / file) for column, file in FILES.items()}
    return {"instance_id": directory.name} | facts | texts | tests


def _text(path: Path) -> str:
    """A file as it is, carriage returns in patches included; empty when it is not there."""
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()
