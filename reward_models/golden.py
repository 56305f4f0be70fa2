"""A rubric's own tests: small transcripts beside it, each with the answers that a good judge gives.

`NAME.golden.jsonl` stands beside `NAME.yaml` and holds one JSON object a line:
`{"transcript": {…}, "expected": {criterion: number, label or null}}`. A transcript has the fields of
`types.Transcript`; criteria that `expected` does not name are not looked at; null is *cannot be told*.
"""

from pathlib import Path
from typing import Any

import msgspec

from reward_models.errors import RubricError, did_you_mean
from reward_models.evaluation import evaluate
from reward_models.judges import Judge
from reward_models.rubric import path_of
from reward_models.types import Criterion, Rubric, Transcript, TranscriptStep, Verdict
from reward_models.verdicts import answers

Expected = float | str | None


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A transcript and what is to be said of it."""

    transcript: Transcript
    expected: dict[str, Expected]
    """Criterion to its value in [0, 1], to its label where it is answered by one, or to null for unknown."""


class Mismatch(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is not the expected one."""

    id: str
    """The transcript's id."""
    criterion: str
    expected: Expected
    found: Verdict | None
    """None when the criterion was not asked: it is about a follow-up, and there is none."""


def file_of(name: str) -> Path:
    """Where the tests of a rubric stand, if it has some. Raises RubricError when there is no rubric."""
    return path_of(name).with_suffix(".golden.jsonl")


def load(path: str | Path) -> list[Golden]:
    """The tests of a file, in order. Raises RubricError, naming the line, for what is none."""
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise RubricError(f"{path}: cannot be read ({error.strerror}); expected a transcript on each line.") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            found.append(_read(line, f"{path}, line {number}"))
    if not found:
        raise RubricError(f"{path}: holds no test; expected a transcript on each line. Add one.")
    ids = [golden.transcript.id for golden in found]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise RubricError(f"{path}: two transcripts have the id '{twice}'; expected a name for each. Rename one.")
    return found


def run(rubric: Rubric, goldens: list[Golden], *, judge: Judge | None = None, votes: int = 1) -> list[Mismatch]:
    """The answers that differ from the expected ones, in the order of the tests.

    A rule's value must be the expected one to a hundredth, a judge's on the same side: less than a half away. A label
    must be the same. Null asks for a judge or a rule that cannot tell; one that could not be asked or read is none.
    Raises RubricError when a test expects what the rubric cannot answer, or when there is no judge to ask.
    """
    for golden in goldens:
        _check(rubric, golden)
    mismatches = []
    for golden in goldens:
        asked = [criterion for criterion in rubric.criteria if criterion.id in golden.expected]
        report = evaluate(golden.transcript, msgspec.structs.replace(rubric, criteria=asked), judge=judge, votes=votes)
        found = {verdict.criterion: verdict for verdict in report.verdicts}
        for criterion in asked:
            expected, verdict = golden.expected[criterion.id], found.get(criterion.id)
            if verdict is None or not _agrees(criterion, expected, verdict):
                mismatches.append(
                    Mismatch(id=golden.transcript.id, criterion=criterion.id, expected=expected, found=verdict)
                )
    return mismatches


def _agrees(criterion: Criterion, expected: Expected, verdict: Verdict) -> bool:
    if expected is None:
        return verdict.cause in ("judge", "rule")
    if isinstance(expected, str):
        return not verdict.cause and verdict.label == expected
    if verdict.value is None:
        return False
    apart = abs(verdict.value - expected)
    return apart <= 0.01 if criterion.rule else apart < 0.5


def _read(line: bytes, where: str) -> Golden:
    try:
        tree = msgspec.json.decode(line)
        transcript = tree.get("transcript") if isinstance(tree, dict) else None
        if isinstance(transcript, dict):
            _known_keys(transcript, Transcript, where)
            for step in transcript.get("steps") or ():
                if isinstance(step, dict):
                    _known_keys(step, TranscriptStep, where)
        return msgspec.convert(tree, Golden)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        problem = str(error).replace("`", "")
        raise RubricError(f"{where}: {problem}. Expected a transcript and what is expected of it.") from None


def _known_keys(tree: dict[str, Any], kind: type[msgspec.Struct], where: str) -> None:
    known = kind.__struct_fields__
    for key in tree:
        if key not in known:
            raise RubricError(f"{where}: unknown key '{key}' in the transcript.{did_you_mean(key, known)}")


def _check(rubric: Rubric, golden: Golden) -> None:
    where = f"{rubric.name}: golden transcript '{golden.transcript.id}'"
    criteria = {criterion.id: criterion for criterion in rubric.criteria}
    for name, expected in golden.expected.items():
        if name not in criteria:
            raise RubricError(f"{where}: no criterion is called '{name}'.{did_you_mean(name, criteria)}")
        if expected is not None:
            _check_expected(criteria[name], expected, f"{where}: criterion '{name}'")


def _check_expected(criterion: Criterion, expected: float | str, where: str) -> None:
    if criterion.kind == "text":
        raise RubricError(f"{where}: is answered in words, which cannot be expected beforehand. Leave it out.")
    if isinstance(expected, str):
        allowed = [] if criterion.kind == "binary" else answers(criterion)
        if expected not in allowed:
            meant = ", ".join(allowed) or "a number between 0 and 1, or null"
            raise RubricError(f"{where}: expects '{expected}'; expected {meant}.{did_you_mean(expected, allowed)}")
    elif criterion.kind != "binary":
        raise RubricError(f"{where}: expects {expected:g}; expected one of its answers, or null.")
    elif not 0.0 <= expected <= 1.0:
        raise RubricError(f"{where}: expects {expected:g}; expected a number between 0 and 1.")
