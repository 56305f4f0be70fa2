"""rft's own records: a line of a run's `trajectories.jsonl`."""

from typing import Any

from rft.formats.documents import Document
from rft.types import Trajectory


def fits(value: Any) -> bool:
    """Whether a document is a record that was read with its checksum."""
    return isinstance(value, Trajectory)


def read(document: Document) -> Trajectory:
    """The record as it is."""
    found: Trajectory = document.value
    return found
