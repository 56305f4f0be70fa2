"""How many things run at once: one by one, in threads of this process, or in Ray actors."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def at_work(worker: Any) -> Iterator[Any]:
    """A worker that is closed when its work is done."""
    try:
        yield worker
    finally:
        close(worker)


def close(worker: Any) -> None:
    """Close a worker, if it can be: an engine holds a model."""
    if hasattr(worker, "close"):
        worker.close()
