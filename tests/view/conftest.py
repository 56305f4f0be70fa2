"""One finished run, made once; tests that change it get a copy."""

import shutil
from pathlib import Path

import fabricated
import pytest

from rft.rundir import Run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fabricated.make_run(tmp_path_factory.mktemp("runs"), rounds=2, tasks=12)


@pytest.fixture
def halfway(finished: Run, tmp_path: Path) -> Run:
    """Killed in the collect stage of round 2, in the middle of a line."""
    shutil.copytree(finished.path, tmp_path / "quickstart")
    run = Run(fabricated.recipe(tmp_path, rounds=2))
    for stage in ("score", "select", "train", "evaluate"):
        shutil.rmtree(run.stage(2, stage).path)
    (run.stage(2, "collect").path / "manifest.json").unlink()
    path = run.stage(2, "collect").path / "trajectories.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    return run


@pytest.fixture
def untouched(tmp_path: Path) -> Run:
    """A run that was begun and has done nothing."""
    run = Run(fabricated.recipe(tmp_path / "other", rounds=2))
    with run.driving():
        pass
    return run
