"""What an evaluation found: records of attempts and verdicts in, one typed report out. Pure; reads no files."""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reward_models.types import Polarity, Report
from rft.errors import RecipeError, did_you_mean
from rft.evaluate import statistics
from rft.evaluate.statistics import Estimate
from rft.types import Record, StopReason, Trajectory

PLAIN = ("resolved", "submitted", "score")
CRITERION = "criterion/"
"""Before a criterion's id in the name of its metric."""


class SplitReport(Record, frozen=True, kw_only=True):
    """What was found on one split."""

    tasks: int
    attempts: int
    failures: int
    """Attempts that broke down; they are left out of everything below."""
    failed_where: dict[str, int] = {}
    """How many broke down at each boundary."""
    metrics: dict[str, Estimate]
    """`resolved`, `submitted`, `score` and `criterion/<id>`."""
    pass_at: dict[int, Estimate] = {}
    stops: dict[str, int] = {}
    """Stop reason to attempts."""
    means: dict[str, float] = {}
    """An attempt's mean `steps`, `prompt_tokens`, `completion_tokens` and `seconds`."""
    differences: dict[int, dict[str, Estimate]] = {}
    """An earlier round to each metric's paired difference, this round minus that one."""


class EvaluationReport(Record, frozen=True, kw_only=True):
    """`5_evaluate/report.json`: a round's policy on held-out tasks."""

    round: int
    policy: str
    splits: dict[str, SplitReport]
    criteria: dict[str, Polarity] = {}
    """The rubric's criteria in its order."""
    incumbent: int | None = None
    """The round whose policy this one had to hold its own against; None for the starting policy."""
    promote_if: str
    promoted: bool
    reason: str
    """Why it was promoted, or why not."""


@dataclass(kw_only=True)
class Measured:
    """The numbers of one split's attempts: small, so that all attempts fit in memory."""

    values: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    """Metric to task to one value an attempt; None is unknown."""
    tasks: set[str] = field(default_factory=set)
    attempts: int = 0
    failed_where: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    totals: dict[str, float] = field(default_factory=dict)
    """Sums over attempts that did not break down."""

    def add(self, trajectory: Trajectory, judged: Mapping[str, float | None]) -> None:
        """Count one attempt with what was `judged` of it; a breakdown is counted as such and as nothing else."""
        self.tasks.add(trajectory.task_id)
        self.attempts += 1
        if trajectory.failure is not None:
            self.failed_where[trajectory.failure.where] += 1
            return
        self.stops[trajectory.stop.value] += 1
        for name, amount in _amounts(trajectory).items():
            self.totals[name] = self.totals.get(name, 0.0) + amount
        for metric, value in {**_facts(trajectory), **judged}.items():
            self.values.setdefault(metric, {}).setdefault(trajectory.task_id, []).append(value)

    @property
    def counted(self) -> int:
        """Attempts that did not break down."""
        return self.attempts - self.failed_where.total()


def measure(
    trajectories: Iterable[Trajectory], reports: Iterable[Report], criteria: Iterable[str]
) -> dict[str, Measured]:
    """Each split's numbers. What a report does not say about one of `criteria` is unknown."""
    names = list(dict.fromkeys(criteria))
    metrics = ["score", *(CRITERION + name for name in names)]
    unknown = (None,) * len(metrics)
    judged = {report.id: _judged(report, names) for report in reports}
    splits: dict[str, Measured] = {}
    for trajectory in trajectories:
        values = judged.get(trajectory.id, unknown)
        splits.setdefault(trajectory.split, Measured()).add(trajectory, dict(zip(metrics, values, strict=True)))
    return splits


