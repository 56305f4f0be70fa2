"""Replicas of a server: started together, waited for, watched, started again when they die, and stopped together.

Writes an address book, `replicas.json`, that whoever asks the model reads: which replicas answer, and with which key.
"""

import contextlib
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec

from rft.errors import RftError, StageError
from rft.inference.servers import Server
from rft.plugins import first_line
from rft.progress import say
from rft.store import write_atomic
from rft.types import Record

POLL = 0.2
SAY_EVERY = 30.0
"""Seconds between two lines about a start that takes its time, or about a disk that is full."""
ASK_EVERY = 15.0
"""Seconds between two questions to a replica whether it still answers."""
WORK = re.compile(r"^vllm:(?:prompt|generation)_tokens_total(?:{.*})? (\S+)$", re.MULTILINE)
"""What of vLLM's /metrics says how many tokens it has read and written."""
LINE = 200
"""Characters of a log's last line that are shown."""


class Book(Record, frozen=True, kw_only=True):
    """Where the model is to be asked."""

    urls: list[str]
    """The replicas that answer, each up to and with `/v1`."""
    key: str
    """What they want to be asked with; it opens nothing once they are stopped."""
    gone: str = ""
    """Why no replica will answer any more."""


@dataclass
class Replica:
    """One of them, through all of its starts."""

    number: int
    log: Path
    server: Server
    limit: float
    """When it must have answered, a `time.monotonic()` value."""
    up: bool = False
    heard: float = 0.0
    """When it last answered, a `time.monotonic()` value."""
    tokens: float = 0.0
    """How many it had worked on when that was last looked at."""
    starts: int = 1
    over: bool = False
    """It is not started again."""


