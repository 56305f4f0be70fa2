"""Asks any OpenAI-compatible chat-completions server over HTTP, with patience for busy and broken ones."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from reward_models.chat import Transport, chat_url
from reward_models.errors import NoAnswer, Refused
from rft.errors import ContextFull, InferenceError, Unanswered
from rft.inference.tool_calls import chat_message, chat_tool
from rft.transcript import arguments_of
from rft.types import Completion, Message, Task, Tool, ToolCall

log = logging.getLogger(__name__)

CONTEXT_WORDS = (
    "context_length",
    "context length",
    "context window",
    "max_model_len",
    "prompt is too long",
    "too many tokens",
)
"""How servers say that a conversation does not fit; there is no common code."""
BROKEN_OFF = ("abort", "error")
"""What vLLM and SGLang give as the reason for the end of an answer that is none: they were told to stop, or failed."""
MAX_BYTES = 64 << 20
"""A longer answer is refused. Token ids and log-probabilities of a long answer take some megabytes."""


@dataclass(kw_only=True)
class Endpoint:
    """A served model. Its tokens are exact where the server tells them (vLLM); elsewhere only text is recorded."""

    url: str
    """The server's base, up to and with `/v1`."""
    model: str | None = None
    """The name that the server knows the model by; `policy.model` when left out."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key, when the server wants one."""
    timeout: float = 600.0
    """Seconds for one request; the attempt's own deadline holds as well."""
    tries: int = 6
    """How often a request is sent while the server is busy, broken or gone."""
    logprobs: bool = True
    """Ask for log-probabilities. vLLM gives those before temperature and top_p unless it runs with
    `--logprobs-mode processed_logprobs`; training needs the latter whenever temperature is not 1 or top_p below 1."""
    token_ids: bool = False
    """Ask for token ids, by vLLM's `return_token_ids`. Other servers may refuse a field that they do not know."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request, as they are; null takes out a field that rft would send."""
    transport: Transport | None = field(init=False, default=None, repr=False)
    sampling: Any = field(init=False, default=None, repr=False)
    told: set[str] = field(init=False, default_factory=set, repr=False)

    def __post_init__(self) -> None:
        chat_url(self.url)
        if self.tries < 1 or self.timeout <= 0:
            raise ValueError("tries must be at least 1 and timeout above 0")

    def remark(self) -> str:
        """What to know of it where a policy is trained."""
        name = (
            f"'{self.model}' in every round, whatever was trained" if self.model else "each round's checkpoint by path"
        )
        return f"asked for {name}: its weights are changed by whoever serves them; {{use: vllm}} does so by itself"

    def load(self, model: str, sampling: Any) -> None:
        """Take the key from the environment. Nothing is sent before the first question."""
        self.connect(model, sampling, key=os.environ.get(self.key_variable, ""))

    def connect(self, model: str, sampling: Any, *, key: str, direct: bool = False) -> None:
        """The same with a key that is given; `direct` as for `reward_models.chat.Transport`."""
        self.model = self.model or model
        self.sampling = sampling
        self.transport = Transport(
            chat_url(self.url),
            key=key,
            timeout=self.timeout,
            tries=self.tries,
            max_bytes=MAX_BYTES,
            direct=direct,
        )

    def open(self, task: Task, *, seed: int) -> "EndpointConversation":
        """A conversation; each of its requests carries a seed that follows from `seed`, for servers that heed it."""
        return EndpointConversation(self, seed)

    def close(self) -> None:
        """Close the connections."""
        if self.transport is not None:
            self.transport.close()
            self.transport = None

    def tell_once(self, what: str, advice: str) -> None:
        """Say that the server ignores something that it was asked for."""
        if what not in self.told:
            self.told.add(what)
            log.warning("%s: asked for %s and got none: the server ignores them. %s", self.url, what, advice)


