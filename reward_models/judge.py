"""Judges: who answers a rubric's questions."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from reward_models.types import Criterion, Rubric, Transcript, Verdict


class Judgement(msgspec.Struct, kw_only=True):
    """A judge's verdicts on one transcript, and what they cost."""

    verdicts: list[Verdict]
    failure: str = ""
    """Why the judge could not be asked; its verdicts are then unknown."""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Judge(Protocol):
    """Answers questions about a transcript: a model, a classifier, or a replay of stored answers."""

    def digest(self) -> str:
        """A short content address of what its answers follow from."""

    def judge(self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], *, votes: int) -> Judgement:
        """One verdict for each question. Never raises for an outage: that is the judgement's `failure`."""
