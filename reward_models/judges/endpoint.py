"""A judge behind an OpenAI-compatible server."""

import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from reward_models import verdicts
from reward_models.budget import Price, as_price, estimated_tokens
from reward_models.chat import Reply, Transport, chat_url
from reward_models.errors import JudgeDown, NoAnswer, Refused, RubricError
from reward_models.judges.base import Request
from reward_models.judges.generative import Answered, Call, Generative

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
    """Requests at once."""
    schema: bool = False
    """Ask the server to hold replies to a JSON schema; one that refuses (400) is asked without from then on."""
    price: dict[str, float] | None = None
    """Money for a million tokens: `{prompt: …, completion: …}`, in any currency."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request, as they are; null takes out a field that would be sent."""
    _plain: bool = field(default=False, init=False, repr=False, compare=False)
    """The server has refused schemas."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            chat_url(self.url)
        except ValueError as error:
            raise RubricError(str(error)) from None
        for name in ("tries", "concurrent", "max_tokens"):
            if getattr(self, name) < 1:
                raise RubricError(f"{name} is {getattr(self, name)}; expected at least 1")
        self._tariff = as_price(self.price)

    @property
    def tariff(self) -> Price:
        """Its price; nothing when none is given."""
        return self._tariff

    def each(self, answer: Callable[[Call], Answered], calls: Sequence[Call]) -> Iterable[Answered]:
        """At once, as far as `concurrent` allows to all transcripts together."""
        return self._server().threads.map(answer, calls)

    def ask(self, request: Request) -> Reply:
        """What the server answers. Raises JudgeDown when it does not, in the time and tries given."""
        body = {
            "model": self.model,
            "messages": request.messages,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            **({"seed": request.vote} if request.vote else {}),
            **self.extra,
        }
        try:
            answer = self._posted({key: value for key, value in body.items() if value is not None}, request)
        except NoAnswer as error:
            raise JudgeDown(str(error)) from None
        text = answer.choices[0].message.content or ""
        usage = answer.usage or _Usage(
            prompt_tokens=estimated_tokens([message["content"] for message in request.messages]),
            completion_tokens=estimated_tokens([text]),
        )
        return Reply(text=text, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)

    def _posted(self, body: dict[str, Any], request: Request) -> "_Answer":
        """The answer to a body, with a schema where that is wanted and not known to be refused. Raises NoAnswer."""
        transport = self._server().transport
        end = min(request.deadline, time.monotonic() + self.timeout)
        if self.schema and not self._plain:
            schema = {"name": "verdicts", "strict": True, "schema": verdicts.schema(request.questions)}
            try:
                return transport.post(
                    {**body, "response_format": {"type": "json_schema", "json_schema": schema}}, _Answer, end
                )
            except Refused as error:
                if error.status not in (400, 422):
                    raise
            answer = transport.post(body, _Answer, end)  # refused as well, it was not for the schema
            self._plain = True
            return answer
        return transport.post(body, _Answer, end)

    def _server(self) -> "_Server":
        """The one of this process that all judges like this one share."""
        key = os.environ.get(self.key_variable, "")
        with _first_come:
            return _servers(chat_url(self.url), key, self.timeout, self.tries, self.concurrent)

    def identity(self) -> list[str]:
        """Model and sampling; where it is served does not matter."""
        sampling = [self.temperature, self.max_tokens, self.schema, sorted(self.extra.items())]
        return [self.model, repr(sampling)]


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    """The fields of a chat completion that are used."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None


class _Server:
    """A process's connections to a server and the threads that use them; judges that hold none can cross process
    borders."""

    def __init__(self, url: str, key: str, timeout: float, tries: int, concurrent: int) -> None:
        self.transport = Transport(
            url, key=key, timeout=timeout, tries=tries, max_bytes=MAX_BYTES, connections=concurrent
        )
        self.threads = ThreadPoolExecutor(concurrent, thread_name_prefix="judge")


_servers = functools.cache(_Server)
_first_come = threading.Lock()
"""Without it, threads that come at the same time would make a server each."""
