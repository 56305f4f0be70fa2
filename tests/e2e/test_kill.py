"""The same command finishes after `kill -9` in every stage: no record twice, none missing, the same decisions."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rft.recipe import load
from rft.rundir import Run
from rft.store import Records
from rft.types import Trajectory
from tests.e2e.small_run import Driver, facts, lines, write_recipe

pytestmark = pytest.mark.process


class Killed(Driver):
    """A driver with two Ray workers beside it, whose runs lie in its folder."""

    def __init__(self, path: Path) -> None:
        changes = f"""
        runs: {path.parent / "runs"}
        collect: {{pool: {{use: ray, workers: 2, concurrency: 2}}}}
        evaluate: {{tasks: 6, samples: 2}}
        """
        super().__init__(write_recipe(path, changes), patience=400)
        self.run = Run(load(str(path)))

    def begin(self) -> None:
        """Ray's workers are nice by default, and starve beside other tests."""
        self.start(RAY_worker_niceness="0")

    def children(self, word: str) -> list[psutil.Process]:
        """Its children with a word in their name or command."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if word in child.name() or any(word in part for part in child.cmdline()):
                    found.append(child)
        return found

    def found(self) -> dict[str, Any]:
        """Run it to the end; what must not depend on how often it was killed."""
        self.begin()
        assert self.ends() == 0, self.said()
        held_out = list(Records(self.run.stage(1, "evaluate").path / "trajectories.jsonl", Trajectory))
        assert len({a.id for a in held_out}) == len(held_out) == 12
        return {**facts(self.run), "held out": sorted((a.id, [s.reply for s in a.steps]) for a in held_out)}


def test_a_run_killed_in_every_stage_ends_like_one_that_was_not(tmp_path: Path) -> None:
    plain = Killed(tmp_path / "plain.yaml").found()

    driver = Killed(tmp_path / "killed.yaml")
    collect, score, select, train, evaluate = (
        driver.run.stage(1, name).path for name in ("collect", "score", "select", "train", "evaluate")
    )

    def kill_driver_when(ready: Callable[[], bool]) -> None:
        driver.begin()
        driver.until(ready)
        driver.kill()

    kill_driver_when(lambda: len(lines(collect / "trajectories.jsonl")) >= 4)

    # A Ray worker dies in collect; the driver carries on by itself, and is then killed as well.
    driver.begin()
    driver.until(lambda: len(lines(collect / "trajectories.jsonl")) >= 10)
    workers = driver.children("ray::_Actor")
    assert workers, "no Ray worker to kill"
    workers[0].kill()
    driver.until(lambda: len(lines(collect / "trajectories.jsonl")) >= 25)
    driver.kill()

    kill_driver_when(lambda: len(lines(score / "reports.jsonl")) >= 1)
    kill_driver_when(lambda: (select / "started.json").exists())
    kill_driver_when(lambda: any((train / "trainer").glob("checkpoint-*")))

    # The trainer dies in mid-epoch: the run stops with one line, and the same command carries on.
    driver.begin()
    driver.until(lambda: len(lines(train / "log.jsonl")) >= 4)
    for trainer in driver.children("rft.train.worker"):
        trainer.kill()
    assert driver.ends(within=60) == 1
    assert "Traceback" not in driver.log.read_text(errors="replace")

    kill_driver_when(lambda: len(lines(evaluate / "trajectories.jsonl")) >= 2)
    kill_driver_when(lambda: len(lines(evaluate / "reports.jsonl")) >= 1)

    killed = driver.found()
    for what, value in plain.items():
        assert killed[what] == value, what
    left = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])]
    assert not left, "processes outlived their run"
