"""One scored run with judged criteria, made once."""

from pathlib import Path

import pytest
import scored_run

from rft.rundir import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scored_run.make(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def folder(run: Run) -> Path:
    return run.path
