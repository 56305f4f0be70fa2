"""The errors that reward_models raises on purpose, each one line: *where: what is wrong; what was expected.*"""

import difflib
from collections.abc import Iterable
from typing import Literal


class RubricError(ValueError):
    """A rubric, one of its rules, or a judge's set-up is wrong."""


class TranscriptError(ValueError):
    """What was given as an attempt cannot be read as one."""


class NoScore(Exception):
    """A score is unknown where only a number will do, and nobody said which."""


class JudgeDown(Exception):
    """A judge could not be asked. It is recorded with its cause and is never a number."""

    cause: Literal["outage", "budget"] = "outage"


class BudgetSpent(JudgeDown):
    """Another call would break the budget."""

    cause = "budget"


class CacheError(Exception):
    """The file of verdicts and costs cannot be read or written."""


class NoAnswer(Exception):
    """A server gave no answer in the tries and the time there were."""

    failed = False
    """Whether the last try was answered by an error of the server's own, or by nonsense, and not by silence."""


class Refused(NoAnswer):
    """The server said no, and would say so again."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, status)
        self.status = status
        """The HTTP status; 0 when the request could not be sent."""

    def __str__(self) -> str:
        return str(self.args[0])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` when a known name is near, else an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.55)
    return f" Did you mean '{near[0]}'?" if near else ""
