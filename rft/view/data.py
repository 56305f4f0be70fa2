"""What there is to show of a run: reads manifests, reports and funnels, and records only where they are shown."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from reward_models.types import Polarity, Report, Verdict
from rft.errors import RecipeError, StoreError, did_you_mean
from rft.evaluate import markdown, read_report
from rft.evaluate.judging import METRIC as KAPPA
from rft.evaluate.statistics import Estimate
from rft.evaluate.summary import CRITERION, EvaluationReport
from rft.rundir import STAGES, Manifest, Run
from rft.score.audit import Reading, alarm_of, reading_of
from rft.select.stage import BROKE_DOWN, FunnelRow
from rft.store import Records
from rft.types import Decision, Example, Trajectory

MAX_ATTEMPTS = 500
"""Rows of a tracker's table of attempts; all of them stand in the run's files."""


@dataclass(kw_only=True)
class Round:
    """One round, as far as it has come."""

    number: int
    manifests: dict[str, Manifest] = field(default_factory=dict)
    """The finished stages."""
    unfinished: dict[str, str] = field(default_factory=dict)
    """Stages that were begun and have no manifest, with what is there."""
    evaluation: EvaluationReport | None = None
    funnel: list[FunnelRow] = field(default_factory=list)

    def count(self, stage: str, name: str) -> int | None:
        """A count of a finished stage; None where there is none."""
        manifest = self.manifests.get(stage)
        return manifest.counts.get(name) if manifest is not None else None

    def metric(self, stage: str, name: str) -> float | None:
        """A metric of a finished stage; None where there is none."""
        manifest = self.manifests.get(stage)
        return manifest.metrics.get(name) if manifest is not None else None

    @property
    def seconds(self) -> float:
        """What the finished stages took."""
        return sum(manifest.seconds for manifest in self.manifests.values())


@dataclass(kw_only=True)
class RunData:
    """A run, as far as it has come."""

    name: str
    planned: dict[int, tuple[str, ...]]
    """The stages of each round that the recipe asks for."""
    rounds: list[Round]

    @property
    def evaluations(self) -> list[EvaluationReport]:
        """Of the rounds that have one, in order."""
        return [round.evaluation for round in self.rounds if round.evaluation is not None]

    @property
    def result(self) -> EvaluationReport | None:
        """Of the policy that the run has come to: the newest that was promoted."""
        return next((report for report in reversed(self.evaluations) if report.promoted), None)

    @property
    def measured(self) -> str:
        """What its policy is measured by first: tasks resolved, or a judge's agreement."""
        found = [name for report in self.evaluations for split in report.splits.values() for name in split.metrics]
        return KAPPA if KAPPA in found else "resolved"

    @property
    def criteria(self) -> dict[str, Polarity]:
        """The rubric's criteria, as the newest evaluation names them."""
        return self.evaluations[-1].criteria if self.evaluations else {}

    @property
    def splits(self) -> list[str]:
        """Every split that was evaluated, the promoting one first."""
        return list(dict.fromkeys(split for report in self.evaluations for split in report.splits))

    @property
    def alarms(self) -> list[str]:
        """One line for each round whose audit parted from its scores."""
        scores = [(round.number, round.manifests.get("score")) for round in self.rounds]
        by_number = dict(scores)
        return [alarm for number, now in scores if (alarm := alarm_of(by_number.get(number - 1), now))]

    @property
    def audits(self) -> list[tuple[int, Reading]]:
        """Round and what its audit found, where there was one."""
        readings = [(round.number, reading_of(round.manifests.get("score"))) for round in self.rounds]
        return [(number, reading) for number, reading in readings if reading.audit is not None]

    @property
    def finished(self) -> int:
        """How many training rounds have every stage that the recipe asks for."""
        return sum(
            set(self.planned.get(round.number, STAGES)) <= round.manifests.keys()
            for round in self.rounds
            if round.number
        )

    def missing(self) -> list[str]:
        """One line for each round that lacks a stage that the recipe asks for."""
        lines = []
        by_number = {round.number: round for round in self.rounds}
        for number, stages in self.planned.items():
            round = by_number.get(number, Round(number=number))
            owed = [stage for stage in stages if stage not in round.manifests]
            begun = [f"{stage} begun: {round.unfinished[stage]}" for stage in owed if stage in round.unfinished]
            if owed:
                note = f" ({'; '.join(begun)})" if begun else ""
                lines.append(f"round {number}: {', '.join(owed)} missing{note}")
        return lines


