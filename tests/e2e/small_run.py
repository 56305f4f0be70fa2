"""A small run that is killed on its way, and what must be the same at its end as of one that was not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from reward_models.types import Report
from rft.rundir import Run
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.store import Records, digest_path
from rft.types import Decision, Example, Trajectory

RECIPE = """
seed: 3
rounds: 1
policy:
  model: fresh
  create: {use: tiny_qwen3, vocab_size: 400, hidden_size: 32, layers: 2, heads: 2, kv_heads: 1, intermediate_size: 64}
  sampling: {max_tokens: 24}
environment: {use: kata, modules: [spans, clock]}
agent: {use: bash, prompt: terse, max_steps: 6, observation_chars: 300}
collect:
  tasks: 12
  samples: 4
  inference: {use: demonstrator, repeat: 0}
select: {rules: [{use: finished}, {use: best_of_group, keep: 2}]}
train: {tokens: 6000, trl: {save_steps: 2, learning_rate: 1.0e-3}}
"""
ATTEMPTS = 48


def write_recipe(path: Path, changes: str) -> Path:
    """The small run, named after its file, with the changes (YAML) merged into it."""
    sandbox = "local" if Bubblewrap().missing() else "bubblewrap"
    named = {"name": path.stem, "sandbox": {"use": sandbox}}
    OmegaConf.save(OmegaConf.merge(OmegaConf.create(RECIPE), named, OmegaConf.create(changes)), path)
    return path


class Driver:
    """The command that runs a recipe, the same each time it is started, from the recipe's folder."""

    process: "subprocess.Popen[bytes]"
    """That was started last."""

    def __init__(self, path: Path, *, patience: float) -> None:
        self.path = path
        self.log = path.with_suffix(".log")
        self.patience = patience
        """Seconds to wait for whatever is waited for."""

    def start(self, *changes: str, **variables: str) -> None:
        """With changes to the recipe and variables of the environment."""
        command = [sys.executable, "-m", "rft.cli", "run", str(self.path), *changes]
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.path.parent, stdout=log, stderr=log, env=environment)

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait while it runs."""
        limit = time.monotonic() + self.patience
        while not ready():
            assert self.process.poll() is None, f"it ended before its time:\n{self.said()}"
            assert time.monotonic() < limit, f"nothing for {self.patience} s:\n{self.said()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """As by `kill -9`."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ends(self, within: float | None = None) -> int:
        """Its exit code, in the end."""
        return self.process.wait(timeout=within or self.patience)

    def said(self) -> str:
        """The end of what all its starts printed."""
        return self.log.read_text(errors="replace")[-4000:]


def lines(path: Path) -> list[bytes]:
    """The whole lines of a file that is written; none where it is not there yet."""
    found = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [line for line in found if line.endswith(b"\n")]


def facts(run: Run) -> dict[str, Any]:
    """What must not depend on what was killed and lost on the way."""
    collect, score, select = (run.stage(1, name).path for name in ("collect", "score", "select"))
    attempts = list(Records(collect / "trajectories.jsonl", Trajectory))
    assert len({a.id for a in attempts}) == len(attempts) == ATTEMPTS
    assert all(a.failure is None for a in attempts)
    return {
        "attempts": sorted(
            (a.id, a.patch, [s.reply for s in a.steps], str(a.outcome and a.outcome.tests)) for a in attempts
        ),
        "scores": sorted((r.id, r.score) for r in Records(score / "reports.jsonl", Report)),
        "decisions": sorted((d.id, d.keep, d.rule) for d in Records(select / "decisions.jsonl", Decision)),
        "examples": sorted((e.id, tuple(e.ids)) for e in Records(select / "examples.jsonl", Example)),
        "weights": digest_path(run.checkpoint(1) / "model.safetensors"),
    }
