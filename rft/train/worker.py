"""The training process: `python -m rft.train.worker spec.json`. Reads examples and a policy, leaves a new policy.

With several workers it becomes PyTorch's launcher, which starts this module once for each, or has Ray Train start them
on a cluster.
"""

import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec

from rft.errors import RftError
from rft.plugins import first_line
from rft.train.process import Complaint, Spec, end_with_parent, lost


def main() -> None:
    """Train, and leave the reason behind when that fails."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    is_rank = "RANK" in os.environ and "TORCHELASTIC_RUN_ID" in os.environ
    end_with_parent(None if is_rank else spec.parent)
    is_launched = is_rank or spec.ray is not None
    if spec.workers > 1 and not is_launched:
        _become_launcher(spec.workers)
    if not is_launched:
        keep_to_one_gpu()
    if spec.deepspeed and not is_launched:
        _be_the_only_rank()
    try:
        if spec.ray is not None:
            from rft.train.across import train_across as train
        else:
            from rft.train.training import train
        with complaining(spec):
            train(spec)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


@contextlib.contextmanager
def complaining(spec: Spec) -> Iterator[None]:
    """Leave the reason behind when training fails; of several processes the first knows it, the others its effects."""
    try:
        yield
    except Exception as error:
        told = lost(first_line(error)) if _is_of_another(error) else error
        message = str(told) if isinstance(told, RftError) else first_line(told)
        # Made anew or not at all: that asks the server, where NFS may remember that there was none.
        with contextlib.suppress(FileExistsError), Path(spec.folder, "error.json").open("xb") as complaint:
            complaint.write(msgspec.json.encode(Complaint(kind=type(told).__name__, message=message)))
        raise


def _is_of_another(error: Exception) -> bool:
    """Whether the processes' common work broke down, which is what the end of one looks like to the others."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or "/gloo/" in str(error)  # gloo's errors have no type of their own


def _become_launcher(workers: int) -> None:
    """Replace this process, which keeps its number and its tie to the parent."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "rft.train.worker", sys.argv[1]])


def keep_to_one_gpu() -> None:
    """One process computes on one GPU: shown several, TRL would spread the layers and transformers copy the model."""
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def _be_the_only_rank() -> None:
    """What DeepSpeed asks the environment for when nobody launched it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(alone)


if __name__ == "__main__":
    main()