def metric(report: EvaluationReport | None, split: str, name: str) -> Estimate | None:
    """A metric of a split; None where the report has none."""
    found = report.splits.get(split) if report is not None else None
    return found.metrics.get(name) if found is not None else None


def change_of(run: RunData, name: str) -> Estimate | None:
    """A criterion's paired difference from the first evaluation to the last, on the first split."""
    first, last = run.evaluations[0], run.evaluations[-1]
    found = last.splits.get(run.splits[0])
    return found.differences.get(first.round, {}).get(CRITERION + name) if found is not None else None


def tone(change: Estimate | None, polarity: Polarity) -> str:
    """`good` or `bad` where the interval leaves no doubt of the direction, else nothing."""
    if change is None or change.value is None or change.low is None or change.high is None:
        return ""
    if change.low <= 0 <= change.high:
        return ""
    return "good" if (change.value > 0) == (polarity == "encourage") else "bad"


@dataclass(kw_only=True)
class Shown:
    """One attempt with everything that is known about it."""

    trajectory: Trajectory
    report: Report | None = None
    decision: Decision | None = None
    learnt: dict[str, int] = field(default_factory=dict)
    """Example id to its learnt tokens; empty when nothing is learnt from the attempt."""
    steps: dict[int, float] = field(default_factory=dict)
    """Step to its weight in what is learnt, below 0 where it is to become less likely; a step that is only read, as
    one that a verdict masks is, is not in it."""

    def citing(self, step: int) -> list[str]:
        """Criteria whose verdict cites a step."""
        return [verdict.criterion for verdict in (self.report.verdicts if self.report else []) if step in verdict.steps]


def gather(run: Run) -> RunData:
    """Everything that is finished, and what is not."""
    planned: dict[int, tuple[str, ...]] = {}
    for number, stage in run.plan():
        planned[number] = (*planned.get(number, ()), stage)
    return RunData(name=run.recipe.name, planned=planned, rounds=[_round(run, number) for number in run.rounds()])


def audit_table(run: RunData) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row for each round with an audit."""
    header = ["round", "rubric's score", "audit's score", "gap", "resolved", "area under the curve"]
    rows = []
    for number, found in run.audits:
        cells = [found.rubric, found.audit, found.gap, found.resolved, found.separation]
        rows.append([str(number), *("–" if value is None else f"{value:.3f}" for value in cells)])
    return header, rows


def agreement_table(run: RunData) -> tuple[list[str], list[list[str]]]:
    """Header and rows: how far a judge that was trained agrees with its labels, by split and question."""
    header = ["split", "question", "attempts", "labelled yes", "agreement", "kappa", "unknown"]
    rows = []
    for split, found in (run.result.splits if run.result is not None else {}).items():
        for name, kappa in found.metrics.items():
            kind, _, question = name.partition("/")
            if kind == KAPPA and question:
                yes, agreed = (found.metrics[f"{metric}/{question}"].value for metric in ("yes", "agreement"))
                shares = ["–" if value is None else f"{100 * value:.0f} %" for value in (yes, agreed)]
                rows.append([split, question, str(kappa.attempts), *shares, markdown.rate(kappa), str(kappa.unknown)])
    return header, rows


def verdict_table(run: RunData) -> tuple[list[str], list[list[str]]]:
    """Header and rows: for each round that was scored by a judge or has unknown verdicts, what became of them."""
    rounds = [round for round in run.rounds if round.count("score", "calls") or round.count("score", "unknown")]
    manifests = [round.manifests["score"] for round in rounds]
    start = "unknown_"
    causes = sorted({name.removeprefix(start) for one in manifests for name in one.counts if name.startswith(start)})
    header = ["round", "verdicts", "unknown", *(f"by {cause}" for cause in causes), "calls", "from cache", "paid"]
    names = ["verdicts", "unknown", *(start + cause for cause in causes), "calls", "cached"]
    rows = [
        [
            str(round.number),
            *(f"{manifest.counts.get(name, 0):,}" for name in names),
            f"{manifest.metrics['money']:.2f}" if "money" in manifest.metrics else "–",
        ]
        for round, manifest in zip(rounds, manifests, strict=True)
    ]
    return header, rows


def tables(run: RunData) -> dict[str, tuple[list[str], list[list[str | float | int | None]]]]:
    """Name to columns and rows, for trackers: the rounds' held-out metrics and the funnel."""
    estimates: list[list[str | float | int | None]] = [
        [report.round, split, metric, one.value, one.low, one.high, one.tasks, one.unknown]
        for report in run.evaluations
        for split, found in report.splits.items()
        for metric, one in found.metrics.items()
    ]
    funnel: list[list[str | float | int | None]] = [
        [round.number, row.rule, row.before, row.dropped, row.after] for round in run.rounds for row in round.funnel
    ]
    return {
        "evaluations": (["round", "split", "metric", "value", "low", "high", "tasks", "unknown"], estimates),
        "funnel": (["round", "rule", "before", "dropped", "after"], funnel),
    }


