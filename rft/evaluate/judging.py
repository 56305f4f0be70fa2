"""The evaluation of a policy that judges: held-out attempts are made by others and labelled as in training, the policy
judges them, and what is measured is how far the two agree."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from reward_models import agreement
from reward_models import rubric as rubrics
from reward_models.agreement import Disagreement, Measure, Unit
from reward_models.judges.dialogue import UNKNOWN
from reward_models.types import Criterion, Report
from rft import collect, score
from rft.errors import RecipeError
from rft.evaluate import markdown
from rft.evaluate.owed import owed
from rft.evaluate.statistics import Estimate, rate
from rft.evaluate.summary import EvaluationReport, SplitReport, flat
from rft.recipe import Judging, Recipe, Score
from rft.rundir import Run, Stage
from rft.select.lessons import answer_of, judge_of, pupils
from rft.store import Records, write_atomic
from rft.types import Trajectory

LABELS = "reports.jsonl"
VERDICTS = "verdicts.jsonl"
METRIC = "kappa"
"""Cohen's kappa between labels and verdicts, the mean over the questions; by question `kappa/<id>`."""


def run(recipe: Recipe, judging: Judging, run: Run, round: int, *, redo: bool = False) -> None:
    """Evaluate a round's checkpoint as a judge.

    Raises StageError when too many attempts broke down, RecipeError when the recipe asks for what is not measured.
    """
    check(recipe, judging)
    _, teachers = pupils(recipe)
    stage = run.stage(round, "evaluate")
    inputs = [rubrics.path_of(recipe.score.rubric), rubrics.path_of(judging.rubric), run.checkpoint(round)]
    if not stage.start(inputs, redo=redo):
        return
    trajectories, labels, verdicts = (stage.path / name for name in ("trajectories.jsonl", LABELS, VERDICTS))
    title = f"round {round} evaluate"
    tally = collect.attempts(
        recipe, run.policy(round), owed(recipe, round), trajectories, inference=recipe.collect.inference, title=title
    )
    collect.refuse_breakdowns(tally, recipe.collect.max_failed, trajectories)
    attempts = Records(trajectories, Trajectory)
    score.reports(score.all_criteria(recipe), attempts, labels, title=f"{title}: label")
    judge = {**judging.judge, "model": str(run.checkpoint(round))}
    judged = replace(recipe, score=Score(rubric=judging.rubric, judge=judge))
    score.reports(judged, attempts, verdicts, title=f"{title}: judge")
    report = _report(recipe, run, round, teachers)
    write_atomic(stage.path / "report.json", msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    write_atomic(stage.path / "report.md", markdown.render(report).encode())
    stage.finish(
        [trajectories, labels, verdicts, stage.path / "report.json", stage.path / "report.md"],
        counts={"promoted": int(report.promoted), "attempts": tally.attempts, "questions": len(teachers)},
        metrics=flat(report),
    )


def check(recipe: Recipe, judging: Judging) -> None:
    """Raises RecipeError when a policy cannot learn to judge as the recipe says, or be measured by what it names."""
    if recipe.evaluate.promote_if not in (METRIC, "always"):
        raise RecipeError(
            f"evaluate.promote_if: '{recipe.evaluate.promote_if}' is not measured of a policy that judges; expected "
            f"{METRIC} or always."
        )
    if recipe.collect.inference is None:
        raise RecipeError("collect.inference: missing; a policy that judges makes no attempts. Name who does.")
    judge_of(judging, recipe.policy.model)
    pupils(recipe)


def _report(recipe: Recipe, run: Run, round: int, teachers: Mapping[str, Criterion]) -> EvaluationReport:
    stage = run.stage(round, "evaluate")
    splits = {
        split: _split(stage, split, teachers, seed=recipe.seed) for split in dict.fromkeys(recipe.evaluate.splits)
    }
    first = recipe.evaluate.splits[0]
    incumbent = run.trained_in(round) or None
    promoted, reason = True, "the first judge of the run" if incumbent is None else "promote_if is always"
    if incumbent is not None and recipe.evaluate.promote_if == METRIC:
        before = _split(run.stage(incumbent, "evaluate"), first, teachers, seed=recipe.seed).metrics[METRIC].value
        now = splits[first].metrics[METRIC].value
        promoted = now is not None and (before is None or now >= before)
        reason = f"{METRIC} on {first} is {_shown(now)}, and was {_shown(before)} in round {incumbent}"
    return EvaluationReport(
        round=round,
        policy=str(run.checkpoint(round).relative_to(run.path)),
        splits=splits,
        criteria={},
        incumbent=incumbent,
        promote_if=recipe.evaluate.promote_if,
        promoted=promoted,
        reason=reason,
    )


def _split(stage: Stage, split: str, teachers: Mapping[str, Criterion], *, seed: int) -> SplitReport:
    """Agreement on one split, over all questions and by question, and how often each label is yes."""
    attempts = [t for t in Records(stage.path / "trajectories.jsonl", Trajectory) if t.split == split]
    whole = [attempt for attempt in attempts if attempt.failure is None]
    tasks = [attempt.task_id for attempt in whole]
    labels = _answers(Records(stage.path / LABELS, Report), teachers)
    # A judge's number is a chance, whatever its teacher's is.
    asked = {name: msgspec.structs.replace(teacher, rule="") for name, teacher in teachers.items()}
    verdicts = _answers(Records(stage.path / VERDICTS, Report), asked)
    pairs = {name: [(labels.get((t.id, name)), verdicts.get((t.id, name))) for t in whole] for name in teachers}
    every: list[Unit] = [tuple(answer for pair in row for answer in pair) for row in zip(*pairs.values(), strict=True)]
    metrics = {METRIC: _estimate(agreement.estimate(every, mean_kappa, groups=tasks, seed=seed), tasks, 0)}
    for name, units in pairs.items():
        unknown = sum(verdict is None for _, verdict in units)
        kappa = agreement.estimate(units, agreement.kappa(), groups=tasks, seed=seed)
        agreed = agreement.estimate(units, agreement.raw, groups=tasks, seed=seed)
        metrics[f"{METRIC}/{name}"] = _estimate(kappa, tasks, unknown)
        metrics[f"agreement/{name}"] = _estimate(agreed, tasks, unknown)
        yes: dict[str, list[float | None]] = {}
        for task, (label, _) in zip(tasks, units, strict=True):
            yes.setdefault(task, []).append(None if label is None else float(label == "yes"))
        metrics[f"yes/{name}"] = rate(yes, seed=seed)
    return SplitReport(
        tasks=len({attempt.task_id for attempt in attempts}),
        attempts=len(attempts),
        failures=len(attempts) - len(whole),
        metrics=metrics,
    )


def mean_kappa(units: Mapping[Unit, int]) -> Disagreement:
    """The mean of Cohen's kappa over the questions where it is defined; a unit holds label and verdict of each."""
    ratios = []
    for place in range(0, len(next(iter(units), ())), 2):
        pairs: Counter[Unit] = Counter()
        for unit, times in units.items():
            pairs[unit[place : place + 2]] += times
        found = agreement.kappa()(pairs)
        if not found.why:
            ratios.append(found.observed / found.expected)
    why = "" if ratios else "kappa is undefined for every question"
    return Disagreement(observed=sum(ratios) / max(1, len(ratios)), expected=1.0, units=sum(units.values()), why=why)


def _answers(reports: Iterable[Report], teachers: Mapping[str, Criterion]) -> dict[tuple[str, str], str | None]:
    """Attempt and question to the answer; None where it is unknown."""
    found = {}
    for report in reports:
        for verdict in report.verdicts:
            if verdict.criterion in teachers:
                answer = answer_of(teachers[verdict.criterion], verdict)
                found[report.id, verdict.criterion] = None if answer == UNKNOWN else answer
    return found


def _estimate(measure: Measure, tasks: list[str], unknown: int) -> Estimate:
    value, low, high = measure.value, measure.low, measure.high
    if value is not None and (low is None or high is None):
        low, high = -1.0, 1.0  # most resamples say nothing
    return Estimate(value=value, low=low, high=high, tasks=len(set(tasks)), attempts=measure.units, unknown=unknown)


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
