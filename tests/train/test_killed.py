"""A training of any method that is killed goes on to the weights of an undisturbed one."""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from training_cases import MAKERS  # type: ignore[import-not-found]

from rft.store import digest_path
from rft.train.process import Spec
from rft.train.resume import last_checkpoint, set_back
from tests.conftest import write_records

TRL = {"num_train_epochs": 4, "save_steps": 4, "learning_rate": 1e-2, "per_device_train_batch_size": 2}


def train(spec: Spec) -> None:
    from rft.train import training

    training.train(spec)


@pytest.fixture(scope="module")
def processes() -> Any:
    """Processes that begin with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rft.train.training", "rft.train.preferences", "rft.train.grpo"])
    return context


@pytest.mark.process
@pytest.mark.parametrize("method", ["dpo", "kto", "grpo"])
def test_a_kill_in_mid_epoch_changes_no_weight(
    processes: Any, tmp_path: Path, policy: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = write_records(tmp_path / "examples.jsonl", MAKERS[method](12))
    specs = [
        Spec(
            model=str(policy), examples=str(file), folder=str(tmp_path / name), seed=0, tokens=None, workers=1,
            deepspeed=None, lora=None, trl=TRL, resume=None, parent=0, method=method,
        )
        for name in ("whole", "broken")
    ]  # fmt: skip

    def start(spec: Spec) -> Any:
        Path(spec.folder).mkdir(exist_ok=True)
        process = processes.Process(target=train, args=(spec,))
        process.start()
        return process

    whole, broken = map(start, specs)
    log = Path(specs[1].folder) / "log.jsonl"
    deadline = time.monotonic() + 60
    while (not log.exists() or log.read_bytes().count(b"\n") < 9) and time.monotonic() < deadline:
        time.sleep(0.005)
    broken.kill()
    broken.join()
    assert broken.exitcode == -9, "it had ended before"
    checkpoint = last_checkpoint(Path(specs[1].folder) / "trainer")
    assert checkpoint is not None and int(checkpoint.name.rpartition("-")[2]) % 6, "six steps are an epoch"
    set_back(log, checkpoint)
    again = start(msgspec.structs.replace(specs[1], resume=str(checkpoint)))
    again.join()
    whole.join()
    assert (whole.exitcode, again.exitcode) == (0, 0)
    one, other = (Path(spec.folder) / "checkpoint" for spec in specs)
    assert digest_path(one) == digest_path(other)
    steps = [msgspec.json.decode(line)["step"] for line in log.read_bytes().splitlines()]
    assert steps == list(range(1, max(steps) + 1))