def summarise(measured: Measured, earlier: Mapping[int, Measured], *, samples: int, seed: int) -> SplitReport:
    """Rates, pass@k up to `samples`, and paired differences to each earlier round."""
    rate = functools.partial(statistics.rate, seed=seed)
    resolved = measured.values.get("resolved", {})
    return SplitReport(
        tasks=len(measured.tasks),
        attempts=measured.attempts,
        failures=measured.failed_where.total(),
        failed_where=dict(sorted(measured.failed_where.items())),
        metrics={name: rate(values) for name, values in measured.values.items()},
        pass_at={k: statistics.pass_at(resolved, k, seed=seed) for k in range(1, samples + 1)},
        stops=dict(measured.stops.most_common()),
        means={name: total / measured.counted for name, total in measured.totals.items()},
        differences={
            round: {
                name: statistics.difference(values, before.values[name], seed=seed)
                for name, values in measured.values.items()
                if name in before.values
            }
            for round, before in sorted(earlier.items())
        },
    )


def decide(
    promote_if: str, split: SplitReport | None, criteria: Mapping[str, Polarity], incumbent: int | None
) -> tuple[bool, str]:
    """Whether the next round starts from this policy, and why.

    It does unless the metric fell from the policy that it was trained from: its paired difference on the first
    split is below zero, or above zero for a discouraged criterion. What cannot be compared is not promoted.
    """
    if incumbent is None:
        return True, "the starting policy"
    if promote_if == "always":
        return True, "promote_if is always"
    name = CRITERION + promote_if if promote_if in criteria else promote_if
    change = split.differences.get(incumbent, {}).get(name) if split is not None else None
    if change is None or change.value is None:
        return False, f"{promote_if} could not be compared with round {incumbent}: no task is known in both"
    worse = change.value > 0 if criteria.get(promote_if) == "discourage" else change.value < 0
    verb = "rose" if change.value > 0 else "fell" if change.value < 0 else "did not change"
    by = f" by {abs(change.value):.3f} [{change.low:+.3f}, {change.high:+.3f}]" if change.value else ""
    return not worse, f"{promote_if} {verb}{by} against round {incumbent}"


def check_metric(promote_if: str, criteria: Iterable[str]) -> None:
    """Raises RecipeError when `evaluate.promote_if` names nothing that is measured."""
    known = ["always", *PLAIN, *criteria]
    if promote_if not in known:
        raise RecipeError(
            f"evaluate.promote_if: no metric is called '{promote_if}'; expected one of {', '.join(known)}."
            f"{did_you_mean(promote_if, known)}"
        )


def flat(report: EvaluationReport) -> dict[str, float]:
    """The report's numbers under flat names: `heldout/resolved`, `heldout/criterion/<id>`, `heldout/pass@2` …"""
    numbers: dict[str, float] = {}
    for split_name, split in report.splits.items():
        estimates = split.metrics | {f"pass@{k}": estimate for k, estimate in split.pass_at.items() if k > 1}
        numbers |= {
            f"{split_name}/{name}": estimate.value for name, estimate in estimates.items() if estimate.value is not None
        }
        numbers |= {f"{split_name}/mean_{name}": value for name, value in split.means.items()}
        numbers[f"{split_name}/failures"] = split.failures
    return numbers


def _amounts(trajectory: Trajectory) -> dict[str, float]:
    return {
        "steps": len(trajectory.steps),
        "prompt_tokens": sum(step.prompt_tokens for step in trajectory.steps),
        "completion_tokens": sum(step.completion_tokens for step in trajectory.steps),
        "seconds": trajectory.seconds,
    }


def _facts(trajectory: Trajectory) -> dict[str, float | None]:
    resolved = trajectory.outcome.resolved if trajectory.outcome is not None else None
    return {
        "resolved": None if resolved is None else float(resolved),
        "submitted": float(trajectory.stop is StopReason.SUBMITTED),
    }


def _judged(report: Report, criteria: Iterable[str]) -> tuple[float | None, ...]:
    """Score and verdicts as bare numbers, so that the reports of all attempts fit in memory."""
    verdicts = {verdict.criterion: verdict.value for verdict in report.verdicts}
    return (report.score, *(verdicts.get(name) for name in criteria))
