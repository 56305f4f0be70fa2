"""Scores of a group -> how much better than expected each attempt and each of its steps was, for a policy gradient.

Group-normalised scores are those of GRPO (Shao et al., 2024, arXiv 2402.03300); several objectives are each normalised
on their own before they are added, so that none drowns the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from msgspec.structs import replace

from rft.select.candidate import Candidate
from rft.select.teaching import Taught
from rft.types import Example

SCORE, RESOLVED = "score", "resolved"
ALIKE = 1e-9


@dataclass(kw_only=True)
class Advantages:
    """Each step becomes likelier or less likely by as much as it was better or worse than the group's others (grpo)."""

    objectives: dict[str, float] = field(default_factory=lambda: {SCORE: 1.0})
    """What is wanted, with weights: `score`, `resolved`, or a criterion of the rubric by its verdict; below 0 for what
    is not wanted. Each is normalised within the group by itself: less the mean, over the standard deviation."""
    scale: bool = True
    """Whether to divide by the standard deviation."""
    step_rewards: dict[str, float] = field(default_factory=dict)
    """Criterion to the reward, or below 0 the price, of each step that shows it. A step has the rewards from itself on,
    less what the group's other attempts had on average from the same step on."""

    @property
    def criteria(self) -> list[str]:
        """Those that it reads."""
        return [name for name in (*self.objectives, *self.step_rewards) if name not in (SCORE, RESOLVED)]

    def __call__(self, group: Sequence[Candidate]) -> Taught:
        """The attempts' examples with an advantage for each span; a group that tells nothing apart is dropped."""
        dropped = {c.id: f"{name} is unknown" for c in group for name in self.objectives if value(c, name) is None}
        dropped |= {c.id: "log-probabilities of what it drew were not recorded" for c in group if not _recorded(c)}
        known = [c for c in group if c.id not in dropped]
        if len(known) < 2:
            return Taught(examples=[], dropped=dropped | {c.id: "nothing to compare it with" for c in known})
        whole = self._normalised(known)
        steps = steps_ahead([self._rewards(c) for c in known])
        examples = [
            example
            for place, candidate in enumerate(known)
            for example in self._examples(candidate, whole[place], steps[place])
        ]
        taught = {example.trajectory_id for example in examples}
        return Taught(
            examples=examples,
            dropped=dropped | {c.id: "no better and no worse than its group" for c in known if c.id not in taught},
        )

    def _normalised(self, group: Sequence[Candidate]) -> list[float]:
        total = [0.0] * len(group)
        for name, weight in self.objectives.items():
            values = [float(value(c, name) or 0.0) for c in group]
            total = [t + weight * n for t, n in zip(total, normalised(values, scale=self.scale), strict=True)]
        return total

    def _rewards(self, candidate: Candidate) -> list[float]:
        """Of each step of an attempt, in order."""
        shown = candidate.shown(self.step_rewards)
        return [sum(self.step_rewards[name] for name in shown.get(s.index, [])) for s in candidate.trajectory.steps]

    def _examples(self, candidate: Candidate, whole: float, steps: Sequence[float]) -> list[Example]:
        place = {step.index: number for number, step in enumerate(candidate.trajectory.steps)}
        found = []
        for example in candidate.examples:
            weights = [whole + (steps[place[step]] if step in place else 0.0) for step in example.steps]
            if any(abs(weight) > ALIKE for weight in weights):
                found.append(replace(example, weights=weights))
        return found


def _recorded(candidate: Candidate) -> bool:
    """Whether there is a log-probability of every learnt token, which a policy gradient compares with."""
    return all(example.logprobs or not example.spans for example in candidate.examples)


def value(candidate: Candidate, objective: str) -> float | None:
    """How far an attempt meets an objective; None when unknown."""
    if objective == SCORE:
        return candidate.score
    if objective == RESOLVED:
        outcome = candidate.trajectory.outcome
        return None if outcome is None or outcome.resolved is None else float(outcome.resolved)
    verdicts = candidate.report.verdicts if candidate.report else []
    return next((verdict.value for verdict in verdicts if verdict.criterion == objective), None)


def normalised(values: Sequence[float], *, scale: bool = True) -> list[float]:
    """Less their mean, over their standard deviation (of a sample); all 0 where they are alike."""
    mean = fmean(values)
    spread = stdev(values) if len(values) > 1 else 0.0
    if spread <= ALIKE:
        return [0.0] * len(values)
    return [(value - mean) / (spread if scale else 1.0) for value in values]


def steps_ahead(rewards: Sequence[Sequence[float]]) -> list[list[float]]:
    """Of each attempt's steps: the rewards from it on, less the mean of the *other* attempts' from the same step on.

    An attempt that has ended has 0 ahead of it and stays in that mean. So how many terms a step's baseline has, and
    what they are, does not depend on what the attempt itself did, its stopping included: the gradient's expectation is
    that of the rewards alone. A mean over those that are still going lacks this: where the policy decides when to stop
    it pays for every further turn.
    """
    ahead = [[sum(own[step:]) for step in range(len(own))] for own in rewards]
    others = len(rewards) - 1

    def rest(step: int, but: int) -> float:
        return sum(row[step] for number, row in enumerate(ahead) if number != but and step < len(row))

    return [
        [value - rest(step, number) / others if others else 0.0 for step, value in enumerate(row)]
        for number, row in enumerate(ahead)
    ]