class EndpointConversation:
    """One trajectory's requests."""

    def __init__(self, endpoint: Endpoint, seed: int) -> None:
        self.endpoint = endpoint
        self.seed = seed
        self.turn = 0

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        """The server's answer. Raises ContextFull, and InferenceError when there is none before the deadline."""
        transport = self.endpoint.transport
        if transport is None:
            raise InferenceError(f"{self.endpoint.url}: the endpoint was closed.")
        try:
            answer = transport.post(self._body(messages, tools), _Answer, deadline)
        except Refused as error:
            if error.status in (400, 413, 422) and any(word in str(error).lower() for word in CONTEXT_WORDS):
                raise ContextFull(str(error)) from None
            raise InferenceError(str(error)) from None
        except NoAnswer as error:
            raise Unanswered(str(error), failed=error.failed) from None
        if time.monotonic() >= deadline:
            raise InferenceError(f"{self.endpoint.url}: time: the deadline passed before the answer was whole.")
        how = answer.choices[0].finish_reason
        if how in BROKEN_OFF:
            raise Unanswered(f"{self.endpoint.url}: the server broke the answer off ({how}).", failed=True)
        self.turn += 1
        return self._completion(answer)

    def close(self) -> None:
        """Nothing is held."""

    def _body(self, messages: Sequence[Message], tools: Sequence[Tool]) -> dict[str, Any]:
        endpoint = self.endpoint
        body: dict[str, Any] = {
            "model": endpoint.model,
            "messages": [chat_message(message) for message in messages],
            "temperature": endpoint.sampling.temperature,
            "top_p": endpoint.sampling.top_p,
            "max_tokens": endpoint.sampling.max_tokens,
            "seed": (self.seed * 1009 + self.turn) % 2**31,
        }
        if tools:
            body["tools"] = [chat_tool(tool) for tool in tools]
        if endpoint.logprobs:
            body["logprobs"] = True
        if endpoint.token_ids:
            body["return_token_ids"] = True
        return {key: value for key, value in (body | endpoint.extra).items() if value is not None}

    def _completion(self, answer: "_Answer") -> Completion:
        choice = answer.choices[0]
        if choice.finish_reason == "content_filter":
            raise InferenceError(f"{self.endpoint.url}: the server's content filter withheld the answer.")
        ids = choice.token_ids
        prompt_ids = answer.prompt_token_ids if ids is not None else None
        logprobs = [t.logprob for t in choice.logprobs.content] if choice.logprobs and choice.logprobs.content else None
        if self.endpoint.token_ids and (ids is None or prompt_ids is None):
            self.endpoint.tell_once("token ids", "Without them examples are tokenised anew; use vLLM 0.10.2 or later.")
            ids = prompt_ids = None
        if self.endpoint.logprobs and logprobs is None:
            self.endpoint.tell_once("log-probabilities", "Set logprobs: false, or use a server that gives them.")
        if ids is not None and logprobs is not None and len(ids) != len(logprobs):
            raise InferenceError(f"{self.endpoint.url}: {len(ids)} token ids and {len(logprobs)} log-probabilities.")
        usage = answer.usage or _Usage()
        return Completion(
            text=choice.message.content or "",
            reasoning=choice.message.thoughts(),
            tool_calls=[
                ToolCall(id=call.id or f"call_{self.turn}_{number}", name=call.function.name, arguments=arguments)
                for number, call in enumerate(choice.message.tool_calls or [])
                for arguments in [arguments_of(call.function.arguments)]
            ],
            finish_reason="length" if choice.finish_reason == "length" else "stop",
            prompt_ids=prompt_ids,
            ids=ids,
            logprobs=logprobs,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
        )


class _Function(msgspec.Struct):
    name: str
    arguments: str = "{}"


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    reasoning: Any = None
    reasoning_content: Any = None
    tool_calls: list[_Call] | None = None

    def thoughts(self) -> str:
        """What a server with a reasoning parser took out of the content, under either of the names in use."""
        return next((text for text in (self.reasoning, self.reasoning_content) if text and isinstance(text, str)), "")


class _TokenLogprob(msgspec.Struct):
    logprob: float


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str
    logprobs: _Logprobs | None = None
    token_ids: list[int] | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    """The fields of a chat completion that are used; servers add what they like."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage | None = None
    prompt_token_ids: list[int] | None = None