@dataclass(kw_only=True)
class Fleet:
    """Its replicas; `running` is the door."""

    name: str
    """What it is called in messages."""
    folder: Path
    """Where the book and the logs are; made anew, and closed to other users because of the key."""
    start: Callable[[int, Path], Server]
    """Starts the replica of a number, with a log."""
    count: int
    key: str
    model: str
    """What the replicas call the model."""
    boot: float
    silence: float
    """Seconds without an answer, and without a token for anybody else, after which one that runs is taken for hung."""
    restarts: int
    replicas: list[Replica] = field(default_factory=list)
    written: Book | None = None
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def book(self) -> Path:
        """The address book's file."""
        return self.folder / "replicas.json"

    @contextlib.contextmanager
    def running(self) -> Iterator[Path]:
        """The address book, while the replicas run. Raises StageError when one of them does not come up."""
        # NFS keeps what a server of a killed driver, still ending, has open: then the folder stays, and is taken over.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        watch = threading.Thread(target=self._watch, name="replicas", daemon=True)
        try:
            self._come_up()
            self._write()
            watch.start()
            yield self.book
        finally:
            self.over.set()
            if watch.ident is not None:
                watch.join()
            self._stop()
            self.book.unlink(missing_ok=True)

    def _come_up(self) -> None:
        """Start all at once and wait. One that cannot start is the recipe's fault and would only fail again."""
        began = said = time.monotonic()
        for number in range(self.count):
            log = (self.folder / f"replica_{number}.log").resolve()
            self.replicas.append(Replica(number, log, self.start(number, log), time.monotonic() + self.boot))
        say(f"{self.name}: starting {self.count} replicas; their logs are in {self.folder}")
        while not all(replica.up for replica in self.replicas):
            for replica in self.replicas:
                problem = self._look(replica)
                if problem:
                    raise StageError(f"{self.name}: {problem}. Mend the cause and run the same command again.")
            if time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                say(f"{self.name}: {self._standing()} after {said - began:.0f} s")
            time.sleep(POLL)
        say(f"{self.name}: {self._standing()} after {time.monotonic() - began:.0f} s")

    def _standing(self) -> str:
        waiting = [replica for replica in self.replicas if not replica.up]
        words = f"{self.count - len(waiting)} of {self.count} replicas answer"
        if not waiting:
            return words
        last = last_line(waiting[0].log) if waiting[0].server.url() else "waits for a node with room"
        return f"{words}; replica {waiting[0].number}: {last}"

    def _look(self, replica: Replica) -> str:
        """See how a replica is; what is wrong with it, in words."""
        how = replica.server.ended()
        if not how and not replica.up:
            url = replica.server.url()
            if url and _healthy(url):
                self._is_up(replica, url)
            if not replica.up and time.monotonic() > replica.limit:
                how = f"does not answer after {self.boot:g} s" if url else f"found no place within {self.boot:g} s"
        if not how and replica.up and time.monotonic() - replica.heard > self.silence and not _gets_on(replica):
            how = f"runs, and has answered nothing for {self.silence:g} s"
        return (
            f"replica {replica.number} {how} ({last_line(replica.log, error=True)}); its log is {replica.log}"
            if how
            else ""
        )

    def _is_up(self, replica: Replica, url: str) -> None:
        """Its first answer, and someone who goes on asking: `/health` answers for an engine that hangs."""
        replica.up, replica.heard, replica.tokens = True, time.monotonic(), 0.0
        threading.Thread(target=self._ask, args=(replica, replica.server, url), daemon=True).start()

    def _ask(self, replica: Replica, server: Server, url: str) -> None:
        """Ask a replica for a token now and then, as long as this start of it lasts."""
        question = {"model": self.model, "prompt": ".", "max_tokens": 1}
        headers = {"Authorization": f"Bearer {self.key}"}
        while not self.over.wait(min(ASK_EVERY, self.silence / 4)) and replica.server is server and replica.up:
            with contextlib.suppress(httpx.HTTPError):
                where = f"{url}/v1/completions"
                answer = httpx.post(where, json=question, headers=headers, timeout=self.silence, trust_env=False)
                if answer.status_code < 500:
                    replica.heard = time.monotonic()

    def _watch(self) -> None:
        while not self.over.wait(POLL):
            try:
                for replica in self.replicas:
                    problem = "" if replica.over else self._look(replica)
                    if problem:
                        self._again(replica, problem)
                self._write()
            except Exception as error:  # a full disk, a cluster in trouble: replicas are watched all the same
                say(f"{self.name}: {first_line(error)}")
                self.over.wait(SAY_EVERY)

    def _again(self, replica: Replica, problem: str) -> None:
        """Start a dead replica again, if it may be."""
        replica.up = False
        self._write()  # first of all: who asks it goes elsewhere
        replica.server.stop()
        replica.over = replica.starts > self.restarts
        say(f"{self.name}: {problem}; it is {'given up' if replica.over else 'started again'}")
        if replica.over:
            return
        replica.starts += 1
        replica.limit = time.monotonic() + self.boot
        try:
            replica.server = self.start(replica.number, replica.log)
        except (RftError, OSError) as error:
            say(f"{self.name}: replica {replica.number} cannot be started again: {error}")
            replica.over = True

    def _write(self) -> None:
        gone = ""
        if all(replica.over for replica in self.replicas):
            gone = f"{self.name}: every replica died {self.restarts + 1} times; their logs are in {self.folder}."
        urls = [f"{replica.server.url()}/v1" for replica in self.replicas if replica.up]
        book = Book(urls=urls, key=self.key, gone=gone)
        if book != self.written:
            write_atomic(self.book, msgspec.json.encode(book))
            self.written = book

    def _stop(self) -> None:
        """All at once: each may take some seconds."""
        stops = [threading.Thread(target=replica.server.stop) for replica in self.replicas]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()


def last_line(log: Path, *, error: bool = False) -> str:
    """What a log ends with; with `error` the last line that names one, if any does."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16384))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "no output yet"
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line.strip()]
    telling = [line for line in lines if error and re.search(r"(^|\] )[\w.]*(Error|Exception): \S", line)]
    return (telling or lines or ["no output yet"])[-1][-LINE:]


def _gets_on(replica: Replica) -> bool:
    """Whether it has worked since this was last asked: where many wait, the question that it owes waits behind them."""
    tokens = 0.0
    with contextlib.suppress(httpx.HTTPError, ValueError):
        told = httpx.get(f"{replica.server.url()}/metrics", timeout=5, trust_env=False).text
        tokens = sum(map(float, WORK.findall(told)))
    if tokens <= replica.tokens:
        return False
    replica.tokens, replica.heard = tokens, time.monotonic()
    return True


def _healthy(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200
    return False
