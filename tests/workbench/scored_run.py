"""A run with one collected, scored and selected round, judged by drawn answers whose nature is known."""

import random
from pathlib import Path

import msgspec

from reward_models import rubric as rubrics
from reward_models.scorers import signed
from reward_models.types import Report, Rubric, Verdict
from rft import select
from rft.recipe import Recipe
from rft.rundir import Run
from rft.types import Failure, Message, Outcome, Step, StopReason, TokenRow, Trajectory
from tests.conftest import finish_stage

HOSTILE = (
    "<script>alert('owned')</script> {{ 7 * 7 }} </pre><img src=x onerror=alert(1)> \x1b[31m [bold]x[/bold] \u202e"
)
RUBRIC = """
name: bench
criteria:
  - {id: solved, rule: tests_pass, weight: 4, required: true}
  - {id: looked, question: "Did the agent look at the file first?", weight: 2}
  - {id: twin, question: "Was the file opened before the change?"}
  - {id: claimed, question: "Did it claim what no output shows?", polarity: discourage, weight: 2, floor: 0.6}
  - {id: always, question: "Did the agent write anything?"}
  - {id: wordy, question: "Did the agent explain each command?"}
  - {id: shaky, question: "Was the tone polite?", group: manners}
  - {id: depth, question: "How much did the agent look around?", kind: ordered, answers: [none, some, deep]}
  - {id: area, question: "What was changed?", kind: class, answers: [parser, io, other], met: [parser], weight: 0.5}
  - {id: after, question: "Did the user complain?", requires_followup: true, view: segment, polarity: discourage}
"""


def make(folder: Path, *, tasks: int = 20, samples: int = 4, seed: int = 0) -> Run:
    """The run; its `looked` goes with success, `claimed` with failure, `wordy` with length, `twin` copies `looked`."""
    path = folder / "bench.yaml"
    path.write_text(RUBRIC)
    recipe = Recipe(name="bench", runs=str(folder), environment={"use": "kata"})
    recipe.policy.model = "tiny"
    recipe.score.rubric = str(path)
    recipe.score.judge = {"use": "scripted", "replies": ["{}"]}
    recipe.select.rules = [
        {"use": "finished"},
        {"use": "resolved"},
        {"use": "min_score", "score": 0.5},
        {"use": "best_of_group", "keep": 1},
    ]
    run, rubric, draw = Run(recipe), rubrics.load(path), random.Random(seed)
    with run.driving():
        pass
    pairs = [_attempt(draw, rubric, f"task-{t:02d}", s) for t in range(tasks) for s in range(samples)]
    broken = msgspec.structs.replace(
        pairs[3][0], outcome=None, stop=StopReason.ERROR, failure=Failure(where="sandbox", message="out of memory")
    )
    pairs[3] = (broken, msgspec.structs.replace(pairs[3][1], verdicts=[], score=None, failure="sandbox"))
    pairs[0] = (_hostile(pairs[0][0]), pairs[0][1])
    attempts = len(pairs)
    finish_stage(run.stage(1, "collect"), {"trajectories.jsonl": [one for one, _ in pairs]}, {"attempts": attempts})
    finish_stage(run.stage(1, "score"), {"reports.jsonl": [one for _, one in pairs]}, {"attempts": attempts})
    select.run(recipe, run, 1)
    return run


def _attempt(draw: random.Random, rubric: Rubric, task: str, sample: int) -> tuple[Trajectory, Report]:
    resolved = draw.random() < 0.5
    length = draw.randint(2, 12)
    steps, spans, ids = [], [], list(range(20))
    for index in range(1, length + 1):
        spans.append((len(ids), len(ids) + 10, index))
        ids += list(range(30))
        command = "submit" if index == length else f"cat file_{index}.py"
        steps.append(Step(index=index, reply=f"```bash\n{command}\n```", command=command, observation="text"))
    trajectory = Trajectory(
        id=f"{task}/01/{sample:02d}",
        task_id=task,
        split="train",
        round=1,
        sample=sample,
        seed=0,
        prompt=[Message(role="user", content="Mend covers().")],
        steps=steps,
        stop=StopReason.SUBMITTED if draw.random() < 0.9 else StopReason.STEP_LIMIT,
        patch="--- a/x\n+++ b/x\n",
        outcome=Outcome(resolved=resolved),
        tokens=[TokenRow(ids=ids, spans=spans)],
    )
    looked = float(draw.random() < (0.9 if resolved else 0.2))
    values: dict[str, float | None] = {
        "solved": float(resolved),
        "looked": looked,
        "twin": looked,
        "claimed": float(draw.random() < (0.2 if resolved else 0.7)),
        "always": 1.0,
        "wordy": float(length > 6),
        "shaky": draw.choice([0.0, 1.0, None]),
        "depth": draw.choice([0.0, 0.5, 1.0]),
    }
    verdicts = [_verdict(name, value, draw) for name, value in values.items()]
    area = draw.choice(["parser", "io", "other"])
    verdicts.append(Verdict(criterion="area", value=float(area == "parser"), label=area))
    score = signed(rubric, verdicts).value
    return trajectory, Report(
        id=trajectory.id, task_id=task, rubric=rubrics.digest(rubric), judge="j", verdicts=verdicts, score=score
    )


def _verdict(name: str, value: float | None, draw: random.Random) -> Verdict:
    if value is None:
        return Verdict(criterion=name, value=None, cause="judge", why="cannot be told", votes=[1.0, None, 0.0])
    if name == "shaky":
        return Verdict(criterion=name, value=value, votes=[value, value, 1 - value])
    if name == "depth":
        return Verdict(criterion=name, value=value, label=["none", "some", "deep"][round(2 * value)])
    votes = [value] * 3 if name not in ("solved",) else []
    return Verdict(criterion=name, value=value, steps=[1], votes=votes)


def _hostile(trajectory: Trajectory) -> Trajectory:
    steps = [
        msgspec.structs.replace(step, reply=HOSTILE, command=HOSTILE, observation=HOSTILE) for step in trajectory.steps
    ]
    return msgspec.structs.replace(
        trajectory, steps=steps, patch=HOSTILE, prompt=[Message(role="user", content=HOSTILE)]
    )
