"""What an offline W&B run has written: its log file, read record by record as W&B's own messages."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768
"""The file is in LevelDB's log format: records in fragments, none over a block's end."""
HEADER = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Logged:
    """The records of one session that a reader cares about."""

    run: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    """One dict a call of log()."""
    artifacts: dict[str, Any] = field(default_factory=dict)
    alerts: list[str] = field(default_factory=list)
    system: list[str] = field(default_factory=list)
    """Names of the machine's own metrics."""
    finished: int | None = None
    """The exit code."""


def read(path: Path) -> Logged:
    """A session's `run-*.wandb`."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = Logged()
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                found.run = record.run
            case "history":
                found.history.append(
                    {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                )
            case "artifact":
                found.artifacts[record.artifact.name] = record.artifact
            case "alert":
                found.alerts.append(record.alert.text)
            case "stats":
                found.system += [item.key for item in record.stats.item]
            case "exit":
                found.finished = record.exit.exit_code
            case "request" if record.request.HasField("log_artifact"):
                found.artifacts[record.request.log_artifact.artifact.name] = record.request.log_artifact.artifact
    return found


def _records(data: bytes) -> Iterator[bytes]:
    place, parts = 7, b""  # W&B's own seven bytes come first
    while place + HEADER.size <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER.size:
            place += left
            continue
        _, length, kind = HEADER.unpack_from(data, place)
        place += HEADER.size
        parts += data[place : place + length]
        place += length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
