"""All attempts of some files, each under an id of its own, with what graders said of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from rft import formats
from rft.errors import RecipeError
from rft.formats.outcomes import read_outcomes
from rft.types import Outcome, Trajectory


class Attempts:
    """The attempts of files and folders, as often as they are gone through, always in the same order.

    In the place of what cannot be read stands the error that says where and why. Files of a folder that hold something
    else are left out, and listed in `others`. An attempt has its source's id; else its task's with its number among the
    attempts at it (`task/01/00`) where the source names the task; else the file's name with its number in the file.
    Raises RecipeError when a file cannot be opened, when a folder holds no attempt, or when outcomes contradict.
    """

    def __init__(self, paths: Sequence[Path], format: str = "", outcomes: Sequence[Path] = ()) -> None:
        self.format = format
        self.files: list[Path] = []
        self.others: list[Path] = []
        for path in paths:
            self._add(path)
        stems = Counter(file.stem for file in self.files)
        self._names = {f: f.stem if stems[f.stem] == 1 else str(f.with_suffix("")) for f in self.files}
        self.outcomes = read_outcomes(outcomes)
        self.graded: set[str] = set()
        """Tasks among `outcomes` that an attempt was found for."""

    def _add(self, path: Path) -> None:
        found = formats.files_in(path)
        if found == [path]:
            self.files.append(path)
            return
        known = [file for file in found if self.format or formats.format_of(file)]
        if not known:
            raise RecipeError(
                f"{path}: none of its {len(found)} files holds a trajectory; expected {', '.join(formats.FORMATS)}."
            )
        self.files += known
        self.others += [file for file in found if file not in set(known)]

    def __iter__(self) -> Iterator[Trajectory | RecipeError]:
        seen: dict[str, str] = {}
        tries: Counter[str] = Counter()
        for file in self.files:
            for number, attempt in enumerate(formats.read(file, self.format), 1):
                if isinstance(attempt, RecipeError):
                    yield attempt
                    continue
                named = self._named(attempt, f"{self._names[file]}/{number}", tries[attempt.task_id])
                tries[attempt.task_id] += 1
                if named.id in seen:
                    yield RecipeError(
                        f"{attempt.source or file}: id '{named.id}' stands in {seen[named.id]} as well; expected ids "
                        "that differ. Rename one."
                    )
                    continue
                seen[named.id] = attempt.source or str(file)
                yield named

    def _named(self, attempt: Trajectory, place: str, sample: int) -> Trajectory:
        anonymous = attempt.task_id.startswith(formats.ANONYMOUS)
        identity = attempt.id or (place if anonymous else f"{attempt.task_id}/01/{sample:02d}")
        outcome = self.outcomes.get(attempt.task_id)
        if outcome is not None:
            self.graded.add(attempt.task_id)
            outcome = _with_tampering(outcome, attempt.outcome)
        return replace(attempt, id=identity, round=1, sample=sample, outcome=outcome or attempt.outcome)


def _with_tampering(graded: Outcome, told: Outcome | None) -> Outcome:
    return replace(graded, tampered=told.tampered) if told is not None else graded
