"""One chat request to an OpenAI-compatible server, with patience for busy and broken ones."""

import email.utils
import functools
import os
import random
import time
from typing import Any

import httpx
import msgspec

from reward_models.errors import JudgeDown

MAX_BYTES = 4 << 20
"""A longer answer is refused."""

_AGAIN = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wrote, and what it cost."""

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class _Busy(Exception):
    """Worth another try."""

    def __init__(self, problem: str, after: float = 0.0) -> None:
        super().__init__(problem)
        self.after = after


@functools.cache
def open_client(connections: int) -> httpx.Client:
    """The process's client for so many connections; threads share it."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.Client(limits=limits, follow_redirects=False)


def ask_endpoint(
    client: httpx.Client, url: str, body: dict[str, Any], *, key_variable: str, timeout: float, tries: int
) -> Reply:
    """The server's reply to a chat. Busy and broken servers are asked again, with pauses that grow.

    Raises JudgeDown when there is none after `tries` or `timeout` seconds in all. The key is in no message.
    """
    deadline = time.monotonic() + timeout
    key = os.environ.get(key_variable, "") if key_variable else ""
    problem = "no time was given"
    for number in range(max(1, tries)):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return _once(client, url, body, key, deadline)
        except _Busy as error:
            problem = str(error)
            pause = max(error.after, min(20.0, 0.5 * 2**number) * random.uniform(0.5, 1.0))
            if number + 1 >= tries or time.monotonic() + pause >= deadline:
                break
            time.sleep(pause)
    raise JudgeDown(f"{url}: {problem}")


def _once(client: httpx.Client, url: str, body: dict[str, Any], key: str, deadline: float) -> Reply:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    left = max(0.1, deadline - time.monotonic())
    try:
        with client.stream("POST", url, json=body, headers=headers, timeout=left) as response:
            data = _read(response, deadline)
    except httpx.HTTPError as error:
        raise _Busy(f"{type(error).__name__}: {error}") from None
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise JudgeDown(f"{url}: cannot be asked ({type(error).__name__})") from None
    if response.status_code in _AGAIN:
        raise _Busy(f"HTTP {response.status_code}", _retry_after(response))
    if response.status_code != 200:
        said = data[:300].decode("utf-8", "replace").replace("\n", " ")
        said = said.replace(key, "…") if key else said
        raise JudgeDown(f"{url}: HTTP {response.status_code}: {said}")
    try:
        answer = msgspec.json.decode(data, type=_Answer)
    except (msgspec.DecodeError, RecursionError):
        raise _Busy("the answer is no chat completion") from None
    if not answer.choices or not answer.choices[0].message.content:
        raise _Busy("the answer holds no text")
    usage = answer.usage or _Usage()
    return Reply(
        text=answer.choices[0].message.content,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )


def _read(response: httpx.Response, deadline: float) -> bytes:
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > MAX_BYTES:
            raise _Busy(f"the answer is longer than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise _Busy("the answer did not end in time")
    return bytes(data)


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, at most a minute."""
    value = response.headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return min(60.0, max(0.0, seconds)) if seconds == seconds else 0.0
