"""Verdicts that were paid for once, and what every call cost: one SQLite file, shared by threads, processes and runs.

A verdict's key is a hash of all that it follows from: the judge, the number of the vote, the rubric's name and
description, what the criterion asks, and the text that was shown. Weights, versions and prose for people are not in
it, so editing one criterion of ten asks one question again. Verdicts and costs are written in one transaction each
(write-ahead log), so a kill at any instant loses the calls in flight and nothing else. The file wants a local disk.
"""

import contextlib
import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from reward_models.errors import CacheError
from reward_models.types import Criterion, Rubric, Verdict

VERSION = 1
CACHED_KB = 16_000
"""Of the file's pages that a process holds in memory."""
WAIT = 60.0
"""Seconds to wait for another process that writes."""
_BATCH = 500
_READ = msgspec.json.Decoder(Verdict)
_TABLES = """
CREATE TABLE IF NOT EXISTS verdicts (
    key BLOB PRIMARY KEY, judge TEXT NOT NULL, made REAL NOT NULL, verdict BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    run TEXT NOT NULL, judge TEXT NOT NULL, made REAL NOT NULL, read INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, money REAL NOT NULL);
CREATE INDEX IF NOT EXISTS calls_of_run ON calls (run);
"""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one call or many cost."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) - getattr(other, name) for name in self.__struct_fields__})

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.prompt_tokens + self.completion_tokens


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of one judge."""

    judge: str
    entries: int
    bytes: int
    oldest: float
    """Seconds since 1970."""
    newest: float


class Keys:
    """The keys of the verdicts on one text."""

    def __init__(self, judge: str, rubric: Rubric, text: str) -> None:
        self._base = hashlib.sha256(repr((judge, rubric.name, rubric.description, text)).encode())

    def of(self, criterion: Criterion, vote: int) -> bytes:
        """The key of one vote on one criterion."""
        state = self._base.copy()
        asked = (criterion.id, criterion.question, criterion.kind, criterion.answers, criterion.met)
        state.update(repr((vote, asked, criterion.examples)).encode())
        return state.digest()[:16]


class Cache:
    """One file. It is made when it is first used; one connection serves all threads of a process."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Verdict]:
        """The verdicts that are there. Raises CacheError."""
        found: dict[bytes, Verdict] = {}
        left = iter(keys)
        with self._open() as connection:
            while batch := list(islice(left, _BATCH)):
                marks = ",".join("?" * len(batch))
                rows = connection.execute(f"SELECT key, verdict FROM verdicts WHERE key IN ({marks})", batch)
                found.update((key, _READ.decode(verdict)) for key, verdict in rows)
        return found

    def put(
        self,
        judge: str,
        verdicts: Mapping[bytes, Verdict],
        usage: Usage | None = None,
        *,
        run: str = "",
        read: bool = True,
    ) -> None:
        """Keep verdicts and, in the same transaction, what the call that gave them cost. Raises CacheError."""
        now = time.time()
        rows = [(key, judge, now, msgspec.json.encode(verdict)) for key, verdict in verdicts.items()]
        with self._open() as connection, _transaction(connection):
            connection.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)", rows)
            if usage is not None:
                cost = (usage.prompt_tokens, usage.completion_tokens, usage.money)
                connection.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?)", (run, judge, now, read, *cost))

    def spent(self, run: str) -> Usage:
        """What all calls of a run cost so far. Raises CacheError."""
        question = "SELECT count(*), sum(prompt_tokens), sum(completion_tokens), sum(money) FROM calls WHERE run = ?"
        with self._open() as connection:
            calls, prompt, completion, money = connection.execute(question, (run,)).fetchone()
        return Usage(calls=calls, prompt_tokens=prompt or 0, completion_tokens=completion or 0, money=money or 0.0)

    def runs(self) -> list[str]:
        """The runs that paid for something."""
        with self._open() as connection:
            return [run for (run,) in connection.execute("SELECT DISTINCT run FROM calls ORDER BY run")]

    def kept(self) -> list[Kept]:
        """What is kept, by judge, the newest first. Raises CacheError."""
        question = (
            "SELECT judge, count(*), sum(length(key) + length(verdict)), min(made), max(made) FROM verdicts "
            "GROUP BY judge ORDER BY max(made) DESC"
        )
        with self._open() as connection:
            rows = connection.execute(question).fetchall()
        return [Kept(judge=j, entries=n, bytes=size, oldest=old, newest=new) for j, n, size, old, new in rows]

    def prune(self, *, older_than: float | None = None, judge: str | None = None) -> int:
        """Forget verdicts made more than `older_than` seconds ago, or by a judge; what calls cost stays known.

        Both given, both must hold. Returns how many were forgotten. Raises CacheError.
        """
        latest = time.time() - older_than if older_than is not None else None
        chosen = "(?1 IS NULL OR made < ?1) AND (?2 IS NULL OR judge = ?2)"
        with self._open() as connection:
            with _transaction(connection):
                gone = connection.execute(f"DELETE FROM verdicts WHERE {chosen}", (latest, judge)).rowcount
            # a script, because a plain statement without columns is only stepped once, and each step frees one page
            connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
        return gone

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time: SQLite would let threads that write sleep."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _connect(self.path)
                yield self._connection
            except (sqlite3.Error, msgspec.DecodeError, OSError) as error:
                raise CacheError(
                    f"{self.path}: verdicts cannot be kept there ({str(error).rstrip('.')}); expected a file that "
                    "this program made, on a local disk with room. Mend that, or name another file."
                ) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _to_write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{CACHED_KB}")
        with _transaction(connection):
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise sqlite3.DatabaseError(f"it has version {version}, this program writes version {VERSION}")
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _to_write_ahead(connection: sqlite3.Connection) -> None:
    """SQLite does not wait for a process that makes the same change just now."""
    end = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
