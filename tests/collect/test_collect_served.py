"""Rounds whose policy is served by replicas: each by its own weights, here and on Ray, one killed on the way."""

import hashlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from rft import collect
from rft import recipe as recipes
from rft.recipe import Recipe
from rft.rundir import Run
from rft.store import Records
from rft.types import Trajectory

FAKE = Path(__file__).parent.parent / "inference" / "fake_vllm.py"

pytestmark = pytest.mark.process


def make(tmp_path: Path, repository: Path, pool: dict[str, Any]) -> Recipe:
    flags = {"turns": 2, "delay": 0.2}
    command = f"{sys.executable} {FAKE}"
    text = {
        "name": "t",
        "runs": str(tmp_path / "runs"),
        "rounds": 2,
        "policy": {
            "model": str(tmp_path / "start"),
            "inference": {"use": "vllm", "command": command, "gpus": 0, "replicas": 2, "flags": flags},
        },
        "environment": {"use": "tests.collect.test_collect:Shelf", "repository": str(repository)},
        "sandbox": {"use": "local"},
        "collect": {"samples": 4, "pool": pool},
        "evaluate": {"splits": []},
    }
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(text))
    return recipes.load(str(path))


def weights(folder: Path, data: bytes) -> str:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(data)
    return hashlib.sha256(data).hexdigest()[:8]


def attempts(run: Run, round: int) -> list[Trajectory]:
    return list(Records(run.stage(round, "collect").path / "trajectories.jsonl", Trajectory))


def kill_one(folder: Path) -> list[int]:
    """Kill the first replica whose log says that it has started; all that were there then."""
    limit = time.monotonic() + 400
    while time.monotonic() < limit:
        logs = [path.read_text().split() for path in sorted(folder.glob("*.log"))]
        if (folder / "replicas.json").exists():
            time.sleep(0.3)  # answers are under way
            os.kill(int(logs[0][1]), signal.SIGKILL)
            return [int(words[1]) for words in logs]
        time.sleep(0.05)
    return []


@pytest.mark.parametrize(
    "pool",
    [
        {"use": "threads", "concurrency": 4},
        pytest.param({"use": "ray", "workers": 2, "concurrency": 4}, marks=pytest.mark.slow),
    ],
    ids=["here", "ray"],
)
def test_each_round_is_served_by_its_own_weights(tmp_path: Path, repository: Path, pool: dict[str, Any]) -> None:
    first = weights(tmp_path / "start", b"first")
    recipe = make(tmp_path, repository, {"use": "threads", "concurrency": 4})
    run = Run(recipe)
    with run.driving():
        collect.run(recipe, run, 1)
        training = run.stage(1, "train")
        assert training.start()
        second = weights(training.path / "checkpoint", b"second")
        training.finish([], counts={}, metrics={})

        recipe = make(tmp_path, repository, pool)
        folder = run.stage(2, "collect").path / "serving"
        killed: list[int] = []
        killer = threading.Thread(target=lambda: killed.extend(kill_one(folder)))
        killer.start()
        collect.run(recipe, run, 2)
        killer.join()
    for round, digest in ((1, first), (2, second)):
        found = attempts(run, round)
        assert len(found) == 12 and all(one.failure is None and one.stop == "submitted" for one in found)
        assert all(digest in one.steps[0].observation for one in found), "the round's own weights answered"
        assert all(one.tokens and all(row.logprobs for row in one.tokens) for one in found)
    assert len(killed) == 2
    logs = "".join(path.read_text() for path in folder.glob("*.log"))
    everyone = [int(line.split()[1]) for line in logs.splitlines()]
    assert set(killed) < set(everyone), "the one that was killed was started again"
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in everyone)