def attempts(run: Run, round: int, stage: str) -> tuple[list[str], list[list[str | float | int | None]]]:
    """Columns and rows: the first attempts of collect or evaluate, a column for each criterion of their reports.

    A verdict is a number, or the word unknown with its cause; None where the criterion did not apply.
    """
    records = _sound(Records(run.stage(round, stage).path / "trajectories.jsonl", Trajectory))
    found = list(_complete(run, round, stage, {one.id: one for one in islice(records, MAX_ATTEMPTS)}).values())
    verdicts = [{one.criterion: one for one in (shown.report.verdicts if shown.report else [])} for shown in found]
    criteria = list(dict.fromkeys(name for each in verdicts for name in each))
    rows = [
        _facts(shown) + [_verdict(each.get(name)) for name in criteria]
        for shown, each in zip(found, verdicts, strict=True)
    ]
    return ["attempt", "steps", "stop", "failure", "resolved", "score", "kept", *criteria], rows


def _facts(shown: Shown) -> list[str | float | int | None]:
    attempt, decision = shown.trajectory, shown.decision
    kept = None if decision is None else "kept" if decision.keep else decision.rule
    resolved = attempt.outcome.resolved if attempt.outcome is not None else None
    score = shown.report.score if shown.report is not None else None
    failure = attempt.failure.where if attempt.failure is not None else None
    return [attempt.id, len(attempt.steps), attempt.stop, failure, resolved, score, kept]


def _verdict(verdict: Verdict | None) -> str | float | None:
    if verdict is None:
        return None
    return f"unknown: {verdict.cause}" if verdict.value is None else verdict.value


def _round(run: Run, number: int) -> Round:
    round = Round(number=number)
    for name in STAGES:
        stage = run.stage(number, name)
        manifest = stage.manifest()
        if manifest is not None:
            round.manifests[name] = manifest
        elif stage.path.is_dir():
            round.unfinished[name] = _progress(stage.path)
    round.evaluation = read_report(run.stage(number, "evaluate"))
    funnel = run.stage(number, "select").path / "funnel.json"
    if funnel.exists():
        try:
            round.funnel = msgspec.json.decode(funnel.read_bytes(), type=list[FunnelRow])
        except msgspec.DecodeError as error:
            raise StoreError(f"{funnel}: damaged ({error}). Redo the stage with --redo.") from None
    return round


def _progress(folder: Path) -> str:
    """How many records an unfinished stage holds, by lines: nothing is decoded."""
    counts = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            counts.append(f"{sum(1 for _ in file)} {path.stem}")
    return ", ".join(counts) or "nothing stored yet"


def find(run: Run, identity: str) -> Shown:
    """One attempt by its id, wherever it lies. Raises RecipeError with the nearest id when there is none."""
    known: list[str] = []
    for number in run.rounds():
        for stage in ("collect", "evaluate"):
            for trajectory in _sound(Records(run.stage(number, stage).path / "trajectories.jsonl", Trajectory)):
                if trajectory.id == identity:
                    return _complete(run, number, stage, {identity: trajectory})[identity]
                known.append(trajectory.id)
    hint = did_you_mean(identity, known[:5000]) or (f" One of them is '{known[0]}'." if known else "")
    raise RecipeError(
        f"{identity}: not among the {len(known)} attempts of {run.path}; expected task/round/sample.{hint}"
    )


