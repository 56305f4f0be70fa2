"""`rft rubric label`: a person answers the rubric's questions blind, one attempt after the other, in a browser.

What is shown: the task, the steps, the final change. What is not: verdicts, scores, decisions and the tests' word.
"""

import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from reward_models.types import Criterion, Transcript
from reward_models.verdicts import UNKNOWN, answers, value_of
from rft.errors import RecipeError
from rft.progress import say
from rft.score import to_transcript
from rft.store import Records
from rft.workbench.labels import Label, folder_of
from rft.workbench.scored import Scored, find_round
from rft.workbench.server import serve

MAX_WORDS = 2_000
"""Characters of an answer in words."""


def label(name: str, *, rater: str = "someone", sample: int = 20, round: int | None = None, port: int = 0) -> None:
    """Serve the page on this machine until interrupted; every answer is on disk before the next page is shown.

    Raises RecipeError for wrong arguments, StoreError when the same rater's file is being written elsewhere.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", rater):
        raise RecipeError(f"--rater {rater}: expected letters, digits, '_', '-' and '.', at most 40; it names a file.")
    if sample < 1:
        raise RecipeError(f"--sample {sample}: expected at least 1.")
    with labelling(find_round(name, round), rater, sample) as session:
        say(f"{session.done()} of {len(session.order)} attempts are labelled; answers go to {session.path}")
        serve(session, port=port)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question as it is shown."""

    criterion: Criterion
    answers: list[str]
    """To choose from; empty for one that is answered in words."""
    given: str
    """The rater's answer so far, `unknown` for one that cannot be told, empty when there is none."""


class Session:
    """One rater's way through a sample of a round's attempts; safe to use from several threads."""

    def __init__(self, scored: Scored, rater: str, sample: int, append: Callable[[Label], None]) -> None:
        self.scored = scored
        self.rater = rater
        self.path = folder_of(scored.run) / f"{rater}.jsonl"
        self._append = append
        self._lock = threading.Lock()
        self._questions = [criterion for criterion in scored.rubric.criteria if criterion.question]
        if not self._questions:
            raise RecipeError(f"{scored.rubric.name}: asks no questions, code answers everything; nothing to label.")
        self._places = {t.id: at for at, t in scored.trajectories().scan() if t.failure is None and t.steps}
        self.order = _drawn(list(self._places), sample, scored.run.recipe.seed, rater)
        """Ids of the attempts, in the order in which they are shown."""
        transcripts = (self.transcript(number) for number in range(len(self.order)))
        self._asked = [[criterion.id for criterion in self._about(transcript)] for transcript in transcripts]
        self._given: dict[tuple[str, str], str] = {}
        self._written = 0
        for known in Records(self.path, Label):
            self._note(known)

    def done(self) -> int:
        """How many attempts have an answer to every question."""
        return sum(self.is_done(number) for number in range(len(self.order)))

    def is_done(self, number: int) -> bool:
        """Whether every question about an attempt of the sample has an answer."""
        return all((self.order[number], criterion) in self._given for criterion in self._asked[number])

    def following(self, number: int = -1) -> int | None:
        """The first attempt after `number` that is not done, then one before it; None when all are."""
        rest = [*range(number + 1, len(self.order)), *range(number + 1)]
        return next((other for other in rest if not self.is_done(other)), None)

    def transcript(self, number: int) -> Transcript:
        """An attempt of the sample, as a judge sees it."""
        return to_transcript(self.scored.trajectories().at(self._places[self.order[number]]))

    def asked(self, transcript: Transcript) -> list[Asked]:
        """The questions about an attempt."""
        return [
            Asked(
                criterion=criterion,
                answers=answers(criterion)[:: 1 if criterion.kind == "class" else -1],
                given=self._given.get((transcript.id, criterion.id), ""),
            )
            for criterion in self._about(transcript)
        ]

    def take(self, number: int, form: Mapping[str, str]) -> None:
        """Append the answers of a form, criterion to answer, that are new or changed.

        Raises ValueError for what is no answer to a question about this attempt; then nothing is taken.
        """
        transcript = self.transcript(number)
        asked = {one.criterion.id: one for one in self.asked(transcript)}
        new = []
        for name, answer in form.items():
            if name not in asked:
                raise ValueError(f"no question is called '{name[:80]}'")
            if answer.strip() and answer != asked[name].given:
                new.append(_label(asked[name], answer, transcript.id, self.rater))
        with self._lock:
            for made in new:
                self._written += 1
                self._append(replace(made, id=f"{self._written}/{made.trajectory}/{made.criterion}"))
                self._note(made, count=False)

    def _about(self, transcript: Transcript) -> list[Criterion]:
        return [one for one in self._questions if transcript.followup or not one.requires_followup]

    def _note(self, label: Label, *, count: bool = True) -> None:
        criterion = next((one for one in self._questions if one.id == label.criterion), None)
        if criterion is not None:
            self._given[label.trajectory, label.criterion] = _words(criterion, label)
        self._written += count


@contextmanager
def labelling(scored: Scored, rater: str, sample: int) -> Iterator[Session]:
    """A session that goes on where an earlier one of this rater was left."""
    records = Records(folder_of(scored.run) / f"{rater}.jsonl", Label)
    records.repair()
    with records.writer() as append:
        yield Session(scored, rater, sample, append)


def _drawn(ids: list[str], sample: int, seed: int, rater: str) -> list[str]:
    """The same attempts for every rater, so that people can be held against each other, each in an order of their own;
    a larger sample holds a smaller one."""
    ids = sorted(ids)
    random.Random(f"label/{seed}").shuffle(ids)
    chosen = ids[:sample]
    random.Random(f"label/{seed}/{rater}").shuffle(chosen)
    return chosen


def _label(asked: Asked, answer: str, trajectory: str, rater: str) -> Label:
    criterion = asked.criterion
    made = Label(trajectory=trajectory, criterion=criterion.id, rater=rater)
    if answer == UNKNOWN:
        return made
    if criterion.kind == "text":
        return replace(made, label=" ".join(answer.split())[:MAX_WORDS])
    if answer not in asked.answers:
        raise ValueError(f"'{answer[:80]}' is no answer to '{criterion.id}'")
    return replace(made, value=value_of(criterion, answer), label="" if criterion.kind == "binary" else answer)


def _words(criterion: Criterion, label: Label) -> str:
    """A label as the answer that was chosen."""
    if label.label:
        return label.label
    if label.value is None:
        return UNKNOWN
    return answers(criterion)[round(label.value * (len(answers(criterion)) - 1))]
