"""What a test program's output says, as its parser reads it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST = 4000
"""Characters of a line that are looked at: what a program printed without end costs no time."""
BAD = ("failed", "error")
SEVERITY = ["skipped", "passed", "xfailed", "xpassed", "failed", "error"]
"""Every status, from what hides the least to what hides the most; where a test has two, the later one holds."""


@dataclass
class Said:
    """The results in one output, and what its own summary makes of them."""

    tests: dict[str, str] = field(default_factory=dict)
    """Test name to one of SEVERITY."""
    results: int = 0
    """How many results were read; more than `tests` where names are not unique."""
    total: int | None = None
    """How many results the summary counts; None where there is none or it does not say."""
    is_finished: bool = False
    """What stands at the end of every whole run was there."""
    has_failed: bool | None = None
    """What the summary says of the run as a whole; None where it does not."""

    def add(self, name: str, status: str) -> None:
        """One result more."""
        self.results += 1
        self.tests[name] = worst(self.tests.get(name, status), status)


def worst(*statuses: str) -> str:
    """The status that holds for what has several."""
    return max(statuses, key=SEVERITY.index)


def lines(log: str) -> Iterator[str]:
    """The lines of an output, long ones cut."""
    return (line[:LONGEST] for line in log.split("\n"))
