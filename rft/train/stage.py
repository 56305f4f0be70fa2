"""The stage `train`: reads a round's examples, leaves `checkpoint/`, `train.json` and `log.jsonl`."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from reward_models.judges.local import SETTINGS
from rft.errors import StageError
from rft.plugins import build
from rft.progress import say
from rft.recipe import Recipe
from rft.rundir import Run, Stage
from rft.store import write_atomic
from rft.train.options import deepspeed_path
from rft.train.process import Result, Spec, logged, train_in_process
from rft.train.resume import last_checkpoint, set_back
from rft.types import Checkpoint

TOLD = ("rewards/", "ratio/")
"""What of the log besides the loss is a metric: its names begin so."""


def run(recipe: Recipe, run: Run, round: int, *, redo: bool = False) -> None:
    """Train the round's policy on its examples; goes on where an interrupted training stopped.

    Raises StageError or RecipeError, one line. torch is only ever imported in the trainer's own process.
    """
    select = run.stage(round, "select")
    select.require()
    examples = select.path / "examples.jsonl"
    stage = run.stage(round, "train")
    if stage.start([examples], redo=redo):
        _train(recipe, run, round, stage, examples)
    # The optimizer's state is large, and only an unfinished training needs it.
    shutil.rmtree(stage.path / "trainer", ignore_errors=True)


def _train(recipe: Recipe, run: Run, round: int, stage: Stage, examples: Path) -> None:
    if not examples.exists() or not examples.stat().st_size:
        raise StageError(
            f"train: round {round} selected no examples, so there is nothing to learn from; "
            f"{examples.with_name('funnel.json')} says which rule dropped what. Loosen select.rules or collect more."
        )
    spec = _spec(recipe, run, round, stage, examples)
    result = train_in_process(spec)
    if recipe.policy.judging is not None:
        judge = build("judge", {**recipe.policy.judging.judge, "model": spec.model}, "policy.judging.judge")
        write_atomic(stage.path / "checkpoint" / SETTINGS, msgspec.json.encode(judge.settings) + b"\n")
    _finish(stage, spec, result)
    if recipe.train.method == "grpo":
        warn_of_mismatch(stage, recipe.train.grpo.mismatch)


def _spec(recipe: Recipe, run: Run, round: int, stage: Stage, examples: Path) -> Spec:
    resume = last_checkpoint(stage.path / "trainer")
    set_back(stage.path / "log.jsonl", resume)
    train = recipe.train
    return Spec(
        model=run.policy(round),
        examples=str(examples),
        trajectories=str(attempts)
        if (attempts := run.stage(round, "collect").path / "trajectories.jsonl").exists()
        else None,
        folder=str(stage.path),
        seed=recipe.seed,
        method=train.method,
        learn=train.learn,
        temperature=recipe.policy.sampling.temperature,
        clip=(train.grpo.clip_low, train.grpo.clip_high),
        tokens=train.tokens,
        workers=train.workers,
        update=train.update,
        ray=train.ray,
        address=recipe.collect.pool.get("address"),
        deepspeed=str(deepspeed_path(train.deepspeed)) if train.deepspeed else None,
        lora=train.lora,
        quantization=train.quantization,
        batch_tokens=train.batch_tokens,
        trl=train.trl,
        resume=str(resume) if resume else None,
        parent=os.getpid(),
    )


def warn_of_mismatch(stage: Stage, limit: float) -> None:
    """Warn where the trainer, before its first update, computes other probabilities than the engine recorded."""
    found = logged(stage.path / "log.jsonl")[0]
    if found["ratio/difference"] > limit:
        say(
            f"train: engine and trainer disagree before the first update: log-probabilities differ by "
            f"{found['ratio/difference']:.3f} on average (limit {limit:g}), the ratio is {found['ratio/mean']:.3f}. "
            "Look at precision (train.trl.bf16), sampling, and whether another policy made the attempts."
        )


def told(log: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The first and the last value of what is told beside the loss; an update of kto may have seen one kind alone."""
    metrics: dict[str, float] = {}
    for name in sorted({name for line in log for name in line if name.startswith(TOLD)}):
        values = [line[name] for line in log if name in line]
        metrics |= {f"{name}_first": values[0], f"{name}_last": values[-1]}
    return metrics


def _finish(stage: Stage, spec: Spec, result: Result) -> None:
    log = logged(stage.path / "log.jsonl")
    losses = [line["loss"] for line in log]
    metrics = {
        "loss": fmean(losses),
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "learnt_tokens": result.learnt_tokens,
        "tokens": result.tokens,
        "tokens_per_second": result.tokens_per_second,
        "examples": result.examples,
        "repeated": result.repeated,
        "steps": result.steps,
        "seconds": result.seconds,
    }
    metrics |= told(log)
    checkpoint = Checkpoint(
        path=str(stage.path / "checkpoint"),
        adapter=str(stage.path / "adapter") if spec.lora is not None else None,
        base=spec.model,
        method=spec.method,
        examples=result.examples,
        learnt_tokens=result.learnt_tokens,
        metrics=metrics,
    )
    write_atomic(stage.path / "train.json", msgspec.json.format(msgspec.json.encode(checkpoint)) + b"\n")
    made = ["checkpoint", "train.json", "log.jsonl", *(["adapter"] if spec.lora is not None else [])]
    stage.finish(
        [stage.path / name for name in made],
        counts={"examples": result.examples, "steps": result.steps, "learnt_tokens": result.learnt_tokens},
        metrics=metrics,
    )
