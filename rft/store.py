"""Append-only files of records, one checked JSON line each, that survive a kill at any instant.

A line is the record's JSON object with a last field `"crc"`: the CRC-32 of the object without it, so a torn
or damaged line is known from itself. One process writes a file; any number read it.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from rft.errors import StoreError

T = TypeVar("T")
_TAIL = re.compile(rb',"crc":"([0-9a-f]{8})"\}\n?$')


def encode_line(record: object) -> bytes:
    """The line of one record, newline included."""
    body = msgspec.json.encode(record)
    return b'%b,"crc":"%08x"}\n' % (body[:-1], zlib.crc32(body))


def decode_line(line: bytes, kind: type[T]) -> T:
    """The record of one line.

    Raises ValueError when the line is torn, damaged or of another shape.
    """
    tail = _TAIL.search(line[-20:])
    if tail is None:
        raise ValueError("no checksum at its end")
    body = line[: len(line) - len(tail.group(0))] + b"}"
    if zlib.crc32(body) != int(tail.group(1), 16):
        raise ValueError("its checksum does not fit its content")
    return msgspec.json.decode(body, type=kind)


class Records(Generic[T]):
    """One file of records of one kind, each with a field `id` that is unique in the file."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self.kind = kind

    def __iter__(self) -> Iterator[T]:
        for _, record in self.scan():
            yield record

    def scan(self) -> Iterator[tuple[int, T]]:
        """Byte offset and record, in file order; memory does not grow with the file.

        Raises StoreError that names the first damaged line.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, 1):
                try:
                    record = decode_line(line, self.kind)
                except (ValueError, msgspec.DecodeError) as error:
                    raise StoreError(
                        f"{self.path}, line {number}: damaged record ({error}); expected a {self.kind.__name__}. "
                        "Redo the stage with --redo, or restore the file."
                    ) from None
                yield offset, record
                offset += len(line)

    def index(self) -> dict[str, int]:
        """Id to byte offset, for `at`."""
        return {record.id: offset for offset, record in self.scan()}  # type: ignore[attr-defined]

    def at(self, offset: int) -> T:
        """The record whose line starts at `offset`."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return decode_line(file.readline(), self.kind)

    @contextlib.contextmanager
    def writer(self, *, costly: bool = False) -> Iterator[Callable[[T], None]]:
        """A function that appends one record and hands it to the operating system before it returns; `costly` records
        it has on the disk by then, so that they outlive the machine.

        Raises StoreError when another process writes the file, when an id is written twice, or when the disk is full.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            lock(file.fileno(), self.path)
            seen: set[str] = set(self.index())
            if not _ends_with_newline(self.path):
                _write_whole(file.fileno(), b"\n", self.path)

            def append(record: T) -> None:
                identity: str = record.id  # type: ignore[attr-defined]
                if identity in seen:
                    raise StoreError(f"{self.path}: record '{identity}' is already there; ids are unique.")
                _write_whole(file.fileno(), encode_line(record), self.path)
                if costly:
                    os.fsync(file.fileno())
                seen.add(identity)

            yield append
            os.fsync(file.fileno())

    def repair(self, keep: Callable[[T], bool] = lambda record: True) -> tuple[int, int]:
        """Set aside what must be made again: damaged lines, and records that `keep` refuses.

        They are appended to `<name>.aside` as they are, so nothing is lost. Returns how many lines were damaged
        and how many refused.
        """
        if not self.path.exists():
            return 0, 0
        damaged = refused = 0
        fresh = self.path.with_suffix(".repairing")
        aside = self.path.with_suffix(self.path.suffix + ".aside")
        with self.path.open("r+b") as old, fresh.open("wb") as new:
            lock(old.fileno(), self.path)
            for line in old:
                try:
                    good = keep(decode_line(line, self.kind))
                    refused += not good
                except (ValueError, msgspec.DecodeError):
                    good = False
                    damaged += 1
                if good:
                    new.write(line)
                else:
                    with aside.open("ab") as out:
                        out.write(line if line.endswith(b"\n") else line + b"\n")
            new.flush()
            os.fsync(new.fileno())
            if damaged or refused:
                fresh.replace(self.path)
        fresh.unlink(missing_ok=True)
        return damaged, refused


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return file.read() in (b"", b"\n")


def lock(descriptor: int, path: Path) -> None:
    """Take the file, open for writing as NFS wants it, for this process until it is closed.

    Raises StoreError when another process has it, or the file system keeps no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(
            f"{path}: another process is writing here; one run has one driver. Wait for it or end it."
        ) from None
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be locked ({error.strerror}); expected a file system that keeps locks. "
            "Have it mounted with them (Lustre: the option flock), or put `runs` elsewhere."
        ) from None


def _write_whole(descriptor: int, line: bytes, path: Path) -> None:
    """All of a line or nothing of it: what a full disk took of it is cut off again."""
    start = os.fstat(descriptor).st_size
    written = 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError as error:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, start)
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}); all records before are safe. "
            "Free some space and run the same command again."
        ) from None


def write_atomic(path: Path, data: bytes) -> None:
    """Put a file whole or not at all. Raises StoreError when the disk refuses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}). Free some space and run the same command again."
        ) from None


def settle(path: Path) -> None:
    """Have a file, or all files of a directory, on the disk."""
    for file in _files(path):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def digest_bytes(data: bytes) -> str:
    """A short content address."""
    return hashlib.sha256(data).hexdigest()[:16]


def digest(value: object) -> str:
    """A short content address of a plain value; key order does not matter."""
    return digest_bytes(msgspec.json.encode(value, order="sorted"))


def digest_path(path: Path) -> str:
    """A short content address of a file, or of a directory's files with their names."""
    state = hashlib.sha256()
    for file in _files(path):
        state.update(str(file.relative_to(path)).encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                state.update(chunk)
    return state.hexdigest()[:16]


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
