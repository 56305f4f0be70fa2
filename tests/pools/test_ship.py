"""A node that cannot see the user's folder: what is in it is sent there, or one line says that it is missing."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from raylets import Nodes  # type: ignore[import-not-found]

from rft.store import Records
from rft.types import Trajectory

pytestmark = [pytest.mark.process, pytest.mark.slow]

PLUGINS = """
from dataclasses import dataclass
from pathlib import Path

from rft.environments.kata import Kata


@dataclass(kw_only=True)
class Noted(Kata):
    def start_state(self, task):
        assert Path("notes.txt").read_text() == "of ours", "data of the folder"
        there = "ray" in Path.cwd().parts  # the folder's copy on the node
        assert not (there and Path(".env").exists()), "keys of the user's"
        return super().start_state(task)
"""
RECIPE = """
name: sent
runs: {runs}
policy: {{model: none, inference: {{use: scripted, path: script.json}}}}
environment: {{use: "ours:Noted", modules: [spans]}}
sandbox: {{use: local}}
collect: {{tasks: 2, samples: 1, pool: {{use: ray, workers: 1, concurrency: 1, cpus: 1}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's: a recipe, a plug-in, data."""
    path = tmp_path / "mine"
    path.mkdir()
    (path / "ours.py").write_text(PLUGINS)
    (path / "notes.txt").write_text("of ours")
    (path / ".env").write_text("HF_TOKEN=secret")
    (path / "script.json").write_text(json.dumps({"default": ["```bash\nsubmit\n```"]}))
    (path / "recipe.yaml").write_text(RECIPE.format(runs=tmp_path / "shared"))
    return path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """A head without cores, and a node in a mount namespace of its own, where the folder is empty."""
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']
    if subprocess.run([*hidden, str(folder), "true"], capture_output=True).returncode:
        pytest.skip("mounting takes more rights")
    nodes = Nodes(beside=0, head_cores=0)
    ray = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        f"--address={nodes.address}",
        "--num-cpus=1",
        "--block",
    ]
    node = subprocess.Popen(
        [*hidden, str(folder.parent), *ray],
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield nodes.address
    os.killpg(node.pid, signal.SIGKILL)
    nodes.lose_all()


def collect(folder: Path, address: str, *changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rft.cli", "collect", "recipe.yaml", *changes],
        cwd=folder,
        env=os.environ | {"RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_plugins_and_data_of_the_folder_reach_a_node_that_does_not_share_it(folder: Path, address: str) -> None:
    without = collect(folder, address)
    assert without.returncode == 1 and "Traceback" not in without.stderr
    assert f"this node has no folder {folder}" in without.stderr and "collect.pool.ship=true" in without.stderr

    sent = collect(folder, address, "collect.pool.ship=true")
    assert sent.returncode == 0, sent.stderr
    attempts = list(Records(folder.parent / "shared/sent/round_01/1_collect/trajectories.jsonl", Trajectory))
    assert len(attempts) == 2 and all(attempt.failure is None for attempt in attempts)
