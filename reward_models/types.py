"""The nouns of judging: Criterion, Rubric, Transcript, Finding, Verdict, Report."""

from typing import Any, Literal

import msgspec

Polarity = Literal["encourage", "discourage"]
View = Literal["patch", "segment", "trajectory", "prefix"]


class Criterion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a rubric, answered by a judge (`question`) or by code (`rule`)."""

    id: str
    question: str = ""
    """What a judge is asked; answered yes or no."""
    rule: str = ""
    """A short name of `reward_models.rules`, or `package.module:function`."""
    options: dict[str, Any] = {}
    """Keyword arguments of the rule."""
    polarity: Polarity = "encourage"
    weight: float = 1.0
    required: bool = False
    """Not met, the score is 0; unknown, the score is unknown."""
    reason: str = ""
    """Why the criterion is there, for people."""


class Rubric(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The standard: signed criteria and what their judge may see."""

    name: str
    version: int = 1
    description: str = ""
    view: View = "trajectory"
    criteria: list[Criterion]


class TranscriptStep(msgspec.Struct, frozen=True, kw_only=True):
    """One turn as a judge and a rule see it."""

    index: int
    """Counted from 1."""
    text: str
    """Everything the agent wrote."""
    command: str | None
    """What was run; None when the turn held nothing that could be run."""
    output: str
    exit_code: int | None = None
    timed_out: bool = False
    problem: str = ""
    """Why nothing was run."""


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt as a judge and a rule see it. It never holds the gold answer or the grader's tests."""

    id: str
    task_id: str = ""
    statement: str
    steps: list[TranscriptStep]
    patch: str = ""
    stop: str = ""
    """Why the attempt ended (`submitted`, `step_limit`, …)."""
    resolved: bool | None = None
    """The tests' word on the final state; None when unknown."""
    protected: list[str] = []
    """Path patterns that the agent should leave alone."""
    tampered: list[str] = []
    """Protected files that the final state changed."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule found. `value` None is *unknown*, and `why` says why."""

    value: float | None
    """In [0, 1]: how far the behaviour is there."""
    why: str = ""
    steps: list[int] = []
    """Steps that show it."""
    evidence: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer. `value` None is *unknown*, and `why` says why; unknown is never a number."""

    criterion: str
    value: float | None
    """In [0, 1]: how far the criterion is met, in its own polarity (1 = the behaviour is there)."""
    steps: list[int] = []
    """Steps cited as evidence."""
    evidence: str = ""
    why: str = ""
    """The judge's reason, or the cause of an unknown."""
    votes: list[float | None] = []
    """Each single answer where several were taken."""


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All answers on one trajectory, and the number made from them."""

    id: str
    """The trajectory's id."""
    task_id: str
    rubric: str
    """Digest of the rubric."""
    judge: str
    """Digest of the judge, empty when code answered everything."""
    verdicts: list[Verdict]
    score: float | None
    """In [0, 1]; None when unknown."""
    failure: str = ""
    """Why there is no score, when the judge or a rule broke."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
