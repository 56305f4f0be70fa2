"""Of several training processes one dies: what the others see of that is told as a loss, not as the trainer's error."""

import multiprocessing
import os
from pathlib import Path

import pytest
from torch import distributed, ones

from rft.errors import StageError
from rft.train.process import Spec, failure
from rft.train.worker import complaining, keep_to_one_gpu


def spec_in(folder: Path) -> Spec:
    """Of two processes whose training is of no account."""
    return Spec(
        model="", examples="", folder=str(folder), seed=0, tokens=None, workers=2, deepspeed=None, lora=None, trl={},
        resume=None, parent=0,
    )  # fmt: skip


def rank(number: int, spec: Spec) -> None:
    """The second of two dies between two common steps."""
    distributed.init_process_group("gloo", f"file://{spec.folder}/meet", rank=number, world_size=2)
    if number:
        distributed.all_reduce(ones(1))
        os._exit(9)
    with complaining(spec):  # the first step too: the other may be gone before it is over here
        for _ in range(2):
            distributed.all_reduce(ones(1))


@pytest.mark.parametrize(
    ("shown", "kept"), [(None, "0"), ("2,3", "2"), ("GPU-8f5d", "GPU-8f5d"), ("", ""), ("-1", "-1")]
)
def test_one_process_sees_one_gpu(shown: str | None, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown or "")
    if shown is None:
        del os.environ["CUDA_VISIBLE_DEVICES"]
    keep_to_one_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == kept


def test_of_several_reasons_the_first_is_kept(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    for words in ("the cause", "an effect"):
        with pytest.raises(StageError), complaining(spec):
            raise StageError(words)
    assert str(failure(tmp_path, 1)) == "the cause"


@pytest.mark.process
def test_the_end_of_a_process_is_told_by_those_that_are_left(tmp_path: Path) -> None:
    spec = spec_in(tmp_path)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=rank, args=(number, spec)) for number in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [1, 9]
    told = failure(tmp_path, 1)
    assert isinstance(told, StageError)
    assert str(told).startswith("train: one of its processes was lost: ")
    assert str(told).endswith("Run the same command again: it goes on from the last checkpoint.")
