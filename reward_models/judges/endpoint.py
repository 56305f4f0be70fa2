"""A judge behind an OpenAI-compatible server."""

import functools
import os
import time
from dataclasses import dataclass
from typing import Annotated

import msgspec

from reward_models.chat import Reply, Transport, chat_url
from reward_models.errors import JudgeDown, NoAnswer, RubricError
from reward_models.judges.base import Request
from reward_models.judges.generative import Generative

MAX_BYTES = 4 << 20
"""A longer answer of a server is refused."""


@dataclass(kw_only=True)
class Endpoint(Generative):
    """A model behind an OpenAI-compatible server."""

    model: str
    """The name that the server knows the model by."""
    url: str
    """The server's base, up to and with `/v1`."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key, when the server wants one."""
    temperature: float = 0.0
    """With several votes it wants to be above 0."""
    max_tokens: int = 4096
    """The most tokens of one reply."""
    timeout: float = 300.0
    """Seconds for one reply, tries after errors included."""
    tries: int = 5
    """How often a request is sent while the server is busy or broken."""
    concurrent: int = 8
    """Transcripts judged at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            chat_url(self.url)
        except ValueError as error:
            raise RubricError(str(error)) from None
        if self.tries < 1:
            raise RubricError(f"tries is {self.tries}; expected at least 1")

    def ask(self, request: Request) -> Reply:
        """What the server answers. Raises JudgeDown when it does not, in the time and tries given."""
        body: dict[str, object] = {
            "model": self.model,
            "messages": request.messages,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            **({"seed": request.vote} if request.vote else {}),
        }
        key = os.environ.get(self.key_variable, "")
        transport = _transport(chat_url(self.url), key, self.timeout, self.tries, self.concurrent)
        try:
            answer = transport.post(body, _Answer, min(request.deadline, time.monotonic() + self.timeout))
        except NoAnswer as error:
            raise JudgeDown(str(error)) from None
        usage = answer.usage or _Usage()
        return Reply(
            text=answer.choices[0].message.content,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )

    def identity(self) -> list[str]:
        """Model and sampling; where it is served does not matter."""
        return [self.model, str(self.temperature), str(self.max_tokens)]


class _Message(msgspec.Struct):
    content: Annotated[str, msgspec.Meta(min_length=1)]


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    """The fields of a chat completion that are used; one without text has another shape, and is asked for again."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None


@functools.cache
def _transport(url: str, key: str, timeout: float, tries: int, connections: int) -> Transport:
    """The process's connections to a server, shared by threads; judges that hold none can cross process borders."""
    return Transport(url, key=key, timeout=timeout, tries=tries, max_bytes=MAX_BYTES, connections=connections)
