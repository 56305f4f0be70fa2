"""A whole run folder made from drawn numbers, with the shapes of a real one, for tests of what is shown."""

import random
from pathlib import Path

import msgspec

from reward_models import rubric as rubrics
from reward_models.types import Report, Rubric, Verdict
from rft.evaluate import markdown, stage, summary
from rft.evaluate.summary import EvaluationReport, Measured
from rft.recipe import Recipe
from rft.rundir import Run
from rft.select.stage import FunnelRow
from rft.store import write_atomic
from rft.types import (
    Decision,
    Example,
    Failure,
    Message,
    Outcome,
    Step,
    StopReason,
    TokenRow,
    Trajectory,
)
from tests.conftest import finish_stage

HOSTILE = (
    "<script>alert('owned')</script> \x1b[31mred\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07 [bold]markup[/bold] "
    "\u202egnp.exe {{ 7 * 7 }} </pre></details> &lt; \x00\x08 | `code`"
)
START = {"encourage": 0.35, "discourage": 0.4}
SPLITS = ("heldout", "unseen")


def recipe(folder: Path, rounds: int = 3, name: str = "quickstart", seed: int = 0) -> Recipe:
    made = Recipe(name=name, runs=str(folder), rounds=rounds, seed=seed, environment={"use": "kata"})
    made.policy.model = "tiny"
    made.evaluate.splits = list(SPLITS)
    made.evaluate.samples = 4
    return made


def make_run(
    folder: Path,
    *,
    rounds: int = 3,
    tasks: int = 40,
    gain: float = 0.16,
    hostile: bool = True,
    name: str = "quickstart",
    seed: int = 0,
) -> Run:
    """`rounds` finished rounds; the policy gains in each."""
    begun = recipe(folder, rounds, name, seed)
    run = Run(begun)
    with run.driving():
        pass
    rubric = rubrics.load(begun.score.rubric)
    draw = random.Random(seed)
    incumbent = 0
    measured: dict[int, dict[str, Measured]] = {}
    for round in range(rounds + 1):
        skill = min(0.95, 0.12 + gain * round)
        if round:
            _training(run, round, rubric, draw, skill - gain / 2, tasks, hostile=hostile and round == rounds)
        promoted = _evaluation(run, round, rubric, draw, skill, tasks, measured, incumbent)
        incumbent = round if promoted else incumbent
    return run


def attempt(
    draw: random.Random, rubric: Rubric, task: str, split: str, round: int, sample: int, skill: float
) -> tuple[Trajectory, Report]:
    """One attempt and its report."""
    resolved = draw.random() < skill
    commands = [
        "cat spans.py",
        "python -m pytest -q test_spans.py",
        "sed -i 's/start <= x/start < x/' spans.py",
        "python -m pytest -q test_spans.py",
        "submit",
    ]
    outputs = [
        "def covers(span, x):\n    start, end = span\n    return start <= x < end\n",
        "F....\nFAILED test_spans.py::test_open_start - assert not True\n1 failed, 4 passed in 0.03s\n",
        "",
        ".....\n5 passed in 0.02s\n" if resolved else "F....\n1 failed, 4 passed in 0.03s\n",
        "",
    ]
    steps, ids, spans = [], list(range(40)), []
    for index, (command, output) in enumerate(zip(commands, outputs, strict=True), 1):
        start = len(ids)
        ids += list(range(30))
        spans.append((start, len(ids), index))
        ids += list(range(50))
        code = 1 if "failed" in output else 0
        steps.append(
            Step(
                index=index,
                reply=f"I look at what happens next.\n```bash\n{command}\n```",
                command=command,
                observation=f"[exit {code}]\n{output}",
                exit_code=code,
                seconds=0.1,
                prompt_tokens=start,
                completion_tokens=30,
            )
        )
    stop = StopReason.SUBMITTED if draw.random() < 0.5 + skill / 2 else StopReason.STEP_LIMIT
    trajectory = Trajectory(
        id=f"{task}/{round:02d}/{sample:02d}",
        task_id=task,
        split=split,
        round=round,
        sample=sample,
        seed=draw.randrange(2**31),
        prompt=[Message(role="user", content="covers() includes the open start of a span. Make it exclude the start.")],
        steps=steps,
        stop=stop,
        patch="--- a/spans.py\n+++ b/spans.py\n@@ -1,3 +1,3 @@\n def covers(span, x):\n     start, end = span\n"
        "-    return start <= x < end\n+    return start < x < end\n",
        outcome=Outcome(
            resolved=resolved,
            tests={"test_spans.py::test_open_start": "passed" if resolved else "failed"},
            files_changed=1,
            lines_added=1,
            lines_removed=1,
        ),
        tokens=[TokenRow(ids=ids, spans=spans)],
        seconds=draw.uniform(1, 4),
        phases={"boot": 0.2, "model": 1.4},
    )
    verdicts = []
    for number, criterion in enumerate(rubric.criteria):
        value: float | None = float(_behaves(draw, criterion.id, criterion.polarity, skill, resolved, stop))
        if draw.random() < 0.01:
            value = None
        verdicts.append(
            Verdict(
                criterion=criterion.id,
                value=value,
                steps=[number % 5 + 1] if value else [],
                why="" if value is not None else "no edit was made",
            )
        )
    good = [
        v.value if c.polarity == "encourage" else 1 - v.value
        for v, c in zip(verdicts, rubric.criteria, strict=True)
        if v.value is not None
    ]
    score = 0.0 if not resolved else sum(good) / len(good)
    return trajectory, Report(id=trajectory.id, task_id=task, rubric="r", judge="", verdicts=verdicts, score=score)


