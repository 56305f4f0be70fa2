"""Three Ray nodes on one machine, lost one by one and all together in every stage: no attempt is made or used twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from raylets import Nodes  # type: ignore[import-not-found]

from reward_models.types import Report
from rft.recipe import load
from rft.rundir import Run
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.store import Records, digest_path
from rft.types import Decision, Example, Trajectory

pytestmark = [pytest.mark.process, pytest.mark.slow]

RECIPE = """
name: {name}
seed: 3
rounds: 1
policy:
  model: fresh
  create: {{use: tiny_qwen3, vocab_size: 400, hidden_size: 32, layers: 2, heads: 2, kv_heads: 1, intermediate_size: 64}}
  sampling: {{max_tokens: 24}}
environment: {{use: kata, modules: [spans, clock]}}
sandbox: {{use: {sandbox}}}
agent: {{use: "team:Careful", prompt: terse, max_steps: 6, observation_chars: 300}}
collect:
  tasks: 12
  samples: 4
  inference: {{use: demonstrator, repeat: 0}}
  pool: {{use: ray, workers: 3, per_node: 1, concurrency: 2, watch: 20}}
score: {{rubric: team.yaml}}
select: {{rules: [{{use: finished}}, {{use: best_of_group, keep: 2}}]}}
train: {{tokens: 6000, workers: {workers}, ray: {ray}, trl: {{save_steps: 2, learning_rate: 1.0e-3}}}}
evaluate: {{splits: []}}
"""
TEAM = '''
import time
from dataclasses import dataclass

from rft.agents.bash import Bash


@dataclass(kw_only=True)
class Careful(Bash):
    """The shipped agent, which thinks for a while."""

    def attempt(self, task, sandbox, conversation):
        time.sleep(0.5)
        return super().attempt(task, sandbox, conversation)


def brief(transcript):
    """Takes its time."""
    time.sleep(0.2)
    return len(transcript.steps) < 5
'''
RUBRIC = """
name: team
version: 1
view: trajectory
criteria:
  - {id: solved, rule: tests_pass, weight: 4}
  - {id: brief, rule: "team:brief", weight: 1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the user works: recipes, a plug-in and a rubric. The nodes are started elsewhere."""
    (tmp_path / "team.py").write_text(TEAM)
    (tmp_path / "team.yaml").write_text(RUBRIC)
    return tmp_path


@pytest.fixture
def clusters() -> Iterator[list[Nodes]]:
    made: list[Nodes] = []
    yield made
    for nodes in made:
        nodes.lose_all()


def recipe(folder: Path, name: str, workers: int, ray: str) -> Path:
    path = folder / f"{name}.yaml"
    sandbox = "local" if Bubblewrap().missing() else "bubblewrap"
    path.write_text(RECIPE.format(name=name, sandbox=sandbox, workers=workers, ray=ray))
    return path


class Driver:
    """The command that runs the recipe, the same each time, on whichever cluster there is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, nodes: Nodes | None, *changes: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"RAY_ADDRESS": nodes.address} if nodes else {})
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "rft.cli", "run", self.path.name, *changes]
            self.process = subprocess.Popen(command, cwd=self.path.parent, stdout=log, stderr=log, env=environment)

    def until(self, ready: Callable[[], bool], seconds: float = 600) -> None:
        assert self.process is not None
        limit = time.monotonic() + seconds
        while not ready():
            assert self.process.poll() is None, f"it ended before its time:\n{self.said()}"
            assert time.monotonic() < limit, f"nothing for {seconds} s:\n{self.said()}"
            time.sleep(0.02)

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ends(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=900)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


def lines(path: Path) -> list[bytes]:
    return (
        [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")] if path.exists() else []
    )


def facts(run: Run) -> dict[str, object]:
    """What must not depend on what was lost on the way."""
    collect, score, select = (run.stage(1, name).path for name in ("collect", "score", "select"))
    attempts = list(Records(collect / "trajectories.jsonl", Trajectory))
    assert len({a.id for a in attempts}) == len(attempts) == 48
    assert all(a.failure is None for a in attempts)
    reports = list(Records(score / "reports.jsonl", Report))
    decisions = list(Records(select / "decisions.jsonl", Decision))
    assert sorted(r.id for r in reports) == sorted(d.id for d in decisions) == sorted(a.id for a in attempts)
    return {
        "attempts": sorted(
            (a.id, a.patch, [s.reply for s in a.steps], str(a.outcome and a.outcome.tests)) for a in attempts
        ),
        "scores": sorted((r.id, r.score) for r in reports),
        "decisions": sorted((d.id, d.keep, d.rule) for d in decisions),
        "examples": sorted((e.id, tuple(e.ids)) for e in Records(select / "examples.jsonl", Example)),
        "weights": digest_path(run.checkpoint(1) / "model.safetensors"),
    }


@pytest.mark.parametrize(("workers", "ray"), [(1, "null"), (2, "{}")], ids=["trains-on-the-head", "trains-over-nodes"])
def test_nodes_and_clusters_lost_in_every_stage(
    folder: Path, clusters: list[Nodes], workers: int, ray: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    def cluster() -> Nodes:
        clusters.append(Nodes(beside=2))
        return clusters[-1]

    plain = Driver(recipe(folder, "plain", workers, ray))
    plain.start(None, "collect.pool={use: threads, concurrency: 4}", "train.ray=null")
    assert plain.ends() == 0, plain.said()

    driver = Driver(recipe(folder, "struck", workers, ray))
    run = Run(load(str(driver.path)))
    collect, score, train = (run.stage(1, name).path for name in ("collect", "score", "train"))
    trajectories, reports, log = collect / "trajectories.jsonl", score / "reports.jsonl", train / "log.jsonl"

    def everything_is_lost() -> Nodes:
        """The machine with driver and head on it, and the others."""
        driver.kill()
        nodes.lose_all()
        return cluster()

    # A node is lost in collect: the run goes on. Then all are.
    nodes = cluster()
    driver.start(nodes)
    driver.until(lambda: len(lines(trajectories)) >= 6)
    nodes.lose("ray::_Actor")
    driver.until(lambda: len(lines(trajectories)) >= 24)
    assert "its items are owed again" in driver.said()
    kept = lines(trajectories)
    nodes = everything_is_lost()

    # A node is lost in score, where the driver works alone: nothing is to be seen of it. Then all are.
    driver.start(nodes)
    driver.until(lambda: len(lines(reports)) >= 1)
    nodes.lose()
    driver.until(lambda: len(lines(reports)) >= 12)
    scored = lines(reports)
    nodes = everything_is_lost()

    # A node is lost in train: one where a process trains ends the stage with a line, any other is not missed.
    driver.start(nodes)
    driver.until(lambda: any((train / "trainer").glob("checkpoint-*/complete.json")))
    if ray == "null":
        nodes.lose()
    else:
        nodes.lose("RayTrainWorker")
        assert driver.ends() == 1 and "train: a process on the cluster was lost" in driver.said(), driver.said()
        nodes.lose_all()
        nodes = cluster()
        driver.start(nodes)
    steps = len(lines(log))
    driver.until(lambda: len(lines(log)) > steps)
    nodes = everything_is_lost()

    driver.start(nodes)
    assert driver.ends() == 0, driver.said()
    assert "Traceback" not in driver.log.read_text(errors="replace")
    assert lines(trajectories)[: len(kept)] == kept, "what was finished is not made again"
    assert lines(reports)[: len(scored)] == scored
    undisturbed, struck = facts(Run(load(str(plain.path)))), facts(run)
    for what, value in undisturbed.items():
        assert struck[what] == value, what
