"""The same command finishes after `kill -9` in every stage: no record twice, none missing, the same decisions."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from reward_models.types import Report
from rft.recipe import load
from rft.rundir import Run
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.store import Records, digest_path
from rft.types import Decision, Example, Trajectory

RECIPE = """
name: {name}
runs: {runs}
seed: 3
rounds: 1
policy:
  model: fresh
  create: {{use: tiny_qwen3, vocab_size: 400, hidden_size: 32, layers: 2, heads: 2, kv_heads: 1, intermediate_size: 64}}
  sampling: {{max_tokens: 24}}
environment: {{use: kata, modules: [spans, clock]}}
sandbox: {{use: {sandbox}}}
agent: {{use: bash, prompt: terse, max_steps: 6, observation_chars: 300}}
collect:
  tasks: 12
  samples: 4
  inference: {{use: demonstrator, repeat: 0}}
  pool: {{use: ray, workers: 2, concurrency: 2}}
select: {{rules: [{{use: finished}}, {{use: best_of_group, keep: 2}}]}}
train: {{tokens: 6000, trl: {{save_steps: 2, learning_rate: 1.0e-3}}}}
evaluate: {{tasks: 6, samples: 2}}
"""

pytestmark = pytest.mark.process


def recipe(tmp_path: Path, name: str) -> Path:
    path = tmp_path / f"{name}.yaml"
    sandbox = "local" if Bubblewrap().missing() else "bubblewrap"
    path.write_text(RECIPE.format(name=name, runs=tmp_path / "runs", sandbox=sandbox))
    return path


def start(path: Path) -> "subprocess.Popen[bytes]":
    log = path.with_suffix(".log").open("ab")
    # Ray's workers are nice by default, and starve beside other tests.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    return subprocess.Popen(
        [sys.executable, "-m", "rft.cli", "run", str(path)], stdout=log, stderr=log, env=environment
    )


def wait_until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", path: Path, seconds: float = 240) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        log = path.with_suffix(".log").read_text(errors="replace")[-3000:]
        assert process.poll() is None, f"the run ended before it could be killed:\n{log}"
        assert time.monotonic() < limit, f"nothing to kill after {seconds} s:\n{log}"
        time.sleep(0.02)


def finish(path: Path) -> Run:
    process = start(path)
    code = process.wait(timeout=400)
    assert code == 0, path.with_suffix(".log").read_text(errors="replace")[-3000:]
    loaded = load(str(path))
    return Run(loaded)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def children(process: "subprocess.Popen[bytes]", word: str) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if word in child.name() or any(word in part for part in child.cmdline()):
                found.append(child)
    return found


def facts(run: Run) -> dict[str, object]:
    """What must not depend on how often the run was killed."""
    collect, score, select = (run.stage(1, name).path for name in ("collect", "score", "select"))
    attempts = list(Records(collect / "trajectories.jsonl", Trajectory))
    assert len({a.id for a in attempts}) == len(attempts) == 48
    assert all(a.failure is None for a in attempts)
    held_out = list(Records(run.stage(1, "evaluate").path / "trajectories.jsonl", Trajectory))
    assert len({a.id for a in held_out}) == len(held_out) == 12
    return {
        "attempts": sorted(
            (a.id, a.patch, [s.reply for s in a.steps], str(a.outcome and a.outcome.tests)) for a in attempts
        ),
        "scores": sorted((r.id, r.score) for r in Records(score / "reports.jsonl", Report)),
        "decisions": sorted((d.id, d.keep, d.rule) for d in Records(select / "decisions.jsonl", Decision)),
        "examples": sorted((e.id, tuple(e.ids)) for e in Records(select / "examples.jsonl", Example)),
        "weights": digest_path(run.checkpoint(1) / "model.safetensors"),
        "held out": sorted((a.id, [s.reply for s in a.steps]) for a in held_out),
    }


def test_a_run_killed_in_every_stage_ends_like_one_that_was_not(tmp_path: Path) -> None:
    plain = facts(finish(recipe(tmp_path, "plain")))

    path = recipe(tmp_path, "killed")
    run = Run(load(str(path)))
    trajectories = run.stage(1, "collect").path / "trajectories.jsonl"

    def kill_driver_when(ready: Callable[[], bool]) -> None:
        process = start(path)
        wait_until(ready, process, path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    kill_driver_when(lambda: lines(trajectories) >= 4)

    # A Ray worker dies in collect; the driver carries on by itself, and is then killed as well.
    process = start(path)
    wait_until(lambda: lines(trajectories) >= 10, process, path)
    workers = children(process, "ray::_Actor")
    assert workers, "no Ray worker to kill"
    workers[0].kill()
    wait_until(lambda: lines(trajectories) >= 25, process, path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    kill_driver_when(lambda: lines(run.stage(1, "score").path / "reports.jsonl") >= 1)
    kill_driver_when(lambda: (run.stage(1, "select").path / "started.json").exists())
    kill_driver_when(lambda: any((run.stage(1, "train").path / "trainer").glob("checkpoint-*")))

    # The trainer dies in mid-epoch: the run stops with one line, and the same command carries on.
    process = start(path)
    wait_until(lambda: lines(run.stage(1, "train").path / "log.jsonl") >= 4, process, path)
    for trainer in children(process, "rft.train.worker"):
        trainer.kill()
    assert process.wait(timeout=60) == 1
    assert "Traceback" not in path.with_suffix(".log").read_text(errors="replace")

    kill_driver_when(lambda: lines(run.stage(1, "evaluate").path / "trajectories.jsonl") >= 2)
    kill_driver_when(lambda: lines(run.stage(1, "evaluate").path / "reports.jsonl") >= 1)

    killed = facts(finish(path))
    for what, value in plain.items():
        assert killed[what] == value, what
    left = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert not left, "processes outlived their run"
