"""The training process: started, followed through its log, ended with its parent, and its last words reported.

Reads and writes a stage's folder: `spec.json`, `log.jsonl`, `trainer.log`, `error.json`, `result.json`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import rft
from rft.errors import RecipeError, RftError, StageError
from rft.progress import Advance, progress, say
from rft.store import write_atomic
from rft.types import Record

POLL_SECONDS = 0.2
SEEN_LATE = 75.0
"""Seconds within which this node sees a file that another has written: an NFS client remembers for up to a minute that
there was none (`acdirmax`)."""
SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux."""


class Spec(Record, frozen=True, kw_only=True):
    """Everything that the training process needs to know."""

    model: str
    examples: str
    trajectories: str | None = None
    """What the examples were made from, to see that no tool's output is learnt; None where there is nothing to see."""
    folder: str
    """The stage's folder; the trained model is left in `checkpoint` there."""
    seed: int
    method: str = "sft"
    learn: str = "replies"
    tokens: int | None
    workers: int
    update: int | None = None
    ray: dict[str, Any] | None = None
    """Options of ray.train.ScalingConfig where the workers are spread over a cluster."""
    address: str | None = None
    """That cluster, where it is not RAY_ADDRESS's."""
    deepspeed: str | None
    lora: dict[str, Any] | None
    quantization: dict[str, Any] | None = None
    batch_tokens: int | None = None
    temperature: float = 1.0
    """What the engine divided logits by before it drew, where the method compares with that."""
    clip: tuple[float, float] = (0.2, 0.28)
    """How far a probability ratio may fall below and rise above 1."""
    trl: dict[str, Any]
    resume: str | None
    """A trainer's checkpoint to go on from."""
    parent: int
    """The process without which training ends."""


class Result(Record, frozen=True, kw_only=True):
    """What the training process did."""

    examples: int
    """Rows of one epoch, repeats of a token budget included."""
    learnt_tokens: int
    """Tokens that were in the loss, every epoch counted."""
    tokens: int
    """Tokens that were read, every epoch counted."""
    repeated: int = 0
    """Rows (of packed ones packs) that are read twice in each epoch, so that every process has as many."""
    steps: int
    seconds: float
    """Time of the training steps since the start or the last resume."""
    tokens_per_second: float


class Complaint(Record, frozen=True, kw_only=True):
    """Why the training process gave up."""

    kind: str
    message: str


def train_in_process(spec: Spec) -> Result:
    """Run the training to its end in its own process group, which ends with this process.

    Raises RecipeError or StageError with the trainer's own reason; what was trained so far is kept.
    """
    folder = Path(spec.folder)
    for name in ("error.json", "result.json"):
        (folder / name).unlink(missing_ok=True)
    write_atomic(folder / "spec.json", msgspec.json.format(msgspec.json.encode(spec)))
    if spec.deepspeed:
        say(f"train: DeepSpeed may build operators first, which takes a minute; see {folder / 'trainer.log'}")
    with (folder / "trainer.log").open("ab") as log:
        trainer = subprocess.Popen(
            [sys.executable, "-m", "rft.train.worker", str(folder / "spec.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(spec.workers),
            start_new_session=True,
        )
    try:
        _follow(trainer, folder / "log.jsonl")
    finally:
        _end(trainer)
    if trainer.returncode or not seen(folder / "result.json"):
        raise failure(folder, trainer.returncode)
    return msgspec.json.decode((folder / "result.json").read_bytes(), type=Result)


def environment(workers: int) -> dict[str, str]:
    """This process's environment with defaults under it that suit training: all cores, none spinning."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    defaults = {
        "OMP_NUM_THREADS": str(max(1, cores // workers)),
        # A thread that waits must not take the core of one that works.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    package = str(Path(rft.__file__).parent.parent)
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**defaults, **os.environ, "PYTHONPATH": path}


def end_with_parent(parent: int | None = None) -> None:
    """Let the operating system end this process with the one that started it, however that one ends."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
        if parent is not None and os.getppid() != parent:
            os._exit(1)


def logged(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a training log."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _follow(trainer: "subprocess.Popen[bytes]", log: Path) -> None:
    """Show the log's lines as they come, until the process ends."""
    offset = log.stat().st_size if log.exists() else 0
    shown = max((line["step"] for line in logged(log)), default=0)
    advance: Advance | None = None
    with contextlib.ExitStack() as stack:
        while True:
            ended = trainer.poll() is not None
            for line in _lines_from(log, offset):
                offset += len(line)
                entry = json.loads(line)
                if advance is None:
                    advance = stack.enter_context(progress("train", entry["steps"], done=shown))
                for _ in range(shown, entry["step"]):
                    advance(f"loss {entry['loss']:.4f}")
                shown = entry["step"]
            if ended:
                return
            time.sleep(POLL_SECONDS)


def seen(path: Path, patience: float = SEEN_LATE) -> bool:
    """Whether a file is there, or is soon."""
    limit = time.monotonic() + patience
    while not path.exists() and time.monotonic() < limit:
        time.sleep(POLL_SECONDS)
    return path.exists()


def _lines_from(log: Path, offset: int) -> Iterator[bytes]:
    if not log.exists():
        return
    with log.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line


def _end(trainer: "subprocess.Popen[bytes]") -> None:
    """Nothing of the process group outlives this call."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(trainer.pid, signal.SIGKILL)
    trainer.wait()


def failure(folder: Path, code: int) -> RftError:
    """Why a training process that ended with `code` did: in its own words, or its log's last ones."""
    log = folder / "trainer.log"
    with contextlib.suppress(OSError, msgspec.DecodeError):
        complaint = msgspec.json.decode((folder / "error.json").read_bytes(), type=Complaint)
        if complaint.kind == "RecipeError":
            return RecipeError(complaint.message)
        if complaint.kind == "StageError":
            return StageError(complaint.message)
        return StageError(
            f"train: the trainer failed: {complaint.kind}: {complaint.message}; its log is {log}. "
            "Mend the cause and run the same command again: it goes on from the last checkpoint."
        )
    how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    # The launcher of several processes ends its words on how one of them ended with a ruled line.
    last = next((line.strip() for line in reversed(_tail(log)) if any(map(str.isalnum, line))), "no output")
    return StageError(
        f"train: the trainer was {how} ({last[:200]}); its log is {log}. "
        "Run the same command again: it goes on from the last checkpoint."
    )


def lost(why: str) -> StageError:
    """One of several training processes is gone."""
    return StageError(
        f"train: one of its processes was lost: {why}. Run the same command again: it goes on from the last checkpoint."
    )


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return file.read().decode("utf-8", "replace").splitlines()
