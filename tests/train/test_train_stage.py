"""The stage as users run it: its own process, killed and gone on with."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from training_cases import MAKERS, MakeRun, make_examples  # type: ignore[import-not-found]

from rft import train
from rft.errors import RecipeError, StageError, StoreError
from rft.recipe import dump
from rft.store import digest_path
from rft.train.process import failure, seen
from tests.conftest import check_outputs

LONG = {"num_train_epochs": 15, "save_steps": 4, "learning_rate": 1e-2}


def trainers(parent: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # another test's, ending
            found += [child] if "rft.train.worker" in " ".join(child.cmdline()) else []
    return found


def kill_trainer_at(log: Path, step: int) -> None:
    while not log.exists() or log.read_bytes().count(b"\n") < step:
        time.sleep(0.01)
    for trainer in trainers(psutil.Process()):
        trainer.kill()


def test_a_killed_trainer_goes_on_to_the_weights_of_an_undisturbed_one(make_run: MakeRun) -> None:
    examples = make_examples(24)
    recipe, whole = make_run(examples, "whole", trl=LONG)
    train.run(recipe, whole, 1)

    recipe, broken = make_run(examples, "broken", trl=LONG)
    stage = broken.stage(1, "train")
    killer = threading.Thread(target=kill_trainer_at, args=(stage.path / "log.jsonl", 10))
    killer.start()
    with pytest.raises(StageError, match=r"the trainer was ended by SIGKILL .*trainer\.log"):
        train.run(recipe, broken, 1)
    killer.join()
    assert stage.manifest() is None
    train.run(recipe, broken, 1)

    spec = json.loads((stage.path / "spec.json").read_text())
    assert spec["resume"], "trained from the start again"
    assert digest_path(broken.checkpoint(1)) == digest_path(whole.checkpoint(1))
    steps = [json.loads(line)["step"] for line in (stage.path / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, max(steps) + 1))
    manifest = stage.require()
    assert manifest.metrics["loss_last"] < manifest.metrics["loss_first"]
    assert manifest.counts["learnt_tokens"] == 24 * 11 * 15
    check_outputs(stage)


def test_a_killed_driver_leaves_no_trainer(make_run: MakeRun, tmp_path: Path) -> None:
    recipe, _ = make_run(make_examples(4), trl=LONG)
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    script = (
        "import sys; from rft import recipe, rundir, train\n"
        "made = recipe.load(sys.argv[1]); train.run(made, rundir.Run(made), 1)"
    )
    driver = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "recipe.yaml")])
    try:
        found: list[psutil.Process] = []
        deadline = time.monotonic() + 30
        while not found and time.monotonic() < deadline:
            time.sleep(0.05)
            found = trainers(psutil.Process(driver.pid))
        assert found
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    _, alive = psutil.wait_procs(found, timeout=10)
    assert not alive


def test_what_was_trained_outlives_an_end_before_the_manifest(make_run: MakeRun) -> None:
    recipe, run = make_run(make_examples(4), trl={"num_train_epochs": 1})
    stage = run.stage(1, "train")
    in_the_way = stage.path / f".manifest.json.{os.getpid()}.new"
    in_the_way.mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be written"):
        train.run(recipe, run, 1)
    in_the_way.rmdir()
    train.run(recipe, run, 1)
    assert json.loads((stage.path / "spec.json").read_text())["resume"], "trained from the start again"
    assert not (stage.path / "trainer").exists()


def test_no_examples_is_an_error_that_names_the_funnel(make_run: MakeRun) -> None:
    recipe, run = make_run([])
    with pytest.raises(StageError, match=r"selected no examples.*funnel\.json"):
        train.run(recipe, run, 1)


def test_the_trainer_s_reason_reaches_the_user(make_run: MakeRun) -> None:
    recipe, run = make_run(make_examples(4), trl={"max_length": 20})
    with pytest.raises(StageError, match=r"longer than train\.trl\.max_length of 20 tokens.*max_tokens"):
        train.run(recipe, run, 1)


@pytest.mark.parametrize(
    ("left", "code", "kind", "words"),
    [
        ('{"kind":"RecipeError","message":"train.trl.x: no"}', 1, RecipeError, "^train.trl.x: no$"),
        ('{"kind":"OutOfMemoryError","message":"no more"}', 1, StageError, r"failed: OutOfMemoryError: no more;.*log"),
        ('{"kind":', 1, StageError, r"ended with exit code 1 \(last words\)"),
        ("", -9, StageError, r"ended by SIGKILL \(last words\)"),
    ],
)
def test_an_end_is_told_with_its_cause(tmp_path: Path, left: str, code: int, kind: type, words: str) -> None:
    (tmp_path / "error.json").write_text(left)
    (tmp_path / "trainer.log").write_text("first words\nlast words\n\n=========\n")
    with pytest.raises(kind, match=words):
        raise failure(tmp_path, code)


def test_a_result_that_another_node_has_written_may_be_seen_late(tmp_path: Path) -> None:
    late = threading.Timer(0.5, (tmp_path / "result.json").touch)
    late.start()
    assert seen(tmp_path / "result.json", patience=30) and not seen(tmp_path / "other.json", patience=0.1)


@pytest.mark.parametrize(("difference", "warned"), [(0.06, True), (0.04, False)])
def test_an_engine_that_disagrees_with_the_trainer_is_told(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str], difference: float, warned: bool
) -> None:
    from rft.train.stage import warn_of_mismatch

    _, run = make_run([])
    stage = run.stage(1, "train")
    stage.path.mkdir(parents=True)
    lines = [{"step": n, "loss": 0, "ratio/mean": 1.02, "ratio/difference": difference * n} for n in (1, 2)]
    (stage.path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    warn_of_mismatch(stage, limit=0.05)
    told = capsys.readouterr().err
    assert ("disagree before the first update: log-probabilities differ by 0.060" in told) is warned


def test_what_only_some_updates_tell_is_told() -> None:
    from rft.train.stage import told

    log = [{"loss": 1, "ratio/b": 0.1}, {"loss": 1, "ratio/a": 0.2}, {"loss": 1, "ratio/b": 0.3}]
    assert told(log) == {"ratio/b_first": 0.1, "ratio/b_last": 0.3, "ratio/a_first": 0.2, "ratio/a_last": 0.2}


def test_the_driver_imports_no_torch() -> None:
    script = "import sys, rft.train, rft.train.rows; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo", "grpo"])
@pytest.mark.parametrize(("deepspeed", "workers"), [(None, 2), ("zero2", 1), ("zero2", 2), ("zero3", 2)])
def test_distributed_training_has_the_loss_curve_of_one_process(
    make_run: MakeRun, method: str, deepspeed: Any, workers: int
) -> None:
    """The first DeepSpeed case builds an operator, which takes a minute."""
    assert_one_curve(make_run, method, {"deepspeed": deepspeed, "workers": workers})


@pytest.mark.slow
def test_a_reference_measured_beforehand_by_two_processes_gives_the_same_curve(make_run: MakeRun) -> None:
    assert_one_curve(make_run, "dpo", {"workers": 2, "ahead": True})


@pytest.mark.slow
@pytest.mark.parametrize("deepspeed", [None, "zero2", "zero3"])
def test_two_processes_that_read_batches_in_parts_have_the_same_curve(make_run: MakeRun, deepspeed: Any) -> None:
    assert_one_curve(make_run, "dpo", {"deepspeed": deepspeed, "workers": 2, "batch_tokens": 200})


def assert_one_curve(make_run: MakeRun, method: str, extra: dict[str, Any]) -> None:
    """The losses of twelve updates, each to 1e-4."""
    options = {"num_train_epochs": 2, "bf16": False, "gradient_accumulation_steps": 1, "learning_rate": 1e-3}
    curves = []
    for name, more in (("one", {}), ("many", dict(extra))):
        rows = 4 // more.get("workers", 1)
        trl = {**options, "per_device_train_batch_size": rows}
        if more.pop("ahead", False):
            trl["precompute_ref_log_probs"] = True
        recipe, run = make_run(MAKERS[method](24), name, trl=trl, method=method, **more)
        train.run(recipe, run, 1)
        stage = run.stage(1, "train")
        curves.append([json.loads(line)["loss"] for line in (stage.path / "log.jsonl").read_text().splitlines()])
        check_outputs(stage)
    assert len(curves[0]) == 12 and curves[0][0] != curves[0][-1]
    assert curves[1] == pytest.approx(curves[0], abs=1e-4)
