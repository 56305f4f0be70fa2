"""A trajectory as a selection rule sees it."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from reward_models.types import Report
from rft.select.masks import cited
from rft.types import Example, Trajectory


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An attempt with its report and the examples that would be learnt from it."""

    trajectory: Trajectory
    report: Report | None
    """None when the attempt was not scored."""
    examples: list[Example]
    seed: int
    """The recipe's seed, for rules that draw."""
    asked: frozenset[str] = frozenset()
    """Criteria that a judge answered, not a rule."""

    @property
    def id(self) -> str:
        """The trajectory's id."""
        return self.trajectory.id

    @property
    def score(self) -> float | None:
        """The score in [0, 1]; None when unknown."""
        return self.report.score if self.report else None

    def shown(self, criteria: Collection[str]) -> dict[int, list[str]]:
        """Step to those of the criteria that a verdict says it shows."""
        return cited(self.report, criteria, self.asked)

    @property
    def learnt_tokens(self) -> int:
        """Tokens that would be learnt."""
        return sum(end - start for example in self.examples for start, end in example.spans)

    @property
    def longest_row(self) -> int:
        """Tokens of the longest row, context included: what must fit into the model."""
        return max((len(example.ids) for example in self.examples), default=0)

    def draw(self) -> str:
        """A sort key that is a fair draw, the same whenever it is made."""
        return hashlib.sha256(f"{self.seed}/{self.id}".encode()).hexdigest()
