"""A tiny policy made from scratch, and runs whose select stage is done."""

from pathlib import Path
from typing import Any

import pytest
from training_cases import WORDS, MakeRun  # type: ignore[import-not-found]

from rft.inference.fresh import TinyQwen3
from rft.recipe import Policy, Recipe, Train
from rft.rundir import Run
from rft.types import Example
from tests.conftest import finish_stage


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Qwen3 with a context of 256 tokens."""
    path = tmp_path_factory.mktemp("policy") / "tiny"
    shape = TinyQwen3(
        vocab_size=300, hidden_size=32, layers=2, heads=2, kv_heads=1, intermediate_size=64, max_position=256
    )
    shape.make(path, WORDS * 20, seed=0)
    return path


@pytest.fixture
def make_run(tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A run with a finished select stage in round 1."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # tests share their cores

    def make(examples: list[Example], name: str = "small", **train: Any) -> tuple[Recipe, Run]:
        recipe = Recipe(
            name=name,
            runs=str(tmp_path / "runs"),
            policy=Policy(model=str(policy)),
            environment={"use": "kata"},
            train=Train(**train),
        )
        run = Run(recipe)
        finish_stage(run.stage(1, "select"), {"examples.jsonl": examples}, {"examples": len(examples)})
        return recipe, run

    return make
