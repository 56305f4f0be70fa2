"""What graders of other programs said of attempts, by task: SWE-bench's reports, SWE-smith's, and JSON lines."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rft.errors import RecipeError
from rft.formats.documents import Document, Fields, documents, wrong
from rft.types import Outcome

_LISTS = {"resolved_ids": True, "unresolved_ids": False, "ids_resolved": True, "ids_unresolved": False}
_TESTS = {"success": "passed", "failure": "failed"}


def read_outcomes(paths: Sequence[Path]) -> dict[str, Outcome]:
    """Task id to outcome, from report files and from folders of them (`…/<task>/report.json`).

    A report may be of one task, of many, or a run's with lists of ids; a JSON line has `instance_id` and `resolved`. A
    report that lists tests is taken before one that does not. Raises RecipeError for what is no report, and when two
    contradict each other: attempts of different policies at one task are imported one policy at a time.
    """
    found: dict[str, tuple[Outcome, str]] = {}
    for path in paths:
        for file in _files(path):
            for task, outcome, where in _outcomes(file):
                known = found.get(task)
                if known is not None and known[0].resolved is not outcome.resolved:
                    raise RecipeError(
                        f"{where}: says that '{task}' is {'' if outcome.resolved else 'not '}resolved, and {known[1]} "
                        "the opposite; expected one verdict a task. Import one policy's attempts at a time."
                    )
                if known is None or not known[0].tests:
                    found[task] = (outcome, where)
    return {task: outcome for task, (outcome, _) in found.items()}


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.rglob("report.json")) or sorted(path.rglob("*.json"))
    if not files:
        raise RecipeError(f"{path}: holds no report.json; expected reports of a grader.")
    return files


def _outcomes(path: Path) -> Iterator[tuple[str, Outcome, str]]:
    for document in documents(path):
        if isinstance(document, RecipeError):
            raise document
        yield from _of(document)


def _of(document: Document) -> Iterator[tuple[str, Outcome, str]]:
    """The outcomes of one report."""
    where, value = document.where, document.value
    report = Fields(value, where)
    if isinstance(value.get("resolved"), bool):
        # a report of one task that does not name it stands in the task's folder
        task = report.text("instance_id", "task_id") or document.path.parent.name
        yield task, _outcome(value, where), where
    elif any(name in value for name in _LISTS):
        for name, resolved in _LISTS.items():
            for task in report.take(name, list[str], []):
                yield task, Outcome(resolved=resolved), where
    elif value and all(isinstance(inner, dict) and "resolved" in inner for inner in value.values()):
        for task, inner in value.items():
            yield task, _outcome(inner, f"{where}: {task}"), where
    else:
        raise wrong(where, "", "no report of a grader; expected 'resolved', or lists of resolved and unresolved ids")


def _outcome(value: dict[str, Any], where: str) -> Outcome:
    report = Fields(value, where)
    status = report.inner("tests_status")
    tests: dict[str, str] = {}
    for group in ("FAIL_TO_PASS", "PASS_TO_PASS"):
        inner = status.inner(group)
        for name, verdict in _TESTS.items():
            tests |= dict.fromkeys(inner.take(name, list[str], []), verdict)
    return Outcome(resolved=report.pop_bool("resolved"), tests=tests)
