"""What a judge is: it answers a rubric's questions about a transcript, and says what that cost."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from reward_models.types import Criterion, Rubric, Transcript, Verdict


class Judgement(msgspec.Struct, kw_only=True):
    """A judge's verdicts on one transcript, and what they cost."""

    verdicts: list[Verdict]
    failure: str = ""
    """Why the judge could not be asked; the verdicts that this concerns are unknown."""
    cut: int = 0
    """Characters of the transcript that it was not shown."""
    calls: int = 0
    """Replies that it wrote."""
    cached: int = 0
    """Verdicts, each vote for itself, that were known from before."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0


class Judge(Protocol):
    """Answers questions about a transcript: a model, a classifier, or a replay of stored answers."""

    def digest(self) -> str:
        """A short content address of what its answers follow from."""

    def judge(
        self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], *, votes: int, first: int = 0
    ) -> Judgement:
        """One verdict for each question, the majority of `votes` answers; `first` numbers the first of them, and
        answers of another number are drawn with another seed. Never raises for an outage: that is the `failure`."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One chat that wants a reply."""

    messages: list[dict[str, str]]
    questions: list[Criterion]
    """What the chat asks; a backend that constrains its replies does so to the answers of these."""
    vote: int = 0
    """Which of several answers to the same chat this is; it seeds the sampling."""
    deadline: float
    """A `time.monotonic()` value."""
