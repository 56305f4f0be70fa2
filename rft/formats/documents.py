"""Files of other programs -> decoded documents, each with its place; nothing that is in them can harm the reader.

A file is one JSON document, a JSON document a line, or a zip of an Inspect log. What cannot be decoded comes out as the
error that says why, in its place, and what follows is still read.
"""

import contextlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rft.errors import RecipeError
from rft.formats.zips import unpacked
from rft.plugins import first_line
from rft.store import decode_line
from rft.types import Trajectory

LIMIT = 256 * 1024 * 1024
"""Bytes of one document, unpacked; larger ones are refused."""
MEMBERS = 100_000
"""Files in one zip; more are refused."""
T = TypeVar("T")


@dataclass(frozen=True)
class Document:
    """One decoded JSON value and where it stands."""

    value: Any
    where: str
    """The file, and the place in it where it holds several."""
    path: Path
    """The file, or the folder."""


def documents(path: Path) -> Iterator[Document | RecipeError]:
    """The documents of a file, or of a folder that holds one conversation. Raises RecipeError if it cannot be read."""
    try:
        if path.is_dir():
            yield _events(path)
            return
        with path.open("rb") as file:
            first, second = file.readline(LIMIT + 1), file.readline(LIMIT + 1)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); expected a file of trajectories.") from None
    if first.startswith(b"PK\x03\x04"):
        yield from _zipped(path)
    elif first.startswith(b"PAR1"):
        yield from _rows(path)
    elif _is_json(first) or (first.strip() not in (b"[", b"{") and _is_json(second)):
        yield from _lines(path)
    else:
        yield _whole(path)


def is_conversation(path: Path) -> bool:
    """Whether a folder holds one conversation, an event a file."""
    return (path / "events").is_dir() and any((path / "events").glob("*.json"))


def _whole(path: Path) -> Document | RecipeError:
    where = str(path)
    if path.stat().st_size > LIMIT:
        return too_large(where)
    try:
        return Document(decode(path.read_bytes(), where), where, path)
    except RecipeError as error:
        return error
    except OSError as error:
        return RecipeError(f"{where}: cannot be read ({error.strerror}).")


def _lines(path: Path) -> Iterator[Document | RecipeError]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LIMIT + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > LIMIT:
                yield too_large(where)
                while line and not line.endswith(b"\n"):
                    line = file.readline(LIMIT)
            elif line.strip():
                yield _line(line, where, path)


def _line(line: bytes, where: str, path: Path) -> Document | RecipeError:
    try:
        if b',"crc":"' in line[-24:]:
            return Document(decode_line(line, Trajectory), where, path)
        return Document(decode(line, where), where, path)
    except RecipeError as error:
        return error
    except (ValueError, msgspec.DecodeError) as error:
        return RecipeError(f"{where}: damaged record ({first_line(error)}); expected a trajectory of rft.")


def _events(folder: Path) -> Document | RecipeError:
    """A folder of OpenHands: `events/` with an event a file, and perhaps the conversation's state."""
    files = sorted((folder / "events").glob("*.json"))
    state = folder / "base_state.json"
    size = sum(file.stat().st_size for file in files)
    if not files:
        return RecipeError(f"{folder}: holds no events/*.json; expected a file, or the folder of one conversation.")
    if size > LIMIT:
        return too_large(str(folder))
    try:
        value: dict[str, Any] = {"events": [decode(file.read_bytes(), str(file)) for file in files]}
        if state.is_file() and state.stat().st_size <= LIMIT:
            value["base_state"] = decode(state.read_bytes(), str(state))
        return Document(value, str(folder), folder)
    except RecipeError as error:
        return error


def _zipped(path: Path) -> Iterator[Document | RecipeError]:
    """An Inspect log (`.eval`): each sample with the log's header, as the JSON form of the log would hold it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) > MEMBERS:
                yield RecipeError(f"{path}: holds {len(names)} files; expected an Inspect log of at most {MEMBERS}.")
                return
            samples = [name for name in names if name.startswith("samples/") and name.endswith(".json")]
            head = next((name for name in ("header.json", "_journal/start.json") if name in names), None)
            if head is None or not samples:
                yield RecipeError(
                    f"{path}: a zip without header.json and samples/*.json; expected an Inspect log. Unpack others."
                )
                return
            header = _member(archive, head, path)
            if isinstance(header, RecipeError):
                yield header
                return
            for name in samples:
                sample = _member(archive, name, path)
                if isinstance(sample, RecipeError):
                    yield sample
                else:
                    head_of = header.value if isinstance(header.value, dict) else {}
                    yield Document({**head_of, "samples": [sample.value]}, sample.where, path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        yield RecipeError(f"{path}: a zip that cannot be read ({first_line(error)}); it is cut off or damaged.")


def _rows(path: Path) -> Iterator[Document | RecipeError]:
    """A parquet table: a row is a document; a column of JSON texts that stands for `messages` is decoded."""
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=16):
                for row in batch.to_pylist():
                    number += 1
                    where = f"{path}, row {number}"
                    try:
                        yield Document(_plain(row, where), where, path)
                    except RecipeError as error:
                        yield error
    except (ArrowException, OSError, ValueError) as error:
        yield RecipeError(f"{path}: a table that cannot be read ({first_line(error)}); it is cut off or damaged.")


def _plain(row: dict[str, Any], where: str) -> dict[str, Any]:
    """A table's row as JSON has it: no nulls, structures that were kept as texts decoded, other values as texts."""
    for name in ("messages", "conversations", "trajectory", "history", "info"):
        if isinstance(row.get(name), str) and row[name][:1] in ("[", "{"):
            row[name] = decode(row[name].encode(errors="replace"), f"{where}: {name}")
    lists = [row[name] for name in ("prompt", "messages") if isinstance(row.get(name), list)]
    for message in [message for values in lists for message in values]:
        if isinstance(message, dict) and isinstance(message.get("tool_calls"), str):
            message["tool_calls"] = decode(message["tool_calls"].encode(errors="replace"), f"{where}: tool_calls")
    found: dict[str, Any] = msgspec.to_builtins(row, enc_hook=str)
    return found


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> Document | RecipeError:
    """A file in a zip, its size counted while it is unpacked, whatever the zip says of it."""
    where = f"{path}, {name}"
    try:
        data = unpacked(archive, name, LIMIT)
        return too_large(where) if len(data) > LIMIT else Document(decode(data, where), where, path)
    except RecipeError as error:
        return error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        return RecipeError(f"{where}: cannot be unpacked ({first_line(error) or type(error).__name__}).")


