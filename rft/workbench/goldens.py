"""`rft rubric test`: a rubric's golden transcripts answered anew, and every answer that is not the expected one."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from reward_models import golden
from reward_models.errors import RubricError
from reward_models.golden import Golden, Mismatch
from reward_models.judges import Judge
from reward_models.types import Rubric
from rft.errors import RecipeError, StageError
from rft.plugins import build, find_rubric
from rft.types import Record
from rft.view.text import line, percent
from rft.workbench.output import print_json, print_parts, table
from rft.workbench.score import section_of


class Tested(Record, frozen=True, kw_only=True):
    """What came of a rubric's golden transcripts."""

    rubric: str
    transcripts: int
    expected: dict[str, int]
    """Criterion to how many transcripts expect an answer to it."""
    untested: list[str]
    """Criteria that no transcript expects anything of."""
    mismatches: list[Mismatch]


def test(name: str, *, judge: Sequence[str] = (), votes: int = 1, as_json: bool = False) -> None:
    """Print the tables. Raises RecipeError for a wrong rubric, test or judge, StageError when an answer is not the
    expected one."""
    if votes < 1:
        raise RecipeError(f"--votes {votes}: expected at least 1.")
    rubric, section = find_rubric(name), section_of(judge)
    path = golden.file_of(name)
    if not path.is_file():
        raise RecipeError(
            f"{path}: no such file; a rubric's golden transcripts stand there. See the README of rubrics."
        )
    found = _tested(rubric, path, build("judge", section, "--judge") if section else None, votes)
    if as_json:
        print_json(found)
    else:
        print_parts(*_parts(found))
    if found.mismatches:
        wrong, all_ = len(found.mismatches), sum(found.expected.values())
        raise StageError(
            f"{path}: {wrong} of {all_} answers are not the expected ones. "
            "Reword the criteria, or mend the transcripts."
        )


def _tested(rubric: Rubric, path: Path, judge: Judge | None, votes: int) -> Tested:
    try:
        goldens = golden.load(path)
        mismatches = golden.run(rubric, goldens, judge=judge, votes=votes)
    except RubricError as error:
        raise RecipeError(str(error)) from None
    expected = _expected(rubric, goldens)
    return Tested(
        rubric=rubric.name,
        transcripts=len(goldens),
        expected=expected,
        untested=[criterion.id for criterion in rubric.criteria if criterion.id not in expected],
        mismatches=mismatches,
    )


def _expected(rubric: Rubric, goldens: list[Golden]) -> dict[str, int]:
    counts = Counter(name for one in goldens for name in one.expected)
    return {criterion.id: counts[criterion.id] for criterion in rubric.criteria if counts[criterion.id]}


def _parts(found: Tested) -> list[RenderableType]:
    wrong = Counter(mismatch.criterion for mismatch in found.mismatches)
    made = table("golden transcripts", "criterion", "expected", "as expected", "share", numbers=True)
    for name, count in found.expected.items():
        right = count - wrong[name]
        made.add_row(
            Text(name), str(count), str(right), Text(percent(right / count), style="" if right == count else "red")
        )
    parts: list[RenderableType] = [made]
    if found.mismatches:
        parts.append(_mismatches(found.mismatches))
    if found.untested:
        parts.append(Text(f"no transcript expects anything of: {', '.join(found.untested)}"))
    right, all_ = sum(found.expected.values()) - len(found.mismatches), sum(found.expected.values())
    return [
        *parts,
        Text(f"{line(found.rubric)}: {right} of {all_} answers on {found.transcripts} transcripts as expected"),
    ]


def _mismatches(mismatches: list[Mismatch]) -> RenderableType:
    made = table("not as expected", "criterion", "transcript", "expected", "answered", "why")
    for one in mismatches:
        verdict = one.found
        answered = "not asked" if verdict is None else verdict.label or _said(verdict.value)
        why = "" if verdict is None else verdict.why or verdict.evidence
        expected = one.expected if isinstance(one.expected, str) else _said(one.expected)
        made.add_row(*(Text(line(words, 160)) for words in (one.criterion, one.id, expected, answered, why)))
    return made


def _said(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"
