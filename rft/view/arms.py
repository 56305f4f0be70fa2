"""Arms of an experiment held against a control arm: evaluations and manifests on disk in, one typed record out."""

from collections.abc import Mapping, Sequence

import numpy as np

from reward_models.types import Polarity
from rft.errors import StageError
from rft.evaluate import read_report, statistics
from rft.evaluate.stage import measure
from rft.evaluate.statistics import Array, Values
from rft.evaluate.summary import CRITERION, PLAIN, Measured
from rft.rundir import Run
from rft.types import Record

START = "start"
"""The starting policy, shown beside the arms."""


class Cell(Record, frozen=True, kw_only=True):
    """One metric of one arm on one split."""

    value: float | None
    """Mean over seeds of the mean over tasks; None when nothing is known."""
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    """Against the control arm; None for the control itself and where its value is 0."""
    ratio_low: float | None = None
    ratio_high: float | None = None
    by_seed: list[float | None] = []


class Arm(Record, frozen=True, kw_only=True):
    """How much work an arm did: means over seeds, sums over rounds."""

    name: str
    seeds: list[int]
    rounds: int
    attempts: float
    kept: float
    examples: float
    learnt_tokens: float
    seconds: float


class Comparison(Record, frozen=True, kw_only=True):
    """Arms against a control arm, after their last rounds."""

    name: str
    control: str
    arms: list[Arm]
    """The starting policy first."""
    criteria: dict[str, Polarity]
    splits: dict[str, dict[str, dict[str, Cell]]]
    """Split to metric to arm to cell."""


def compare(name: str, runs: Mapping[str, Sequence[Run]], *, control: str) -> Comparison:
    """Hold the arms' last evaluations against the control's; the runs of an arm differ in their seeds.

    Intervals are percentiles of a bootstrap over tasks crossed with seeds, the same draws for every arm, so that
    ratios are paired. Raises StageError when a run has not been evaluated after its last round.
    """
    criteria: dict[str, Polarity] = {}
    found: dict[str, list[dict[str, Measured]]] = {}
    for arm, of_arm in runs.items():
        found[arm] = [_measured(run, run.recipe.rounds, criteria) for run in of_arm]
    arms = [_arm(arm, of_arm) for arm, of_arm in runs.items()]
    if all(run.recipe.rounds for of_arm in runs.values() for run in of_arm):
        found = {START: [_measured(run, 0, criteria) for run in next(iter(runs.values()))], **found}
        seeds = [run.recipe.seed for run in next(iter(runs.values()))]
        arms = [_idle(START, seeds), *arms]
    splits = list(dict.fromkeys(split for seeds in found.values() for measured in seeds for split in measured))
    metrics = [*PLAIN, *(CRITERION + name for name in criteria)]
    return Comparison(
        name=name,
        control=control,
        arms=arms,
        criteria=criteria,
        splits={split: {metric: _cells(found, split, metric, control) for metric in metrics} for split in splits},
    )


def _measured(run: Run, round: int, criteria: dict[str, Polarity]) -> dict[str, Measured]:
    stage = run.stage(round, "evaluate")
    report = read_report(stage)
    if report is None:
        raise StageError(f"{stage.path}: not finished; a comparison reads it. Run the comparison again.")
    criteria |= report.criteria
    return measure(stage, report.criteria)


def _cells(found: Mapping[str, list[dict[str, Measured]]], split: str, metric: str, control: str) -> dict[str, Cell]:
    tables: dict[str, list[Values]] = {
        arm: [measured[split].values.get(metric, {}) if split in measured else {} for measured in seeds]
        for arm, seeds in found.items()
    }
    tasks = sorted({task for of_arm in tables.values() for table in of_arm for task in table})
    if not tasks:
        return dict.fromkeys(tables, Cell(value=None))
    draws = {arm: statistics.crossed_draws(of_arm, tasks) for arm, of_arm in tables.items()}
    values = {arm: [statistics.rate(table).value for table in of_arm] for arm, of_arm in tables.items()}
    return {
        arm: _cell(values[arm], draws[arm], values[control], draws[control], of_arm, is_control=arm == control)
        for arm, of_arm in tables.items()
    }


def _cell(
    by_seed: list[float | None],
    draws: Array,
    control_by_seed: list[float | None],
    control_draws: Array,
    tables: list[Values],
    *,
    is_control: bool,
) -> Cell:
    value, base = _mean(by_seed), _mean(control_by_seed)
    if value is None:
        return Cell(value=None, by_seed=by_seed)
    low, high = _interval(draws, tables)
    cell = Cell(value=value, low=low, high=high, by_seed=by_seed)
    if is_control or not base:
        return cell
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = draws / control_draws
    known = ratios[~np.isnan(ratios)]
    ends = np.quantile(known, [0.025, 0.975], method="nearest") if len(known) else [np.nan, np.nan]
    finite = [float(end) if np.isfinite(end) else None for end in ends]
    return Cell(
        value=value,
        low=low,
        high=high,
        by_seed=by_seed,
        ratio=value / base,
        ratio_low=finite[0],
        ratio_high=finite[1],
    )


def _interval(draws: Array, tables: list[Values]) -> tuple[float, float]:
    """Percentiles; where no draw differs, what the tasks alone allow."""
    known = draws[~np.isnan(draws)]
    if not len(known) or np.ptp(known) < 1e-12:
        merged: dict[str, list[float | None]] = {}
        for table in tables:
            for task, values in table.items():
                merged.setdefault(task, []).extend(values)
        estimate = statistics.rate(merged)
        return estimate.low or 0.0, estimate.high if estimate.high is not None else 1.0
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _arm(name: str, runs: Sequence[Run]) -> Arm:
    totals = {"attempts": ("collect", "attempts"), "kept": ("select", "kept"), "examples": ("train", "examples")}
    totals |= {"learnt_tokens": ("train", "learnt_tokens")}
    sums = dict.fromkeys([*totals, "seconds"], 0.0)
    for run in runs:
        for round in range(1, run.recipe.rounds + 1):
            for key, (stage, counted) in totals.items():
                manifest = run.stage(round, stage).manifest()
                if manifest is not None:
                    sums[key] += manifest.counts.get(counted, 0) / len(runs)
                    sums["seconds"] += manifest.seconds / len(runs)
    rounds = max(run.recipe.rounds for run in runs)
    return Arm(name=name, seeds=[run.recipe.seed for run in runs], rounds=rounds, **sums)


def _idle(name: str, seeds: list[int]) -> Arm:
    return Arm(name=name, seeds=seeds, rounds=0, attempts=0, kept=0, examples=0, learnt_tokens=0, seconds=0)