def _behaves(draw: random.Random, name: str, polarity: str, skill: float, resolved: bool, stop: StopReason) -> bool:
    if name == "solved":
        return resolved
    if name == "submitted":
        return stop is StopReason.SUBMITTED
    base = 0.2 + (sum(map(ord, name)) % 40) / 100
    chance = base + (1 - base) * skill if polarity == "encourage" else base * (1 - skill)
    return draw.random() < chance


def _training(
    run: Run, round: int, rubric: Rubric, draw: random.Random, skill: float, tasks: int, *, hostile: bool
) -> None:
    pairs = [
        attempt(draw, rubric, f"spans-{task:03d}", "train", round, sample, skill)
        for task in range(tasks)
        for sample in range(4)
    ]
    pairs[1] = (
        msgspec.structs.replace(
            pairs[1][0],
            outcome=None,
            stop=StopReason.ERROR,
            failure=Failure(where="sandbox", message="the supervisor ended (out of memory)"),
        ),
        _unscored(pairs[1][1]),
    )
    if hostile:
        pairs[2] = (
            _hostile(pairs[2][0]),
            msgspec.structs.replace(
                pairs[2][1],
                score=0.999,
                verdicts=[
                    msgspec.structs.replace(verdict, why=HOSTILE, evidence=HOSTILE) for verdict in pairs[2][1].verdicts
                ],
            ),
        )
    trajectories, reports = [one for one, _ in pairs], [one for _, one in pairs]
    resolved = sum(bool(t.outcome and t.outcome.resolved) for t in trajectories)
    finish_stage(
        run.stage(round, "collect"),
        {"trajectories.jsonl": trajectories},
        {"attempts": len(pairs), "failed": 1, "resolved": resolved, "submitted": len(pairs) // 2},
        {"resolved": resolved / (len(pairs) - 1), "submitted": 0.7, "failed": 1 / len(pairs)},
    )
    scores = [report.score for report in reports if report.score is not None]
    finish_stage(
        run.stage(round, "score"),
        {"reports.jsonl": reports},
        {"reports": len(reports), "scored": len(scores)},
        {"score": sum(scores) / len(scores)},
    )
    _selection(run, round, pairs)
    stage_ = run.stage(round, "train")
    stage_.start()
    run.checkpoint(round).mkdir()
    (run.checkpoint(round) / "weights").write_text(str(round))
    stage_.finish(
        [run.checkpoint(round)],
        counts={"examples": 2 * tasks // 3, "steps": 12, "learnt_tokens": 9000},
        metrics={"loss": 0.4 / round, "loss_first": 0.6 / round, "loss_last": 0.3 / round},
    )


def _selection(run: Run, round: int, pairs: list[tuple[Trajectory, Report]]) -> None:
    decisions, examples = [], []
    taken: dict[str, int] = {}
    for trajectory, report in sorted(pairs, key=lambda pair: -(pair[1].score or 0)):
        rule, why = _verdict(trajectory, report, taken)
        keep = rule == "kept"
        decisions.append(Decision(id=trajectory.id, task_id=trajectory.task_id, keep=keep, rule=rule, reason=why))
        if keep:
            taken[trajectory.task_id] = taken.get(trajectory.task_id, 0) + 1
            row = trajectory.tokens[0]
            examples.append(
                Example(
                    id=f"{trajectory.id}/0",
                    trajectory_id=trajectory.id,
                    task_id=trajectory.task_id,
                    ids=row.ids,
                    spans=[(a, b) for a, b, _ in row.spans],
                    steps=[step for _, _, step in row.spans],
                    provenance="recorded",
                )
            )
    rows, before = [], len(pairs)
    for rule in ("broke_down", "finished", "resolved", "min_score", "best_of_group"):
        dropped = sum(decision.rule == rule for decision in decisions)
        rows.append(FunnelRow(rule=rule, before=before, dropped=dropped, after=before - dropped))
        before -= dropped
    folder = run.stage(round, "select").path
    folder.mkdir(parents=True)
    write_atomic(folder / "funnel.json", msgspec.json.encode(rows))
    kept = len(examples)
    finish_stage(
        run.stage(round, "select"),
        {"decisions.jsonl": decisions, "examples.jsonl": examples},
        {"seen": len(pairs), "kept": kept, "learnt_tokens": 150 * kept},
        {"kept": kept / len(pairs)},
    )


def _verdict(trajectory: Trajectory, report: Report, taken: dict[str, int]) -> tuple[str, str]:
    if trajectory.failure is not None:
        return "broke_down", f"{trajectory.failure.where}: {trajectory.failure.message}"
    if trajectory.stop is not StopReason.SUBMITTED:
        return "finished", f"stopped by {trajectory.stop}"
    if not (trajectory.outcome and trajectory.outcome.resolved):
        return "resolved", "the tests fail"
    if (report.score or 0) < 0.6:
        return "min_score", f"score {report.score:.2f} is below 0.60"
    if taken.get(trajectory.task_id, 0) >= 2:
        return "best_of_group", "two better ones are kept"
    return "kept", ""


def _evaluation(
    run: Run,
    round: int,
    rubric: Rubric,
    draw: random.Random,
    skill: float,
    tasks: int,
    measured: dict[int, dict[str, Measured]],
    incumbent: int,
) -> bool:
    pairs = [
        attempt(draw, rubric, f"{split}-{task:03d}", split, round, sample, skill - 0.05 * number)
        for number, split in enumerate(SPLITS)
        for task in range(tasks)
        for sample in range(4)
    ]
    criteria = {criterion.id: criterion.polarity for criterion in rubric.criteria}
    measured[round] = summary.measure([one for one, _ in pairs], [one for _, one in pairs], criteria)
    earlier = sorted({0, round - 1, incumbent}) if round else []
    splits = {
        name: summary.summarise(now, {other: measured[other][name] for other in earlier}, samples=4, seed=0)
        for name, now in measured[round].items()
    }
    promoted, reason = summary.decide("resolved", splits["heldout"], criteria, incumbent if round else None)
    report = EvaluationReport(
        round=round,
        policy="tiny" if not round else f"round_{round:02d}/4_train/checkpoint",
        splits=splits,
        criteria=criteria,
        incumbent=incumbent if round else None,
        promote_if="resolved",
        promoted=promoted,
        reason=reason,
    )
    folder = run.stage(round, "evaluate").path
    folder.mkdir(parents=True)
    write_atomic(folder / "report.json", msgspec.json.encode(report))
    write_atomic(folder / "report.md", markdown.render(report).encode())
    finish_stage(
        run.stage(round, "evaluate"),
        {stage.TRAJECTORIES: [one for one, _ in pairs], stage.REPORTS: [o for _, o in pairs]},
        {"promoted": int(promoted), "attempts": len(pairs)},
        summary.flat(report),
    )
    return promoted


def _unscored(report: Report) -> Report:
    return msgspec.structs.replace(report, verdicts=[], score=None, failure="sandbox: the supervisor ended")


def _hostile(trajectory: Trajectory) -> Trajectory:
    steps = [
        msgspec.structs.replace(step, reply=HOSTILE + step.reply, command=HOSTILE, observation=HOSTILE * 2)
        for step in trajectory.steps
    ]
    steps[1] = msgspec.structs.replace(steps[1], observation="x" * 2_000_000 + "THE END")
    return msgspec.structs.replace(
        trajectory,
        steps=steps,
        patch=HOSTILE,
        stop=StopReason.SUBMITTED,
        outcome=Outcome(resolved=True, tampered=[HOSTILE]),
        prompt=[Message(role="user", content=HOSTILE)],
    )
