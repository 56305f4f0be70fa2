"""Rounds x stages: the whole framework on one page.

Round 0 is the starting policy, which is only evaluated. Every later round collects, scores, selects, trains and
evaluates. A stage that is done is skipped, so the same command carries on wherever it was stopped.
"""

import importlib
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from reward_models.types import Report
from rft.errors import RecipeError, RftError
from rft.plugins import build
from rft.progress import say
from rft.recipe import Recipe, to_config
from rft.rundir import Manifest, Run
from rft.select import lessons
from rft.store import Records
from rft.tracking import Kind, Tracker
from rft.transcript import messages_of, plain
from rft.types import Trajectory

ATTEMPTS = {"select": "collect", "evaluate": "evaluate"}
"""Stages after which everything is known of the attempts of another."""
MADE: dict[str, tuple[Kind, str]] = {"select": ("dataset", "examples.jsonl"), "train": ("model", "checkpoint")}
"""What of a stage a tracker keeps the origin of."""


def run(recipe: Recipe, *, redo: bool = False) -> Run:
    """Every round of a recipe; continues where it was stopped. Returns the finished run."""
    run = Run(recipe)
    with run.driving():
        tracker = start_tracking(recipe, run)
        try:
            for round, stage in run.plan():
                run_stage(recipe, run, round, stage, tracker, redo=redo)
            report(run, tracker)
        except Exception as error:
            # What a plug-in raises may say anything, secrets among it: it stays on this machine.
            why = str(error) if isinstance(error, RftError) else f"{type(error).__name__}; see what the run printed."
            tracker.alert(f"{recipe.name}: stopped"[-63:], why)
            raise
        finally:
            tracker.finish()
    return run


def one_stage(recipe: Recipe, round: int, stage: str, *, redo: bool = False) -> Run:
    """One stage of one round, by itself. Raises RecipeError where the round has no such stage."""
    run = Run(recipe)
    if (round, stage) not in run.plan():
        raise RecipeError(f"{stage}: round {round} has no such stage; expected --round 1 to {recipe.rounds}.")
    with run.driving():
        tracker = start_tracking(recipe, run)
        try:
            run_stage(recipe, run, round, stage, tracker, redo=redo)
        finally:
            tracker.finish()
    return run


def run_stage(recipe: Recipe, run: Run, round: int, stage: str, tracker: Tracker, *, redo: bool) -> None:
    """Do one stage if it is owed, and track what it measured."""
    before = run.stage(round, stage).manifest()
    if stage == "select":
        create_policy(recipe, run, anew=redo and round == 1)
    work: Callable[..., None] = importlib.import_module(f"rft.{stage}").run
    work(recipe, run, round, redo=redo)
    manifest = run.stage(round, stage).require()
    if before is not None and before == manifest:
        say(f"round {round} {stage}: done before")
        return
    say(f"round {round} {stage}: {_summary(manifest)}")
    tracker.log(round, stage, manifest.metrics)
    hand_over(run, manifest, tracker)
    if stage == "score":
        alert(run, round, tracker)


def hand_over(run: Run, manifest: Manifest, tracker: Tracker) -> None:
    """A stage's attempts with their verdicts, and what it made for later ones with where that came from."""
    from rft.view import data

    round, stage = manifest.round, manifest.stage
    if stage in ATTEMPTS:
        tracker.table(f"{stage}/attempts", *data.attempts(run, round, ATTEMPTS[stage]))
    if stage in MADE and (path := run.stage(round, stage).path / MADE[stage][1]).exists():
        kind = MADE[stage][0]
        origin = {"round": round, "stage": stage, "inputs": manifest.inputs, "outputs": manifest.outputs}
        tracker.artifact(f"{run.recipe.name}-{kind}", kind, path, origin)


def alert(run: Run, round: int, tracker: Tracker) -> None:
    """Pass on what the round's audit has raised the alarm about, if anything."""
    from rft.score.audit import alarm_of

    alarm = alarm_of(run.stage(round - 1, "score").manifest(), run.stage(round, "score").manifest())
    if alarm:
        say(f"reward hacking? {alarm}")
        tracker.alert(f"{run.recipe.name}: reward hacking?"[-63:], alarm)


def create_policy(recipe: Recipe, run: Run, *, anew: bool = False) -> None:
    """Make the starting policy from scratch, its vocabulary learnt from the first round's attempts."""
    path = Path(run.starting_policy())
    if recipe.policy.create is None or (path.is_dir() and not anew):
        return
    shutil.rmtree(path, ignore_errors=True)
    collected = run.stage(1, "collect")
    collected.require()
    attempts = Records(collected.path / "trajectories.jsonl", Trajectory)
    texts: Iterable[str] = (
        f"{m.role}\n{m.content}" for attempt in attempts for m in map(plain, messages_of(attempt.prompt, attempt.steps))
    )
    if recipe.policy.judging is not None:
        texts = lessons.texts(recipe, attempts, Records(run.stage(1, "score").path / "reports.jsonl", Report))
    say(f"policy: making {path} from scratch")
    build("fresh", recipe.policy.create, "policy.create").make(path, texts, recipe.seed)


def start_tracking(recipe: Recipe, run: Run) -> Tracker:
    """The recipe's tracker, started."""
    tracker: Tracker = build("tracker", recipe.tracking, "tracking")
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(to_config(recipe), resolve=True)
    tracker.start(run.path, recipe.name, plain)
    return tracker


def report(run: Run, tracker: Tracker) -> None:
    """Write the run's report and hand it to the tracker."""
    from rft.view import data
    from rft.view.report import write

    paths = write(run)
    for name, (columns, rows) in data.tables(data.gather(run)).items():
        tracker.table(name, columns, rows)
    for path in paths:
        tracker.artifact(f"{run.recipe.name}-{path.stem}{path.suffix}", "report", path, {})


def _summary(manifest: Manifest) -> str:
    facts = [f"{name} {value}" for name, value in manifest.counts.items()]
    return f"{', '.join(facts)} ({manifest.seconds:.0f} s)"
