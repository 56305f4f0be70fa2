"""`rft rubric score`: a report on every attempt in a file, whoever made it; carries on where it was stopped."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

import msgspec
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reward_models.rubric import digest
from reward_models.types import Report
from rft.errors import RecipeError, StageError
from rft.formats import strictly
from rft.formats.attempts import Attempts
from rft.plugins import first_line
from rft.progress import progress, say
from rft.recipe import Recipe, Score, Section
from rft.score import load_rubric, reports
from rft.score.stage import Attempt, Scorer, Tally, concurrently
from rft.store import decode_line


def score(
    path: str, rubric: str, *, judge: Sequence[str] = (), votes: int = 1, out: str | None = None, format: str = ""
) -> None:
    """Write a report for each attempt in `path` to `out`, which may hold some already, or as JSON lines to stdout.

    `path` is a file or folder in any format that rft reads. `judge` are `key=value` pairs of a judge's section.
    Memory does not grow with the file. Raises RecipeError for what is wrong with the arguments or a row, StageError
    when the judge could be asked about no attempt.
    """
    if votes < 1:
        raise RecipeError(f"--votes {votes}: expected at least 1.")
    recipe = Recipe(name="score", score=Score(rubric=rubric, judge=section_of(judge), votes=votes))
    attempts = Given(Path(path), format)
    try:
        with closing(Scorer(recipe)) as scorer:
            tally = _print(scorer, attempts) if out is None else None
        if out is not None:
            _refuse_other(Path(out), digest(load_rubric(recipe)))
            tally = reports(recipe, attempts, Path(out))
    except RecipeError as error:
        raise RecipeError(
            str(error).replace("score.rubric", "--rubric", 1).replace("score.judge", "--judge", 1)
        ) from None
    assert tally is not None
    say(f"{tally.reports} attempts, {tally.scored} scored, {tally.failed} not judged; {tally.note()}")


class Given:
    """The attempts of a file or folder, as often as they are gone through. Raises RecipeError for the first bad one."""

    def __init__(self, path: Path, format: str) -> None:
        self._attempts = Attempts([path], format)

    def __iter__(self) -> Iterator[Attempt]:
        return strictly(self._attempts)


def _print(scorer: Scorer, attempts: Iterable[Attempt]) -> Tally:
    """Reports to stdout as they finish."""
    total = sum(1 for _ in attempts)  # and every row is known to be good before a judge is paid
    tally = Tally()
    with progress("score", total) as advance:
        for report in concurrently(scorer, iter(attempts)):
            sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
            tally.add(report, broke_down=False)
            advance(tally.note())
    sys.stdout.flush()
    if tally.failed and tally.failed == tally.reports:
        raise StageError(
            f"score: the judge answered on none of {tally.failed} attempts, most recently: {tally.cause}. "
            "Mend the cause and run the same command again."
        )
    return tally


def section_of(pairs: Sequence[str]) -> Section | None:
    """A judge's section from `key=value` pairs; None when there are none. Raises RecipeError."""
    for pair in pairs:
        if not pair.partition("=")[1]:
            raise RecipeError(f"--judge {pair}: expected key=value, such as use=endpoint.")
    try:
        section = OmegaConf.to_container(OmegaConf.from_dotlist(list(pairs)))
    except (OmegaConfBaseException, yaml.YAMLError, TypeError, ValueError) as error:
        raise RecipeError(f"--judge: cannot be read ({first_line(error)}); expected key=value.") from None
    return cast(Section, section) or None


def _refuse_other(out: Path, rubric: str) -> None:
    """What is in a file is carried on only where it is reports by the same rubric. Raises RecipeError."""
    if not out.exists() or not out.stat().st_size:
        return
    try:
        with out.open("rb") as file:
            made = decode_line(file.readline(), Report).rubric
    except (OSError, ValueError, msgspec.DecodeError):
        raise RecipeError(f"--out {out}: holds something else than reports. Name another file.") from None
    if made != rubric:
        raise RecipeError(
            f"--out {out}: holds reports by another version of the rubric ({made}, now {rubric}). Name another file."
        )
