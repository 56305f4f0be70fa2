"""What one run of a suite's command said, and when it says nothing."""

from dataclasses import dataclass, field

from rft.types import Execution

KEPT = 64 << 20
"""Bytes of results, or of output that holds them, that one run may give."""
LOG = 4000
"""Characters of the command's own output that are kept for people."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What one run of a suite's command said."""

    tests: dict[str, str] = field(default_factory=dict)
    """Test name to `passed`, `failed`, `error`, `skipped`, `xfailed` or `xpassed`."""
    started: bool = False
    """The test program started and spoke, whatever it found."""
    problem: str = ""
    """Why the results say nothing though there are some: cut short, contradicted."""
    forged: list[str] = field(default_factory=list)
    """Signs that something else than the test program spoke, a sentence each."""
    log: str = ""
    """The end of what the command printed."""


def cut_short(execution: Execution) -> str:
    """Why a run did not come to its own end; empty when it did."""
    if execution.timed_out or execution.killed:
        return f"the run was ended: {execution.killed or 'time'}"
    return f"the results are over {KEPT >> 20} MiB" if execution.truncated_bytes else ""
