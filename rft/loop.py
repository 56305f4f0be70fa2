"""Rounds x stages: the whole framework on one page.

Round 0 is the starting policy, which is only evaluated. Every later round collects, scores, selects, trains and
evaluates. A stage that is done is skipped, so the same command carries on wherever it was stopped.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from reward_models.types import Report
from rft.errors import RecipeError, RftError
from rft.evaluate import judging
from rft.evaluate.stage import measuring
from rft.interfaces import RunsImages, TaskMaker
from rft.plugins import build, import_from_here
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
        except RftError as error:
            tracker.alert(f"{recipe.name}: stopped"[-63:], str(error))
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
        create_policy(recipe, run)
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


def create_policy(recipe: Recipe, run: Run) -> None:
    """Make the starting policy from scratch, its vocabulary learnt from the first round's attempts."""
    path = Path(run.starting_policy())
    if recipe.policy.create is None or path.is_dir():
        return
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


def check(recipe: Recipe, made: Path | None = None) -> list[tuple[str, str]]:
    """Import and build every plug-in, derive what follows from the recipe, and run nothing.

    Goes by the attempts in `made`, else by those of round 1 where there are some.
    Returns (what, how it stands) rows. Raises RecipeError at the first thing that is wrong.
    """
    import_from_here()
    from rft import train
    from rft.collect import draw_tasks
    from rft.score import estimate
    from rft.score.audit import Audit
    from rft.score.stage import Scorer
    from rft.select.stage import Funnel
    from rft.train import estimate as training

    # a recipe that only imports has none, and nothing below asks for it
    environment: Any = build("environment", recipe.environment, "environment") if recipe.environment else None
    sandboxes = build("sandbox", recipe.sandbox, "sandbox")
    build("agent", recipe.agent, "agent")
    engine = build("inference", recipe.policy.inference, "policy.inference")
    build("pool", recipe.collect.pool, "collect.pool")
    build("tracker", recipe.tracking, "tracking")
    if recipe.collect.inference is not None:
        build("inference", recipe.collect.inference, "collect.inference")
    if recipe.policy.create is not None:
        build("fresh", recipe.policy.create, "policy.create")
        if recipe.collect.inference is None and recipe.collect.imports is None:
            raise RecipeError(
                "policy.create: a policy that is still to be made answers nothing; expected collect.inference. "
                "Name who makes the first attempts, such as {use: demonstrator}."
            )
    Funnel(recipe)
    if recipe.policy.judging is not None:
        judging.check(recipe, recipe.policy.judging)
    Scorer(measuring(recipe))
    scorer = Scorer(recipe)
    rubric = scorer.rubric
    audit = Audit(recipe).rubric if recipe.score.audit is not None else None
    train.check(recipe)
    rows = [
        ("policy", str(Run(recipe).starting_policy())),
        *([("sandbox", sandboxes.missing() or f"{recipe.sandbox['use']} works here")] if environment else []),
        *([("policy's server", engine.remark())] if recipe.rounds and hasattr(engine, "remark") else []),
        *((f"{who}'s servers", engine.missing() or engine.summary()) for who, engine in servers(recipe)),
        ("rubric", f"{rubric.name}: {len(rubric.criteria)} criteria"),
        *([("audit", f"{audit.name}: {len(audit.criteria)} criteria")] if audit is not None else []),
    ]
    if owed := owed_tasks(recipe):
        return [*rows, ("tasks", f"{owed}; rft run, or rft check --deep, makes them"), ("attempts", "known after that")]
    attempts, tasks = _first_round(recipe, environment)
    rows += [
        *_images(recipe, environment, sandboxes),
        ("attempts a round", tasks),
        *estimate.rows(recipe, scorer, attempts, made or _collected(recipe)),
    ]
    for split in recipe.evaluate.splits:
        count = len(draw_tasks(environment, split, recipe.evaluate.tasks, seed=recipe.seed))
        rows.append((f"evaluate {split}", f"{count} tasks x {recipe.evaluate.samples} samples"))
    total, evaluations = attempts_in_all(recipe)
    rows.append(("attempts in all", f"{total} over {recipe.rounds} rounds and {evaluations} evaluations"))
    return [*rows, *training.rows(recipe, total)]


def owed_tasks(recipe: Recipe) -> str:
    """What a recipe's environment has still to make before it has tasks, in words; empty when there is nothing."""
    environment = build("environment", recipe.environment, "environment") if recipe.environment else None
    return environment.owed() if isinstance(environment, TaskMaker) else ""


def servers(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Who is answered by servers that the stages start, and their plug-in."""
    sections = ("policy", recipe.policy.inference), ("teacher", recipe.collect.inference)
    for who, section in sections:
        if section is not None:
            engine = build("inference", section, "policy.inference" if who == "policy" else "collect.inference")
            if all(hasattr(engine, name) for name in ("serve", "missing", "summary")):
                yield who, engine


def attempts_in_all(recipe: Recipe) -> tuple[int, int]:
    """Attempts of a whole run, and the evaluations among its stages. Raises RecipeError."""
    from rft.collect import draw_tasks

    environment: Any = build("environment", recipe.environment, "environment") if recipe.environment else None
    held_out = sum(
        len(draw_tasks(environment, split, recipe.evaluate.tasks, seed=recipe.seed)) * recipe.evaluate.samples
        for split in recipe.evaluate.splits
    )
    evaluations = sum(stage == "evaluate" for _, stage in Run(recipe).plan())
    return recipe.rounds * _first_round(recipe, environment)[0] + evaluations * held_out, evaluations


def _images(recipe: Recipe, environment: Any, sandboxes: Any) -> list[tuple[str, str]]:
    """The container images of all tasks that are attempted and measured on; no row where there are none."""
    from rft.collect import first_tasks, images

    if environment is None or not isinstance(sandboxes, RunsImages):
        return []
    plan = sandboxes.plan(images(first_tasks(recipe, environment, rounds=recipe.rounds)))
    return [("images", plan)] if plan else []


def _first_round(recipe: Recipe, environment: Any) -> tuple[int, str]:
    """How many attempts the first round has, and where from, in words. Raises RecipeError."""
    from rft.collect import draw_tasks

    if recipe.collect.imports is not None:
        from rft.collect.imports import open_attempts
        from rft.formats import strictly

        found = open_attempts(recipe.collect.imports)
        count = sum(1 for _ in strictly(found))
        return count, f"{count} imported from {len(found.files)} files"
    tasks = len(draw_tasks(environment, recipe.collect.split, recipe.collect.tasks, seed=recipe.seed + 1))
    samples = recipe.collect.samples
    return tasks * samples, f"{tasks} tasks x {samples} samples = {tasks * samples}"


def _collected(recipe: Recipe) -> Path:
    return Run(recipe).stage(1, "collect").path / "trajectories.jsonl"


def _summary(manifest: Manifest) -> str:
    facts = [f"{name} {value}" for name, value in manifest.counts.items()]
    return f"{', '.join(facts)} ({manifest.seconds:.0f} s)"
