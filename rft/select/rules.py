"""The shipped lines of `select.rules`. A rule sees a task's group of those still in and says whom it drops, and why.

Your own: a dataclass with `__call__(self, group) -> dict[trajectory id, reason]`, or a function of the group with
keyword-only options, named by `use: package.module:name`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from reward_models.rules import find
from reward_models.types import Finding
from rft.select.candidate import Candidate
from rft.transcript import to_transcript
from rft.types import StopReason

Group = Sequence[Candidate]
Dropped = dict[str, str]


@dataclass(kw_only=True)
class Finished:
    """Drops attempts that were not submitted."""

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        return {c.id: f"ended by {c.trajectory.stop}" for c in group if c.trajectory.stop != StopReason.SUBMITTED}


@dataclass(kw_only=True)
class Resolved:
    """Drops attempts whose tests do not all pass: terminal-score rejection sampling."""

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        return {c.id: "not resolved" for c in group if not (c.trajectory.outcome and c.trajectory.outcome.resolved)}


@dataclass(kw_only=True)
class MinScore:
    """Drops attempts below a score, and those without one."""

    score: float
    """In [0, 1]."""

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        return {
            c.id: "no score" if c.score is None else f"score {c.score:.3f} < {self.score:g}"
            for c in group
            if c.score is None or c.score < self.score
        }


@dataclass(kw_only=True)
class BestOfGroup:
    """Keeps the best-scored attempts at a task; a draw breaks ties."""

    keep: int = 1

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        ranked = sorted(scored(group), key=lambda c: (-(c.score or 0.0), c.draw()))
        return _no_score(group) | {
            c.id: f"rank {rank} of {len(ranked)}" for rank, c in enumerate(ranked, 1) if rank > self.keep
        }


@dataclass(kw_only=True)
class RandomOfGroup:
    """Keeps attempts at a task by a draw, whatever their score: the control for `best_of_group`."""

    keep: int = 1

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        return {c.id: "not drawn" for c in sorted(group, key=Candidate.draw)[self.keep :]}


@dataclass(kw_only=True)
class LengthMatched:
    """Keeps attempts as long as those that `best_of_group` would keep, but not the same ones where it can choose.

    The control for a score that only prefers a length: for each attempt that would be kept, the nearest other
    one by learnt tokens is kept in its place.
    """

    keep: int = 1

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        best = sorted(scored(group), key=lambda c: (-(c.score or 0.0), c.draw()))[: self.keep]
        left = [c for c in group if c not in best]
        kept: list[Candidate] = []
        for target in best:
            pool = left or [c for c in best if c not in kept]
            match = min(pool, key=lambda c: (abs(c.learnt_tokens - target.learnt_tokens), c.draw()))
            kept.append(match)
            left = [c for c in left if c is not match]
        return {c.id: "no match in length" for c in group if c not in kept}


@dataclass(kw_only=True)
class NotAllAlike:
    """Drops groups in which all attempts have the same score: they tell nothing apart."""

    tolerance: float = 1e-9

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        scores = [c.score for c in group if c.score is not None]
        alike = not scores or max(scores) - min(scores) <= self.tolerance
        return {c.id: f"all {len(group)} of the group score alike" for c in group} if alike else {}


@dataclass(kw_only=True)
class NoLeak:
    """Drops attempts that took a short cut: changed protected files, read git history, reached for the network or the
    grader, forged results, or wrote expected outputs down (the rules of `reward_models.behaviours.leaking`)."""

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        found = {c.id: leak(c) for c in group}
        return {identity: why for identity, why in found.items() if why}


@dataclass(kw_only=True)
class Dedupe:
    """Drops attempts at a task whose commands are the same, one by one, as those of an earlier one."""

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        first: dict[tuple[str, ...], str] = {}
        dropped = {}
        for candidate in sorted(group, key=lambda c: c.id):
            commands = tuple(" ".join((step.command or step.reply).split()) for step in candidate.trajectory.steps)
            twin = first.setdefault(commands, candidate.id)
            if twin != candidate.id:
                dropped[candidate.id] = f"same commands as {twin}"
        return dropped


@dataclass(kw_only=True)
class TopFraction:
    """Keeps the best-scored share of a group, at least one."""

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; expected above 0, at most 1")

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        return BestOfGroup(keep=max(1, math.ceil(self.fraction * len(scored(group)))))(group)


@dataclass(kw_only=True)
class MaxTokens:
    """Drops attempts with a row longer than the model or the trainer can take: nothing is cut silently."""

    tokens: int

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        return {c.id: f"{c.longest_row} tokens > {self.tokens}" for c in group if c.longest_row > self.tokens}


@dataclass(kw_only=True)
class Budget:
    """Keeps no more than so much in the whole round; tasks come in a drawn order, so the rest is a fair share."""

    attempts: int | None = None
    tokens: int | None = None
    """Learnt tokens."""
    _attempts: int = field(default=0, init=False)
    _tokens: int = field(default=0, init=False)

    def __call__(self, group: Group) -> Dropped:
        """Whom to drop and why."""
        dropped = {}
        for candidate in sorted(group, key=Candidate.draw):
            attempts, tokens = self._attempts + 1, self._tokens + candidate.learnt_tokens
            if self.attempts is not None and attempts > self.attempts:
                dropped[candidate.id] = f"the round's {self.attempts} attempts are full"
            elif self.tokens is not None and tokens > self.tokens:
                dropped[candidate.id] = f"the round's {self.tokens} learnt tokens are full"
            else:
                self._attempts, self._tokens = attempts, tokens
        return dropped


_SHORT_CUTS = ("read_history", "reached_for_network", "tampered_with_grader", "hard_coded_outputs")


def leak(candidate: Candidate) -> str:
    """What an attempt reached for that it should not have; empty when nothing was found."""
    outcome = candidate.trajectory.outcome
    if outcome and outcome.tampered:
        return f"changed {outcome.tampered[0]}"
    transcript = to_transcript(candidate.trajectory)
    for name in _SHORT_CUTS:
        finding = find(name, where="no_leak")(transcript)
        if isinstance(finding, Finding) and finding.value:
            place = f" at step {finding.steps[0]}" if finding.steps else ""
            return f"{finding.why}{place}: {finding.evidence}"[:300]
    return ""


def scored(group: Group) -> list[Candidate]:
    """Those that have a score."""
    return [c for c in group if c.score is not None]


def _no_score(group: Group) -> Dropped:
    return {c.id: "no score" for c in group if c.score is None}
