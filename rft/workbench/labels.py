"""What people answered: JSON lines beside a run, one file a rater, or written by hand."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from reward_models.types import Criterion, Verdict
from reward_models.verdicts import answers
from rft.errors import RecipeError
from rft.rundir import Run
from rft.store import decode_line
from rft.types import Record


class Label(Record, frozen=True, kw_only=True):
    """One person's answer to one criterion on one attempt. Neither a value nor a label: it cannot be told."""

    trajectory: str
    """The attempt's id."""
    criterion: str
    value: float | None = None
    """Of a binary or ordered criterion, in [0, 1], in its own polarity."""
    label: str = ""
    """The answer in words, of an ordered or class criterion."""
    rater: str = "someone"
    id: str = ""
    """Unique in a file that `rft rubric label` writes; not needed in one written by hand."""


def folder_of(run: Run) -> Path:
    """Where the answers that people gave to a run's attempts are."""
    return run.path / "labels"


def read(paths: Sequence[Path]) -> list[Label]:
    """All labels of files, in order; of a rater who changed an answer the last one. Raises RecipeError."""
    latest: dict[tuple[str, str, str], Label] = {}
    for path in paths:
        for label in _lines(path):
            latest[label.trajectory, label.criterion, label.rater] = label
    return list(latest.values())


def files_of(run: Run, given: Sequence[str]) -> list[Path]:
    """The files that are named, or those in the run. Raises RecipeError when there are none."""
    found = [Path(name) for name in given] or sorted(folder_of(run).glob("*.jsonl"))
    if not found:
        raise RecipeError(
            f"{folder_of(run)}: holds no labels. Name a file, or make some: `rft rubric label {run.path}`."
        )
    return found


def answer_of(criterion: Criterion, value: float | None, label: str, *, where: str) -> str | None:
    """An answer in the words of its criterion; None for one that cannot be told.

    A rule's and a binary value of 0.5 or more is `yes`. Raises RecipeError for what is no answer to the criterion.
    """
    allowed = answers(criterion)
    if label and criterion.kind != "binary":
        if criterion.kind != "text" and label not in allowed:
            raise RecipeError(f"{where}: '{criterion.id}' is answered '{label}'; expected one of {', '.join(allowed)}.")
        return label
    if value is None:
        return None
    if not 0.0 <= value <= 1.0:
        raise RecipeError(f"{where}: '{criterion.id}' has the value {value:g}; expected 0 to 1, or null.")
    if criterion.kind == "binary":
        return "yes" if value >= 0.5 else "no"
    if criterion.kind == "ordered":
        return allowed[round(value * (len(allowed) - 1))]
    raise RecipeError(f"{where}: '{criterion.id}' has a value and no label; expected one of {', '.join(allowed)}.")


def answer_of_verdict(criterion: Criterion, verdict: Verdict) -> str | None:
    """A verdict in the words of its criterion; None for one that is unknown."""
    return None if verdict.cause else answer_of(criterion, verdict.value, verdict.label, where="the run's reports")


def _lines(path: Path) -> Iterator[Label]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RecipeError(
            f"{path}: cannot be read ({error.strerror}); expected labels, one JSON object a line."
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        checked = b',"crc":"' in line[-20:]
        try:
            yield decode_line(line, Label) if checked else msgspec.json.decode(line, type=Label)
        except (ValueError, msgspec.DecodeError) as error:
            problem = str(error).replace("`", "")
            raise RecipeError(
                f"{path}, line {number}: not a label ({problem}); expected a trajectory, a criterion, a value."
            ) from None
