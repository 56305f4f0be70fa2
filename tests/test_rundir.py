"""The run directory: done or owed, refusal when something changed under a run, damage noticed."""

import dataclasses
import os
from pathlib import Path

import pytest

from rft import recipe as recipes
from rft.errors import RecipeError, StageError, StoreError
from rft.recipe import Recipe
from rft.rundir import Run, open_run
from rft.store import digest_path
from tests.conftest import check_outputs


def make(tmp_path: Path, *overrides: str) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(f"name: t\nruns: {tmp_path}/runs\npolicy: {{model: m}}\nenvironment: {{use: kata}}\n")
    return recipes.load(str(path), list(overrides))


def finish(
    run: Run, round: int, name: str, *, inputs: tuple[Path, ...] = (), counts: dict[str, int] | None = None
) -> Path:
    stage = run.stage(round, name)
    assert stage.start(inputs)
    output = stage.path / "out.jsonl"
    output.write_text(name)
    stage.finish([output], counts=counts or {}, metrics={"m": 1})
    return output


def test_a_stage_is_done_when_its_manifest_is_there_and_not_before(tmp_path: Path) -> None:
    run = Run(make(tmp_path))
    stage = run.stage(1, "collect")
    assert stage.start() and stage.manifest() is None
    with pytest.raises(StageError, match="not finished"):
        stage.require()
    assert stage.start(), "an interrupted stage is carried on"
    written = finish(run, 1, "collect")
    assert not stage.start()
    assert stage.require().outputs == {"round_01/1_collect/out.jsonl": digest_path(written)}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names open files by /proc")
def test_what_a_manifest_speaks_of_is_on_the_disk_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(make(tmp_path))
    checkpoint = run.stage(1, "train").path / "checkpoint"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    assert run.stage(1, "train").start()
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink().name))
    run.stage(1, "train").finish([checkpoint], counts={}, metrics={})
    assert synced[0] == "model.safetensors" and synced[1].startswith(".manifest.json.") and len(synced) == 2


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "half done"])
def test_a_recipe_that_changed_under_a_run_is_refused_with_the_key(tmp_path: Path, finished: bool) -> None:
    if finished:
        finish(Run(make(tmp_path)), 1, "collect")
    else:
        Run(make(tmp_path)).stage(1, "collect").start()
    changed = Run(make(tmp_path, "collect.samples=9", "agent.max_steps=3"))
    with pytest.raises(StageError) as caught:
        changed.stage(1, "collect").start()
    assert "collect.samples 4 -> 9" in str(caught.value) and "agent.max_steps null -> 3" in str(caught.value)
    assert changed.stage(1, "collect").start(redo=True)


def test_what_does_not_change_the_result_may_change(tmp_path: Path) -> None:
    finish(Run(make(tmp_path)), 1, "collect")
    changes = [
        "rounds=5",
        "collect.pool={use: ray}",
        "collect.max_failed=0.5",
        "tracking={use: none}",
        "train.tokens=5",
    ]
    assert not Run(make(tmp_path, *changes)).stage(1, "collect").start()


def test_an_input_that_changed_is_named(tmp_path: Path) -> None:
    run = Run(make(tmp_path))
    trajectories = finish(run, 1, "collect")
    finish(run, 1, "score", inputs=(trajectories,))
    trajectories.write_text("other")
    with pytest.raises(StageError, match=r"round_01/1_collect/out.jsonl is not the file that was read"):
        run.stage(1, "score").start([trajectories])


@pytest.mark.parametrize("stage", ["collect", "train"])
def test_a_policy_that_was_trained_anew_is_named(tmp_path: Path, stage: str) -> None:
    run = Run(make(tmp_path, "evaluate.splits=[]"))

    def train(weights: str) -> None:
        assert run.stage(1, "train").start(redo=True)
        run.checkpoint(1).mkdir()
        (run.checkpoint(1) / "model.safetensors").write_text(weights)
        run.stage(1, "train").finish([run.checkpoint(1)], counts={}, metrics={})

    train("weights")
    finish(run, 2, stage)
    train("weights")
    assert not run.stage(2, stage).start(), "the same weights again"
    train("others")
    with pytest.raises(StageError, match=r"round_01/4_train/checkpoint is not the file that was read"):
        run.stage(2, stage).start()


def test_the_starting_policy_is_evaluated_anew_when_it_is_another(tmp_path: Path) -> None:
    finish(Run(make(tmp_path)), 0, "evaluate")
    with pytest.raises(StageError, match=r'policy\.model "m" -> "other"'):
        Run(make(tmp_path, "policy.model=other")).stage(0, "evaluate").start()


def test_a_damaged_manifest_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    run = Run(make(tmp_path))
    finish(run, 1, "collect")
    (run.stage(1, "collect").path / "manifest.json").write_text('{"stage": "coll')
    with pytest.raises(StoreError, match="damaged"):
        run.stage(1, "collect").start()


def test_the_policy_of_a_round_is_the_newest_promoted_one(tmp_path: Path) -> None:
    run = Run(make(tmp_path))
    assert run.policy(1) == "m"
    finish(run, 1, "evaluate", counts={"promoted": 1})
    finish(run, 2, "evaluate", counts={"promoted": 0})
    assert run.policy(2) == run.policy(3) == str(run.checkpoint(1))
    blind = Run(make(tmp_path, "evaluate.splits=[]"))
    finish(blind, 1, "train")
    assert blind.policy(2) == str(blind.checkpoint(1))


def test_a_run_has_one_driver_and_can_be_moved(tmp_path: Path) -> None:
    run = Run(make(tmp_path))
    with run.driving(), pytest.raises(StoreError, match="another process"), Run(make(tmp_path)).driving():
        pass
    trajectories = finish(run, 1, "collect")
    finish(run, 1, "score", inputs=(trajectories,))
    run.path.rename(tmp_path / "elsewhere")
    moved = open_run(tmp_path / "elsewhere")
    check_outputs(moved.stage(1, "collect"))
    assert not moved.stage(1, "score").start([moved.stage(1, "collect").path / "out.jsonl"])
    with pytest.raises(RecipeError, match="not a run"):
        open_run(tmp_path)


def test_rounds_between_evaluations_are_promoted_as_they_are_trained(tmp_path: Path) -> None:
    run = Run(make(tmp_path, "rounds=5", "evaluate.every=2"))
    assert [round for round in range(6) if run.is_evaluated(round)] == [0, 2, 4, 5]
    finish(run, 1, "train")
    assert run.policy(2) == str(run.checkpoint(1))
    finish(run, 2, "train")
    assert run.policy(3) == str(run.checkpoint(1)), "round 2 is not promoted before it is evaluated"
    scratch = Run(make(tmp_path, "policy.create={use: tiny_qwen3}"))
    assert not scratch.is_evaluated(0) and scratch.is_evaluated(1)


def test_all_of_train_decides_what_is_trained_but_how_much_is_read_at_once_and_where(tmp_path: Path) -> None:
    read = {key.split(".")[1] for key in Run(make(tmp_path)).reads("train", 1) if key.startswith("train.")}
    assert {field.name for field in dataclasses.fields(recipes.Train)} - read == {"batch_tokens", "ray"}