def decode(data: bytes, where: str) -> Any:
    """The JSON value. Numbers that JSON does not know (`NaN`) are kept as their names. Raises RecipeError."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(data, parse_constant=str)
        raise RecipeError(f"{where}: not JSON ({first_line(error)}); expected a JSON document. Mend it.") from None


def _is_json(line: bytes) -> bool:
    """Whether a line holds a whole object or array by itself."""
    line = line.strip()
    if line[:1] + line[-1:] not in (b"{}", b"[]"):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def too_large(where: str) -> RecipeError:
    """The error for a document over LIMIT."""
    return RecipeError(f"{where}: larger than {LIMIT >> 20} MiB; expected one attempt. Split it.")


class Fields:
    """An object's keys, taken one by one with their types; `rest()` is what nobody took, so that nothing is dropped.

    Raises RecipeError, naming the place, for what is no object.
    """

    def __init__(self, value: Any, where: str, path: str = "") -> None:
        self.where = where
        self.path = path
        if not isinstance(value, dict):
            raise wrong(where, path, f"Expected object, got {kind(value)}")
        self._left = dict(value)

    def take(self, name: str, of: type[T], default: T) -> T:
        """A key's value, converted; the default where it is absent or null. Raises RecipeError that names the key."""
        value = self._left.pop(name, None)
        return default if value is None else converted(value, of, self.where, self.at(name))

    def first(self, names: tuple[str, ...], of: type[T], default: T) -> T:
        """The first of several keys that is there; the others stay."""
        name = next((name for name in names if self._left.get(name) is not None), names[0])
        return self.take(name, of, default)

    def text(self, *names: str) -> str:
        """The first of several keys that is there, a text or a number; empty where none is."""
        name = next((name for name in names if self._left.get(name) is not None), names[0])
        value = self._left.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._left[name] = str(value)
        return self.take(name, str, "")

    def inner(self, name: str) -> "Fields":
        """An object's own keys; no keys where it is absent or null."""
        value = self._left.pop(name, None)
        return Fields({} if value is None else value, self.where, self.at(name))

    def items(self, name: str) -> list[Any]:
        """An array's values; none where it is absent or null."""
        return self.take(name, list, [])

    def pop(self, name: str) -> Any:
        """A key's value as it is; None where it is absent."""
        return self._left.pop(name, None)

    def pop_bool(self, name: str) -> bool | None:
        """A boolean; None where it is absent."""
        return self.take(name, bool, None)

    def pop_float(self, name: str) -> float | None:
        """A number; None where it is absent."""
        return self.take(name, float, None)

    def pop_int(self, name: str) -> int | None:
        """A whole number; None where it is absent."""
        return self.take(name, int, None)

    def has(self, name: str) -> bool:
        """Whether a key is there, not null and not taken."""
        return self._left.get(name) is not None

    def peek(self, name: str) -> Any:
        """A key's value, left where it is."""
        return self._left.get(name)

    def put_back(self, name: str, value: Any) -> None:
        """Leave a value in `rest()` after all."""
        self._left[name] = value

    def rest(self) -> dict[str, Any]:
        """What is left and says something: nulls and empty values do not."""
        return {key: value for key, value in self._left.items() if value not in (None, "", [], {})}

    def at(self, name: str) -> str:
        """The path of a key, for errors."""
        return f"{self.path}.{name}" if self.path else name


def converted(value: Any, of: type[T], where: str, path: str) -> T:
    """A value as the type that is wanted. Raises RecipeError that names the place."""
    try:
        return msgspec.convert(value, of)
    except msgspec.ValidationError as error:
        problem, _, at = str(error).replace("`", "").partition(" - at $")
        raise wrong(where, f"{path}{at}", problem) from None


def wrong(where: str, path: str, problem: str) -> RecipeError:
    """The error for a value that is not what it should be."""
    return RecipeError(f"{where}: {path + ': ' if path else ''}{problem}. Mend it.")


def kind(value: Any) -> str:
    """What a JSON value is."""
    names = {dict: "object", list: "array", str: "str", bool: "bool", int: "int", float: "float", type(None): "null"}
    return names.get(type(value), type(value).__name__)
