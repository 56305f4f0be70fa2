"""Three Ray nodes on one machine, lost one by one and all together in every stage: no attempt is made or used twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from raylets import Nodes  # type: ignore[import-not-found]

from rft.recipe import load
from rft.rundir import Run
from tests.e2e.small_run import Driver, facts, lines, write_recipe

pytestmark = [pytest.mark.process, pytest.mark.slow]

CHANGES = """
agent: {{use: "team:Careful"}}
collect: {{pool: {{use: ray, workers: 3, per_node: 1, concurrency: 2, watch: 20}}}}
score: {{rubric: team.yaml}}
train: {{workers: {workers}, ray: {ray}}}
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


def whole(run: Run) -> dict[str, Any]:
    """The run's facts; each attempt has a report and a decision."""
    found = facts(run)
    attempts, scores, decisions = ([one[0] for one in found[what]] for what in ("attempts", "scores", "decisions"))
    assert scores == decisions == attempts
    return found


@pytest.mark.parametrize(("workers", "ray"), [(1, "null"), (2, "{}")], ids=["trains-on-the-head", "trains-over-nodes"])
def test_nodes_and_clusters_lost_in_every_stage(
    folder: Path, clusters: list[Nodes], workers: int, ray: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    def cluster() -> Nodes:
        clusters.append(Nodes(beside=2))
        return clusters[-1]

    changes = CHANGES.format(workers=workers, ray=ray)
    plain = Driver(write_recipe(folder / "plain.yaml", changes), patience=900)
    plain.start("collect.pool={use: threads, concurrency: 4}", "train.ray=null")
    assert plain.ends() == 0, plain.said()

    driver = Driver(write_recipe(folder / "struck.yaml", changes), patience=900)
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
    driver.start(RAY_ADDRESS=nodes.address)
    driver.until(lambda: len(lines(trajectories)) >= 6)
    nodes.lose("ray::_Actor")
    driver.until(lambda: len(lines(trajectories)) >= 24)
    assert "its items are owed again" in driver.said()
    kept = lines(trajectories)
    nodes = everything_is_lost()

    # A node is lost in score, where the driver works alone: nothing is to be seen of it. Then all are.
    driver.start(RAY_ADDRESS=nodes.address)
    driver.until(lambda: len(lines(reports)) >= 1)
    nodes.lose()
    driver.until(lambda: len(lines(reports)) >= 12)
    scored = lines(reports)
    nodes = everything_is_lost()

    # A node is lost in train: one where a process trains ends the stage with a line, any other is not missed.
    driver.start(RAY_ADDRESS=nodes.address)
    driver.until(lambda: any((train / "trainer").glob("checkpoint-*/complete.json")))
    if ray == "null":
        nodes.lose()
    else:
        nodes.lose("RayTrainWorker")
        assert driver.ends() == 1 and "train: one of its processes was lost" in driver.said(), driver.said()
        nodes.lose_all()
        nodes = cluster()
        driver.start(RAY_ADDRESS=nodes.address)
    steps = len(lines(log))
    driver.until(lambda: len(lines(log)) > steps)
    nodes = everything_is_lost()

    driver.start(RAY_ADDRESS=nodes.address)
    assert driver.ends() == 0, driver.said()
    assert "Traceback" not in driver.log.read_text(errors="replace")
    assert lines(trajectories)[: len(kept)] == kept, "what was finished is not made again"
    assert lines(reports)[: len(scored)] == scored
    undisturbed, struck = whole(Run(load(str(plain.path)))), whole(run)
    for what, value in undisturbed.items():
        assert struck[what] == value, what
