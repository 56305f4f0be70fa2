"""Chat requests to an OpenAI-compatible server: asked again while it is busy, broken or gone, till a deadline.

A server that fails time after time is left alone: the threads that share a transport wait together, and one of them
tries it now and then (a circuit breaker; M. Nygard, Release It!, 2007).
"""

import email.utils
import functools
import math
import os
import random
import re
import socket
import ssl
import threading
import time
import urllib.request
from typing import Any, TypeVar

import certifi
import msgspec
import urllib3

from reward_models.errors import NoAnswer, Refused

T = TypeVar("T")
LONGEST_PAUSE = 60.0
KEPT = 256
"""Connections that are kept for the next request."""
STILL_THERE = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]
"""A node that is lost says nothing: half a minute without a sign of life, and its connections are broken."""
_AGAIN = frozenset((408, 409, 425, 429))
"""Worth another try, as is every 5xx."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wrote, and what it cost."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Again(Exception):
    """Worth another try, after so many seconds at the least."""

    def __init__(self, problem: str, after: float = 0.0, *, broken: bool = False, failed: bool = False) -> None:
        super().__init__(problem)
        self.after = after
        self.broken = broken
        """The server did not answer, or said that it is broken."""
        self.failed = failed
        """As NoAnswer has it."""


class Breaker:
    """Keeps threads from a server that failed `limit` times in a row: one at a time may try it, after pauses that
    double from `pause` seconds to LONGEST_PAUSE. Once `tries` of those have failed, all others are told at once."""

    def __init__(self, *, limit: int = 10, tries: int = 5, pause: float = 1.0) -> None:
        self.limit = limit
        self.tries = tries
        self.pause = pause
        self._changed = threading.Condition()
        self._failed = 0
        self._trials = 0
        self._trying = False
        self._until = 0.0

    def enter(self, deadline: float) -> bool:
        """Wait till a request may be sent; True when it is the one that tries the server.

        Raises NoAnswer when that is not before the deadline, or the server is given up for the moment.
        """
        with self._changed:
            while self._failed >= self.limit:
                now = time.monotonic()
                if self._until <= now and not self._trying:
                    self._trying = True
                    return True
                if self._trials >= self.tries:
                    raise NoAnswer("it failed time after time and is left alone for a while.")
                if max(self._until, now) >= deadline:
                    raise NoAnswer("time: it failed time after time, and the deadline comes before it is tried again.")
                self._changed.wait((self._until if self._until > now else deadline) - now)
        return False

    def leave(self, *, trial: bool, broken: bool) -> None:
        """What came of a request that was let through."""
        with self._changed:
            if trial:
                self._trying = False
                self._trials += 1
            elif broken:
                self._failed += 1
            if not broken:
                self._failed = self._trials = 0
            elif trial or self._failed == self.limit:
                self._until = time.monotonic() + min(LONGEST_PAUSE, self.pause * 2**self._trials)
            self._changed.notify_all()


def chat_url(base: str) -> str:
    """Where a server with this base, up to and with `/v1`, takes chats. Raises ValueError."""
    if "@" in base:
        raise ValueError("url holds a user or a password; expected none. Put the key into the environment instead")
    if not base.startswith(("http://", "https://")):
        raise ValueError(f"url is '{base}'; expected http:// or https://, up to and with /v1")
    return f"{base.rstrip('/')}/chat/completions"


class Transport:
    """Connections to one address, shared by threads. The key is in no message and in no representation."""

    def __init__(
        self,
        url: str,
        *,
        key: str,
        timeout: float,
        tries: int,
        max_bytes: int,
        connections: int | None = None,
        direct: bool = False,
    ) -> None:
        """`timeout` is the seconds of one try; an answer of more than `max_bytes` is refused. `direct`: the server is
        of this cluster, is reached without a proxy, and is asked every few seconds whether it is still there."""
        self.url = url
        self.timeout = timeout
        self.tries = tries
        self.max_bytes = max_bytes
        self.breaker = Breaker(tries=tries)
        self._key = key.strip()  # a key read from a file ends with a newline
        self._most = connections
        self._direct = direct

    def post(self, body: dict[str, Any], kind: type[T], deadline: float) -> T:
        """The answer to `body`, of the shape `kind`; `deadline` is a `time.monotonic()` value.

        Raises Refused when the server says no, NoAnswer when there is no answer in the tries and time there are.
        """
        if not (self._key.isascii() and self._key.isprintable()):  # a complaint of the library would quote it
            raise Refused(f"{self.url}: the key holds what no header can carry; expected printable ASCII.")
        try:
            data = _encoded(body)
        except (TypeError, ValueError, RecursionError) as error:
            raise Refused(f"{self.url}: the request cannot be written as JSON ({error}).") from None
        for number in range(self.tries):
            trial, broken = self._enter(deadline), False
            try:
                return self._once(data, kind, deadline)
            except _Again as again:
                problem, after, broken, failed = str(again), again.after, again.broken, again.failed
            finally:
                self.breaker.leave(trial=trial, broken=broken)
            if number + 1 < self.tries:
                # Jitter, so that those who failed together do not come back together.
                pause = max(after, random.uniform(0.25, 1.0) * min(LONGEST_PAUSE, 0.5 * 2**number))
                if time.monotonic() + pause >= deadline:
                    raise NoAnswer(f"{self.url}: time: the deadline comes before another try ({problem}).")
                time.sleep(pause)
        given_up = NoAnswer(f"{self.url}: no answer in {self.tries} tries ({problem}).")
        given_up.failed = failed
        raise given_up

    def close(self) -> None:
        """Close the connections that are idle; those of questions under way are closed after them."""
        if "_connections" in self.__dict__:
            self._connections[0].close()

    def _enter(self, deadline: float) -> bool:
        try:
            return self.breaker.enter(deadline)
        except NoAnswer as error:
            raise NoAnswer(f"{self.url}: {error}") from None

    def _once(self, data: bytes, kind: type[T], deadline: float) -> T:
        left = min(self.timeout, deadline - time.monotonic())
        if left <= 0:
            raise NoAnswer(f"{self.url}: time: the deadline passed before the answer.")
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        end = time.monotonic() + left
        try:
            response = self._sent(data, headers, left)
            try:
                answer = self._read(response, end)
            finally:
                response.close()  # what was not read to its end is not carried on
                response.release_conn()
        except (urllib3.exceptions.LocationValueError, urllib3.exceptions.ClosedPoolError, ValueError) as error:
            raise Refused(self._clean(f"{self.url}: cannot be asked ({type(error).__name__}: {error}).")) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Again(self._clean(f"{type(error).__name__}: {error}"), broken=True) from None
        status = response.status
        if status in _AGAIN or status >= 500:
            said = self._clean(f"HTTP {status}: {_said(answer)}")
            raise _Again(said, _retry_after(response), broken=status >= 500, failed=status == 500)
        if status != 200:
            raise Refused(self._clean(f"{self.url}: HTTP {status}: {_said(answer)}"), status)
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise _Again(self._clean(f"the answer has another shape: {error}"), failed=True) from None

    def _sent(self, data: bytes, headers: dict[str, str], left: float) -> urllib3.BaseHTTPResponse:
        pool, target = self._connections
        return pool.urlopen(
            "POST",
            target,
            body=data,
            headers=headers,
            timeout=urllib3.Timeout(left),
            pool_timeout=math.ceil(left),
            retries=False,
            redirect=False,
            preload_content=False,
        )

    @functools.cached_property
    def _connections(self) -> tuple[urllib3.HTTPConnectionPool, str]:
        """The pool, which goes through the proxy that the environment names, and what a request line holds.

        Raises urllib3.exceptions.LocationValueError.
        """
        address = urllib3.util.parse_url(self.url)
        options: dict[str, Any] = {"maxsize": self._most or KEPT, "block": self._most is not None}
        if address.scheme == "https":
            options["ssl_context"] = ssl.create_default_context(
                cafile=os.environ.get("SSL_CERT_FILE") or certifi.where()
            )
        if self._direct:
            options["socket_options"] = STILL_THERE
        proxies = {} if self._direct else urllib.request.getproxies()
        proxy = proxies.get(str(address.scheme)) or proxies.get("all")
        if proxy is None or urllib.request.proxy_bypass(str(address.netloc)):
            return urllib3.PoolManager(**options).connection_from_url(self.url), address.request_uri
        pool = urllib3.ProxyManager(proxy, **options).connection_from_url(self.url)
        return pool, self.url if address.scheme == "http" else address.request_uri

    def _read(self, response: urllib3.BaseHTTPResponse, end: float) -> bytes:
        answer = bytearray()
        while chunk := response.read1(1 << 16, decode_content=True):
            answer += chunk
            if len(answer) > self.max_bytes:
                raise _Again(f"the answer is longer than {self.max_bytes} bytes")
            if time.monotonic() > end:
                raise _Again("the answer did not end in time")
        return bytes(answer)

    def _clean(self, text: str) -> str:
        """One short printable line without the key."""
        text = text.replace(self._key, "…") if self._key else text  # before the cut, which may lie within a key
        return re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]+", " ", text[:4000])[:400].strip()


def _said(answer: bytes) -> str:
    """The server's message, from the shapes in which servers wrap it."""
    try:
        said = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return answer.decode("utf-8", "replace")
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and key in said:
            code = said.get("code")
            said = f"{said[key]} ({code})" if isinstance(said[key], str) and isinstance(code, str) else said[key]
    return said if isinstance(said, str) else answer.decode("utf-8", "replace")


def _retry_after(response: urllib3.BaseHTTPResponse) -> float:
    """Seconds that the server asks to wait (RFC 9110, 10.2.3: seconds or a date); 0 when it does not say."""
    value = response.headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return min(LONGEST_PAUSE, float(value))
    try:
        seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(LONGEST_PAUSE, max(0.0, seconds))


def _encoded(body: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(body))


def _encodable(value: Any) -> Any:
    """The same with lone surrogates, which UTF-8 cannot carry, replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(inner) for inner in value]
    return value
