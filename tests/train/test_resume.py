"""Half a checkpoint is no checkpoint."""

import json
from pathlib import Path

from rft.train.resume import last_checkpoint, mark_complete, set_back


def checkpoint(trainer: Path, step: int) -> Path:
    path = trainer / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights" * step)
    return path


def test_the_newest_whole_checkpoint_is_chosen_and_partial_ones_go(tmp_path: Path) -> None:
    whole, damaged, unmarked = (checkpoint(tmp_path, step) for step in (9, 10, 11))
    mark_complete(whole)
    mark_complete(damaged)
    (damaged / "model.safetensors").write_bytes(b"weig")
    assert last_checkpoint(tmp_path) == whole
    assert not damaged.exists()
    assert not unmarked.exists()


def test_a_mark_cut_in_half_marks_nothing(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 3)
    mark_complete(path)
    mark = path / "complete.json"
    mark.write_bytes(mark.read_bytes()[:-3])
    assert last_checkpoint(tmp_path) is None


def test_a_fresh_folder_has_none(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path / "absent") is None


def test_the_log_forgets_steps_after_the_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(1, 8)) + '{"step": 8')
    set_back(log, checkpoint(tmp_path, 5))
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4, 5]
    set_back(log, None)
    assert log.read_bytes() == b""
