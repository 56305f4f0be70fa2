"""The evaluate stage from attempts to promotion, with real sandboxes and the scripted policy."""

from pathlib import Path

import msgspec
import pytest
import yaml

from rft.errors import RecipeError, StageError
from rft.evaluate import read_report
from rft.evaluate import run as evaluate
from rft.recipe import Recipe
from rft.rundir import Run
from rft.store import Records
from rft.types import Trajectory

REPAIR = ["look\n```bash\ncat a.txt\n```", "mend\n```bash\necho fixed > a.txt\n```", "done\n```bash\nsubmit\n```"]
GIVE_UP = ["done\n```bash\nsubmit\n```"]


def recipe(folder: Path, scripts: dict[str, list[str]], **world: object) -> Recipe:
    """A recipe whose policy answers each task from `scripts`."""
    (folder / "script.yaml").write_text(yaml.safe_dump(scripts))
    made = Recipe(
        name="one",
        runs=str(folder / "runs"),
        environment={"use": "small_world:SmallWorld", "folder": str(folder), **world},
        sandbox={"use": "local"},
    )
    made.policy.model = "scripted"
    made.policy.inference = {"use": "scripted", "path": str(folder / "script.yaml")}
    made.collect.pool = {"use": "serial"}
    made.evaluate.splits = ["heldout", "unseen"]
    made.evaluate.samples = 2
    return made


def checkpoint(run: Run, round: int) -> None:
    folder = run.checkpoint(round)
    folder.mkdir(parents=True)
    (folder / "weights").write_text(str(round))


def test_rounds_are_paired_and_a_fall_is_not_promoted(tmp_path: Path) -> None:
    begun = recipe(tmp_path, {"heldout-0": REPAIR, "default": GIVE_UP})
    run = Run(begun)
    evaluate(begun, run, 0)
    checkpoint(run, 1)
    better = recipe(tmp_path, {"heldout-0": REPAIR, "heldout-1": REPAIR, "default": GIVE_UP})
    evaluate(better, run, 1)
    checkpoint(run, 2)
    evaluate(recipe(tmp_path, {"default": GIVE_UP}), run, 2)

    reports = [read_report(run.stage(round, "evaluate")) for round in range(3)]
    first, second, third = reports
    assert first is not None and second is not None and third is not None
    assert [report.promoted for report in (first, second, third)] == [True, True, False]
    assert [round(report.splits["heldout"].metrics["resolved"].value or 0, 3) for report in (first, second, third)] == [
        0.333,
        0.667,
        0.0,
    ]
    assert second.splits["heldout"].differences[0]["resolved"].value == pytest.approx(1 / 3)
    assert set(third.splits["heldout"].differences) == {0, 1}
    assert third.incumbent == 1
    assert "fell" in third.reason
    assert second.policy == "round_01/4_train/checkpoint"
    assert run.policy(3) == str(run.checkpoint(1))

    manifest = run.stage(1, "evaluate").require()
    assert manifest.counts == {"promoted": 1, "tasks": 6, "attempts": 12, "failures": 0}
    assert manifest.metrics["heldout/resolved"] == pytest.approx(2 / 3)
    assert manifest.metrics["unseen/criterion/submitted"] == 1.0
    assert "against round 0" in (run.stage(1, "evaluate").path / "report.md").read_text()

    seeds = [
        {
            (t.task_id, t.sample): t.seed
            for t in Records(run.stage(r, "evaluate").path / "trajectories.jsonl", Trajectory)
        }
        for r in range(3)
    ]
    assert seeds[0] == seeds[1] == seeds[2]
    assert len(set(seeds[0].values())) == 12


def test_done_is_skipped_and_a_torn_record_is_made_again(tmp_path: Path) -> None:
    begun = recipe(tmp_path, {"default": REPAIR})
    run = Run(begun)
    evaluate(begun, run, 0)
    stage = run.stage(0, "evaluate")
    whole = msgspec.json.decode((stage.path / "report.json").read_bytes())
    written = (stage.path / "manifest.json").stat().st_mtime_ns
    evaluate(begun, run, 0)
    assert (stage.path / "manifest.json").stat().st_mtime_ns == written

    (stage.path / "manifest.json").unlink()
    path = stage.path / "trajectories.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    evaluate(begun, run, 0)
    again = msgspec.json.decode((stage.path / "report.json").read_bytes())
    for report in (whole, again):
        for split in report["splits"].values():
            del split["means"]["seconds"]
    assert again == whole


def test_breakdowns_beyond_the_allowed_share_stop_the_stage_and_others_are_left_out(tmp_path: Path) -> None:
    begun = recipe(tmp_path, {"default": REPAIR}, broken="heldout-1")
    begun.collect.max_failed = 0.1
    with pytest.raises(StageError, match="2 of 12 attempts broke down"):
        evaluate(begun, Run(begun), 0)
    begun.collect.max_failed = 0.2
    evaluate(begun, Run(begun), 0)
    report = read_report(Run(begun).stage(0, "evaluate"))
    assert report is not None
    heldout = report.splits["heldout"]
    assert (heldout.tasks, heldout.attempts, heldout.failures, heldout.metrics["resolved"].value) == (3, 6, 2, 1.0)


def test_an_unknown_metric_stops_before_any_attempt(tmp_path: Path) -> None:
    begun = recipe(tmp_path, {"default": REPAIR})
    begun.evaluate.promote_if = "resolvd"
    with pytest.raises(RecipeError, match="Did you mean 'resolved'"):
        evaluate(begun, Run(begun), 0)
    assert not Run(begun).path.exists()
