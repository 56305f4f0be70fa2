"""JSON over HTTP to one address: asked again while the server is busy, broken or gone, never longer than a deadline."""

import email.utils
import random
import re
import time
from typing import Any, TypeVar

import httpx
import msgspec

from rft.errors import InferenceError

T = TypeVar("T")
MAX_BYTES = 64 << 20
"""A longer answer is refused. Token ids and log-probabilities of a long answer take some megabytes."""
LONGEST_PAUSE = 60.0
AGAIN = frozenset((408, 409, 425, 429))
"""Worth another try, as is every 5xx."""


class Refused(InferenceError):
    """The server said no, and would say so again."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


class _Again(Exception):
    """Worth another try, after so many seconds."""

    def __init__(self, problem: str, after: float | None = None) -> None:
        super().__init__(problem)
        self.after = after


class Transport:
    """Connections to one address, shared by threads. The key is in no message and in no representation."""

    def __init__(self, url: str, *, key: str, timeout: float, tries: int) -> None:
        self.url = url
        self.timeout = timeout
        self.tries = tries
        self._key = key
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )

    def post(self, body: dict[str, Any], kind: type[T], deadline: float) -> T:
        """The answer to `body`, of the shape `kind`; `deadline` is a `time.monotonic()` value.

        Raises Refused when the server says no, InferenceError when there is no answer in the tries and time there are.
        """
        try:
            data = msgspec.json.encode(_cleaned(body))
        except (TypeError, ValueError, RecursionError) as error:
            raise Refused(f"{self.url}: the request cannot be written as JSON ({error}).") from None
        for number in range(self.tries):
            try:
                return self._once(data, kind, deadline)
            except _Again as again:
                problem, pause = str(again), again.after
            if pause is None:  # full jitter, so that those who failed together do not come back together
                pause = random.uniform(0.25, 1.0) * min(LONGEST_PAUSE, 0.5 * 2**number)
            if number + 1 < self.tries:
                if time.monotonic() + pause >= deadline:
                    raise InferenceError(f"{self.url}: time: the deadline comes before another try ({problem}).")
                time.sleep(pause)
        raise InferenceError(f"{self.url}: no answer in {self.tries} tries ({problem}).")

    def close(self) -> None:
        """Close the connections; questions under way fail."""
        self._client.close()

    def _once(self, data: bytes, kind: type[T], deadline: float) -> T:
        left = min(self.timeout, deadline - time.monotonic())
        if left <= 0:
            raise InferenceError(f"{self.url}: time: the deadline passed before the answer.")
        headers = {"Content-Type": "application/json"}
        try:
            with self._client.stream("POST", self.url, content=data, headers=headers, timeout=left) as response:
                answer = _read(response, time.monotonic() + left)
        except httpx.HTTPError as error:
            raise _Again(self._clean(f"{type(error).__name__}: {error}")) from None
        except (httpx.InvalidURL, RuntimeError, ValueError) as error:  # RuntimeError: closed meanwhile
            raise Refused(self._clean(f"{self.url}: cannot be asked ({type(error).__name__}: {error}).")) from None
        status = response.status_code
        if status in AGAIN or status >= 500:
            raise _Again(self._clean(f"HTTP {status}: {_said(answer)}"), _retry_after(response))
        if status != 200:
            raise Refused(self._clean(f"{self.url}: HTTP {status}: {_said(answer)}"), status)
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise _Again(self._clean(f"the answer has another shape: {error}")) from None

    def _clean(self, text: str) -> str:
        """One short printable line without the key."""
        text = text.replace(self._key, "…") if self._key else text
        return re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]+", " ", text)[:400].strip()


def _read(response: httpx.Response, end: float) -> bytes:
    answer = bytearray()
    for chunk in response.iter_bytes():
        answer += chunk
        if len(answer) > MAX_BYTES:
            raise _Again(f"the answer is longer than {MAX_BYTES} bytes")
        if time.monotonic() > end:
            raise _Again("the answer did not end in time")
    return bytes(answer)


def _said(answer: bytes) -> str:
    """The server's message, from the shapes in which servers wrap it."""
    try:
        said = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return answer[:400].decode("utf-8", "replace")
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and key in said:
            code = said.get("code")
            said = f"{said[key]} ({code})" if isinstance(said[key], str) and isinstance(code, str) else said[key]
    return said if isinstance(said, str) else answer[:400].decode("utf-8", "replace")


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait (RFC 9110, 10.2.3: seconds or a date); None when it does not say."""
    value = response.headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return min(LONGEST_PAUSE, float(value))
    try:
        seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(LONGEST_PAUSE, max(0.0, seconds))


def _cleaned(value: Any) -> Any:
    """The same with lone surrogates, which UTF-8 cannot carry, replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(inner) for inner in value]
    return value
