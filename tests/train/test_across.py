"""Training by processes on several nodes learns what processes side by side learn, and a lost one is told in a line."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from raylets import Nodes  # type: ignore[import-not-found]
from training_cases import MakeRun, make_examples  # type: ignore[import-not-found]

from rft import train
from rft.errors import RecipeError, StageError
from rft.rundir import Run
from rft.train.options import check_ray
from tests.conftest import check_outputs

TRL = {"bf16": False, "gradient_accumulation_steps": 1, "per_device_train_batch_size": 2, "learning_rate": 1e-3}


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A head without cores of its own for workers and two nodes beside it, so that two workers are on two nodes."""
    made = Nodes(beside=2, cores=1, head_cores=0)
    yield made
    made.lose_all()


def curve(run: Run) -> list[float]:
    lines = (run.stage(1, "train").path / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.slow
@pytest.mark.process
def test_two_nodes_learn_what_two_processes_learn_and_one_that_is_lost_is_told(
    make_run: MakeRun, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = make_examples(24)
    trl = {**TRL, "num_train_epochs": 3}
    recipe, beside = make_run(examples, "beside", workers=2, trl=trl)
    train.run(recipe, beside, 1)
    recipe, across = make_run(examples, "across", workers=2, ray={}, trl=trl)
    recipe.collect.pool = {"use": "ray", "address": nodes.address}
    train.run(recipe, across, 1)
    check_outputs(across.stage(1, "train"))
    assert len(curve(across)) == 18 and curve(across) == pytest.approx(curve(beside), abs=1e-5)

    recipe, struck = make_run(
        examples, "struck", workers=2, ray={}, trl={**trl, "num_train_epochs": 60, "save_steps": 5}
    )
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    folder = struck.stage(1, "train").path
    striker = threading.Thread(target=lose_at, args=(nodes, folder / "log.jsonl", 12))
    striker.start()
    with pytest.raises(StageError, match=r"train: one of its processes was lost: .*Run the same command again"):
        train.run(recipe, struck, 1)
    striker.join()
    assert any((folder / "trainer").glob("checkpoint-*"))


def lose_at(nodes: Nodes, log: Path, step: int) -> None:
    while not log.exists() or log.read_bytes().count(b"\n") < step:
        time.sleep(0.02)
    nodes.lose("RayTrainWorker")


def test_options_of_ray_are_checked_by_name() -> None:
    check_ray({"use_gpu": True, "resources_per_worker": {"CPU": 4}, "placement_strategy": "SPREAD"})
    with pytest.raises(RecipeError, match=r"train\.ray\.use_gpus: ray\.train\.ScalingConfig.* Did you mean 'use_gpu'"):
        check_ray({"use_gpus": True})
    with pytest.raises(RecipeError, match=r"train\.ray\.num_workers"):
        check_ray({"num_workers": 2})