def _complete(run: Run, number: int, stage: str, trajectories: dict[str, Trajectory]) -> dict[str, Shown]:
    """Attempts with their reports, decisions and learnt tokens, one pass over each file."""
    reports = run.stage(number, "score" if stage == "collect" else "evaluate").path / "reports.jsonl"
    shown = {identity: Shown(trajectory=trajectory) for identity, trajectory in trajectories.items()}
    for report in _sound(Records(reports, Report)):
        if report.id in shown:
            shown[report.id].report = report
    if stage == "collect":
        select = run.stage(number, "select").path
        for decision in _sound(Records(select / "decisions.jsonl", Decision)):
            if decision.id in shown:
                shown[decision.id].decision = decision
        for example in _sound(Records(select / "examples.jsonl", Example)):
            if example.trajectory_id in shown:
                tokens = sum(end - start for start, end in example.spans)
                shown[example.trajectory_id].learnt[example.id] = tokens
                shown[example.trajectory_id].steps |= step_weights(example)
    return shown


def step_weights(example: Example) -> dict[int, float]:
    """Step to how much it counts in the loss; below 0 where it is to become less likely."""
    weights = example.weights or [-1.0 if example.good is False else 1.0] * len(example.steps)
    return dict(zip(example.steps, weights, strict=False))


@dataclass(kw_only=True)
class Selection:
    """What a round's selection did, by score."""

    round: int
    kept: list[float]
    """Scores of the attempts that were kept."""
    dropped: list[float]
    unscored: int
    """Attempts without a score."""
    samples: list[tuple[str, Shown]]
    """A few attempts, each under a title that says why it is shown."""


def selection(run: Run, round: int) -> Selection:
    """Scores of all, and some attempts in full: the best kept, the best dropped, a common drop, a breakdown."""
    select, score = run.stage(round, "select"), run.stage(round, "score")
    decisions = {d.id: d for d in _sound(Records(select.path / "decisions.jsonl", Decision))}
    scores = {r.id: r.score for r in _sound(Records(score.path / "reports.jsonl", Report)) if r.id in decisions}
    known = {identity: value for identity, value in scores.items() if value is not None}
    wanted = _picks(decisions, known)
    found = {
        trajectory.id: trajectory
        for trajectory in _sound(Records(run.stage(round, "collect").path / "trajectories.jsonl", Trajectory))
        if trajectory.id in wanted
    }
    shown = _complete(run, round, "collect", found)
    return Selection(
        round=round,
        kept=[value for identity, value in known.items() if decisions[identity].keep],
        dropped=[value for identity, value in known.items() if not decisions[identity].keep],
        unscored=len(decisions) - len(known),
        samples=[(title, shown[identity]) for identity, title in wanted.items() if identity in shown],
    )


def _picks(decisions: dict[str, Decision], scores: dict[str, float]) -> dict[str, str]:
    """Id to why it is worth a look; ties go to the smallest id, so that the choice is always the same."""
    picks: dict[str, str] = {}

    def pick(title: str, candidates: list[str]) -> None:
        left = sorted(set(candidates) - picks.keys(), key=lambda identity: (-scores.get(identity, -1.0), identity))
        if left:
            picks[left[0]] = title

    dropped: dict[str, list[str]] = {}
    for decision in decisions.values():
        if not decision.keep:
            dropped.setdefault(decision.rule, []).append(decision.id)
    broke = dropped.pop(BROKE_DOWN, [])
    pick("Best of those kept", [d.id for d in decisions.values() if d.keep])
    pick("Best of those dropped", [identity for ids in dropped.values() for identity in ids])
    rule, ids = max(dropped.items(), key=lambda item: (len(item[1]), item[0]), default=("", []))
    pick(f"Dropped by {rule}, the rule that dropped most", ids)
    pick("Broke down", broke)
    return picks


T = TypeVar("T")


def _sound(records: Records[T]) -> Iterator[T]:
    """Records up to the first damaged one: a stage that is still written, or was killed, may end in half a line."""
    with contextlib.suppress(StoreError):
        yield from records
