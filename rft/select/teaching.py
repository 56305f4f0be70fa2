"""The plug-ins behind `select.teach`: what a task's kept attempts teach, as examples of the kind that a trainer reads.

A teaching sees the group that the rules left in. It makes examples, and names the attempts that teach nothing, with the
reason: they are counted as dropped by `teach`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, Protocol

from msgspec.structs import replace

from rft.select.candidate import Candidate
from rft.types import Example

NO_SCORE = "no score"


@dataclass(frozen=True, kw_only=True)
class Taught:
    """What a group taught."""

    examples: list[Example]
    dropped: dict[str, str] = field(default_factory=dict)
    """Trajectory id to why nothing is learnt from it."""


class Teaching(Protocol):
    """The plug-in behind `select.teach`. Criteria that it names in a `criteria` are checked against the rubric."""

    def __call__(self, group: Sequence[Candidate]) -> Taught:
        """Examples of a task's kept attempts."""


@dataclass(kw_only=True)
class Imitate:
    """Every kept attempt is imitated (sft)."""

    weight: Literal["alike", "score"] = "alike"
    """`score`: an attempt counts as much as its score."""
    step_weights: dict[str, float] = field(default_factory=dict)
    """Criterion to what the steps that show it are multiplied by: below 1 for what should be learnt less."""

    def __post_init__(self) -> None:
        for name, weight in self.step_weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"step_weights.{name} is {weight}; expected above 0, or the name in select.mask_steps")

    @property
    def criteria(self) -> list[str]:
        """Those that it reads."""
        return list(self.step_weights)

    def __call__(self, group: Sequence[Candidate]) -> Taught:
        """The attempts' own examples, with their weights."""
        dropped = {}
        if self.weight == "score":
            dropped = {
                c.id: NO_SCORE if c.score is None else "its score of 0 is its weight" for c in group if not c.score
            }
        kept = [c for c in group if c.id not in dropped]
        return Taught(examples=[self._weighed(c, e) for c in kept for e in c.examples], dropped=dropped)

    def _weighed(self, candidate: Candidate, example: Example) -> Example:
        example = replace(example, logprobs=[])
        factor = 1.0 if self.weight == "alike" else float(candidate.score or 0.0)
        shown = candidate.shown(self.step_weights)
        weights = [factor] * len(example.spans)
        for place, step in enumerate(example.steps):
            for criterion in shown.get(step, []):
                weights[place] *= self.step_weights[criterion]
        return example if all(weight == 1.0 for weight in weights) else replace(example, weights=weights)


@dataclass(kw_only=True)
class Pairs:
    """Of a task's attempts the best is set against the worst, the second best against the second worst … (dpo)."""

    margin: float = 0.0
    """The scores of a pair differ by more than this."""
    keep: int | None = None
    """The most pairs of a task, those that differ most; all of them when left out."""

    def __post_init__(self) -> None:
        _check_pairing(self.margin, self.keep)

    def __call__(self, group: Sequence[Candidate]) -> Taught:
        """Two examples a pair. An attempt of several token rows is in none: a side is one row."""
        single, dropped = _comparable(group)
        ranked = sorted(single, key=lambda c: (-(c.score or 0.0), c.draw()))
        pairs = [
            (better, worse)
            for better, worse in zip(ranked, reversed(ranked), strict=True)
            if (better.score or 0.0) - (worse.score or 0.0) > self.margin
        ][: self.keep]
        sides = [side for pair in pairs for side in _sides(*(c.examples[0] for c in pair))]
        return Taught(examples=sides, dropped=dropped | _unpaired(single, pairs))


