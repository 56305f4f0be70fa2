"""Attempts -> files that other programs read: a document a line, a file an attempt, or a table."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from rft import store
from rft.errors import RecipeError, StoreError, did_you_mean
from rft.formats import atif, chat, swe_agent
from rft.transcript import plain
from rft.types import Trajectory

Json = dict[str, Any]


def messages(attempt: Trajectory) -> Json:
    """A row for trainers without tools: `role` and `content` alone, tool calls and thoughts written out."""
    said = [plain(message) for message in chat.conversation(attempt)]
    return {"messages": [{"role": m.role, "content": m.content} for m in said], **_facts(attempt)}


def sharegpt(attempt: Trajectory) -> Json:
    """`conversations` of `from` and `value`."""
    names = {"user": "human", "assistant": "gpt"}
    said = [plain(message) for message in chat.conversation(attempt)]
    return {"conversations": [{"from": names.get(m.role, m.role), "value": m.content} for m in said], **_facts(attempt)}


def prediction(attempt: Trajectory) -> Json:
    """What SWE-bench's harness grades."""
    return {
        "instance_id": attempt.task_id,
        "model_name_or_path": Path(attempt.policy).name or attempt.agent or "unknown",
        "model_patch": attempt.patch,
    }


def _facts(attempt: Trajectory) -> Json:
    return {key: value for key, value in chat.write(attempt).items() if key not in ("messages", "prompt")}


LINES: dict[str, Callable[[Trajectory], Json]] = {
    "atif": atif.write,
    "chat": chat.write,
    "messages": messages,
    "sharegpt": sharegpt,
    "predictions": prediction,
}
"""Formats with a JSON document a line."""
EXPORTS = ("rft", *LINES, "swe-agent", "parquet")
"""All formats that attempts are written in."""


def write(attempts: Iterable[Trajectory], format: str, out: Path | None, stdout: BinaryIO) -> int:
    """Write attempts, one at a time, to `out`, or to `stdout` where it is left out; returns how many there were.

    `swe-agent` makes a folder, `parquet` a table: both need `out`. A file appears whole or not at all. Raises
    RecipeError for a format that is none, and where `out` is missing or there already.
    """
    if format not in EXPORTS:
        raise RecipeError(
            f"{format}: no format that rft writes; expected {', '.join(EXPORTS)}.{did_you_mean(format, EXPORTS)}"
        )
    if out is None and format in ("swe-agent", "parquet"):
        raise RecipeError(
            f"--format {format}: makes {'a folder' if format == 'swe-agent' else 'a file'}. Name it: --out."
        )
    if out is not None and out.exists():
        raise RecipeError(f"--out {out}: is there already, and is not overwritten. Name another, or remove it.")
    if format == "swe-agent":
        return _folder(attempts, out or Path())
    if out is None:
        return _lines(attempts, format, stdout)
    fresh = out.with_name(f".{out.name}.new")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            count = _table(attempts, file) if format == "parquet" else _lines(attempts, format, file)
        fresh.replace(out)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written ({error.strerror}). Free some space, or name another.") from None
    finally:
        fresh.unlink(missing_ok=True)
    return count


def _lines(attempts: Iterable[Trajectory], format: str, file: BinaryIO) -> int:
    count = 0
    for attempt in attempts:
        file.write(
            store.encode_line(attempt) if format == "rft" else msgspec.json.encode(LINES[format](attempt)) + b"\n"
        )
        count += 1
    return count


def _folder(attempts: Iterable[Trajectory], out: Path) -> int:
    """SWE-agent's own layout under a folder for each attempt at a task: `<sample>/<task>/<task>.traj`."""
    count = 0
    for attempt in attempts:
        name = safe_name(attempt.task_id)
        path = out / f"{attempt.round:02d}-{attempt.sample:02d}" / name / f"{name}.traj"
        if path.exists():
            path = path.with_name(f"{name}.{store.digest(attempt.id)}.traj")
        store.write_atomic(path, msgspec.json.format(msgspec.json.encode(swe_agent.write(attempt))))
        count += 1
    return count


def safe_name(text: str) -> str:
    """A file's name made of an id that anybody may have chosen; another id gives another name."""
    name = re.sub(r"[^\w.+=-]", "_", text).lstrip(".")[:100]
    return name if name == text and name else f"{name}-{store.digest(text)}"


def _table(attempts: Iterable[Trajectory], file: BinaryIO) -> int:
    """A table with a row an attempt: the columns of `chat`, tool calls as JSON, in groups of rows."""
    import pyarrow as arrow
    from pyarrow import parquet

    text = arrow.string()
    message = [(name, text) for name in ("role", "content", "reasoning_content", "tool_calls", "tool_call_id")]
    schema = arrow.schema(
        [
            *((name, text) for name in ("id", "task_id", "patch", "stop", "model")),
            ("resolved", arrow.bool_()),
            ("cost", arrow.float64()),
            ("tampered", arrow.list_(text)),
            ("protected", arrow.list_(text)),
            ("prompt", arrow.list_(arrow.struct(message))),
            ("messages", arrow.list_(arrow.struct(message))),
        ]
    )
    count = 0
    with ExitStack() as stack:
        writer = stack.enter_context(parquet.ParquetWriter(file, schema))
        for rows in _batches(map(_row, attempts), 64):
            writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def _row(attempt: Trajectory) -> Json:
    row = chat.write(attempt)
    for message in [*row.get("prompt", []), *row["messages"]]:
        if "tool_calls" in message:
            message["tool_calls"] = msgspec.json.encode(message["tool_calls"]).decode()
    return row


def _batches(rows: Iterator[Json], size: int) -> Iterator[list[Json]]:
    batch: list[Json] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
