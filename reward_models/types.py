"""The nouns of judging: Criterion, Rubric, Transcript, Finding, Verdict, Report."""

from typing import Any, Literal

import msgspec

Polarity = Literal["encourage", "discourage"]
View = Literal["patch", "segment", "trajectory", "prefix"]
Kind = Literal["binary", "ordered", "class", "text"]
Cause = Literal["", "judge", "unreadable", "citation", "tie", "outage", "budget", "rule"]
"""Why a verdict is unknown: the judge said so, its reply or its citation could not be used, its votes were tied, it
could not be asked, its budget was spent, or the rule could not tell."""


class Example(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worked answer that the judge is shown with a question."""

    given: str
    """The piece of a transcript that is judged."""
    answer: str
    reason: str = ""


class Criterion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a rubric, answered by a judge (`question`) or by code (`rule`)."""

    id: str
    question: str = ""
    """What a judge is asked."""
    kind: Kind = "binary"
    """How it is answered: yes or no, one of `answers` in order, one of `answers` as a class, or in words."""
    answers: list[str] = []
    """Of an `ordered` question from worst to best, of a `class` question in any order."""
    met: list[str] = []
    """The classes that count as the behaviour being there; a class question without any has no weight."""
    rule: str = ""
    """A short name of `reward_models.rules`, or `package.module:function`."""
    options: dict[str, Any] = {}
    """Keyword arguments of the rule."""
    polarity: Polarity = "encourage"
    weight: float = 1.0
    required: bool = False
    """Not met, the score is 0; unknown, the score is unknown."""
    view: View | None = None
    """What its judge may see, where that is not what the rubric says."""
    group: str = ""
    """A heading under which reports and judges take it together with others."""
    requires_followup: bool = False
    """Asked only where a user wrote again after the agent had finished."""
    examples: list[Example] = []
    floor: float | None = None
    """The agreement with people (Cohen's kappa) under which it is named by `rft rubric calibrate`."""
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
    forged: list[str] = []
    """What showed that the answer forged its tests' results."""
    followup: str = ""
    """What the user wrote after the agent had finished."""


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
    label: str = ""
    """The answer in words, where the question is not answered by yes or no."""
    why: str = ""
    """The judge's reason, or what made it unknown."""
    cause: Cause = ""
    """What kind of unknown it is; empty for an answer."""
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
    dropout: list[str] = []
    """Criteria that dropout kept out of the score; their verdicts stand all the same."""
    cut: int = 0
    """Characters of the transcript that its judge was not shown."""
    calls: int = 0
    """Requests to the judge."""
    cached: int = 0
    """Verdicts that were known from before and cost nothing."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0
    """What the calls cost, in the currency of the judge's price."""