@dataclass(kw_only=True)
class StepPairs:
    """Attempts that took the same first steps and then parted: learnt from where they part (dpo)."""

    shared: int = 1
    """The least number of steps that both have in common, token for token, before they part."""
    margin: float = 0.0
    """The scores of a pair differ by more than this."""
    keep: int | None = None
    """The most pairs of a task, those that go together longest; all of them when left out."""
    learn: Literal["step", "rest"] = "step"
    """The first step that differs, or all that follows as well."""

    def __post_init__(self) -> None:
        _check_pairing(self.margin, self.keep)

    def __call__(self, group: Sequence[Candidate]) -> Taught:
        """Two examples a pair; an attempt is in one pair at most."""
        single, dropped = _comparable(group)
        found = []
        for one, other in combinations(sorted(single, key=lambda c: (-(c.score or 0.0), c.draw())), 2):
            difference = (one.score or 0.0) - (other.score or 0.0)
            step = parting(one.examples[0], other.examples[0])
            if step is not None and step > self.shared and difference > self.margin:
                found.append((-step, -difference, one.draw(), other.draw(), one, other, step))
        pairs: list[tuple[Candidate, Candidate]] = []
        sides: list[Example] = []
        used: set[str] = set()
        for *_, better, worse, step in sorted(found, key=lambda pair: pair[:4]):
            if not {better.id, worse.id} & used and len(pairs) != self.keep:
                used |= {better.id, worse.id}
                pairs.append((better, worse))
                sides += _sides(*(self._from(c.examples[0], step) for c in (better, worse)))
        return Taught(examples=sides, dropped=dropped | _unpaired(single, pairs))

    def _from(self, example: Example, step: int) -> Example:
        """What is learnt begins at that step; what follows it is cut off where it is not learnt: it has no effect."""
        places = [p for p, s in enumerate(example.steps) if s == step or (self.learn == "rest" and s > step)]
        spans = [example.spans[place] for place in places]
        return replace(
            example, ids=example.ids[: spans[-1][1]], spans=spans, steps=[example.steps[place] for place in places]
        )


def parting(one: Example, other: Example) -> int | None:
    """The step at which two attempts first differ, where both learn it and read the same before; else None."""
    length = min(len(one.ids), len(other.ids))
    first = next((place for place in range(length) if one.ids[place] != other.ids[place]), None)
    if first is None:
        return None
    inside = [
        (step, start)
        for example in (one, other)
        for (start, end), step in zip(example.spans, example.steps, strict=True)
        if start <= first < end
    ]
    return inside[0][0] if len(inside) == 2 and inside[0] == inside[1] else None


@dataclass(kw_only=True)
class Labels:
    """Each attempt is to become likelier or less likely by itself (kto)."""

    good: float = 0.5
    """Attempts with at least this score are to become likelier."""
    bad: float | None = None
    """Attempts with at most this score are to become less likely, and those between teach nothing; all below `good`
    when left out."""

    def __post_init__(self) -> None:
        if self.bad is not None and self.bad >= self.good:
            raise ValueError(f"bad is {self.bad}; expected less than good, {self.good}")

    def __call__(self, group: Sequence[Candidate]) -> Taught:
        """The attempts' own examples, each with its label."""
        examples, dropped = [], {}
        for candidate in group:
            score = candidate.score
            if score is None:
                dropped[candidate.id] = NO_SCORE
            elif self.bad is not None and self.bad < score < self.good:
                dropped[candidate.id] = f"score {score:.3f} is neither good nor bad"
            else:
                examples += [replace(e, good=score >= self.good, logprobs=[]) for e in candidate.examples]
        return Taught(examples=examples, dropped=dropped)


def _check_pairing(margin: float, keep: int | None) -> None:
    if not margin >= 0:
        raise ValueError(f"margin is {margin:g}; expected at least 0: the better side has the higher score")
    if keep is not None and keep < 1:
        raise ValueError(f"keep is {keep}; expected at least 1, or leave it out")


def _comparable(group: Sequence[Candidate]) -> tuple[list[Candidate], dict[str, str]]:
    dropped = {
        c.id: NO_SCORE if c.score is None else f"{len(c.examples)} token rows, and a side of a pair is one"
        for c in group
        if c.score is None or len(c.examples) != 1
    }
    return [c for c in group if c.id not in dropped], dropped


def _sides(better: Example, worse: Example) -> list[Example]:
    pair = f"{better.id} > {worse.id}"
    return [replace(side, good=good, pair=pair, logprobs=[]) for side, good in ((better, True), (worse, False))]


def _unpaired(single: Sequence[Candidate], pairs: Iterable[tuple[Candidate, Candidate]]) -> dict[str, str]:
    used = {c.id for pair in pairs for c in pair}
    return {c.id: "in no pair" for c in single if c.id not in used}
