"""Where an interrupted training goes on: reads the trainer's checkpoints and sets the log back to the one chosen."""

import contextlib
import shutil
from pathlib import Path

import msgspec

from rft.store import write_atomic
from rft.train.process import logged

COMPLETE = "complete.json"


def mark_complete(checkpoint: Path) -> None:
    """Say that all of a checkpoint is on disk, file by file."""
    write_atomic(checkpoint / COMPLETE, msgspec.json.encode(_sizes(checkpoint)))


def last_checkpoint(trainer: Path) -> Path | None:
    """The newest whole checkpoint in a trainer's folder; those that a kill left in part are removed."""
    found = {_step(path): path for path in trainer.glob("checkpoint-*") if path.is_dir()}
    for step in sorted(found, reverse=True):
        if _is_complete(found[step]):
            return found[step]
        shutil.rmtree(found[step])
    return None


def set_back(log: Path, checkpoint: Path | None) -> None:
    """Forget the logged steps that will be trained again."""
    step = _step(checkpoint) if checkpoint else 0
    kept = [line for line in logged(log) if line["step"] <= step]
    write_atomic(log, b"".join(msgspec.json.encode(line) + b"\n" for line in kept))


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def _is_complete(checkpoint: Path) -> bool:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        marked = msgspec.json.decode((checkpoint / COMPLETE).read_bytes(), type=dict[str, int])
        present = _sizes(checkpoint)
        return all(present.get(name) == size for name, size in marked.items())
    return False


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != COMPLETE)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
