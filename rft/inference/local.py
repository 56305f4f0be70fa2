"""Asks a transformers checkpoint in this process, for many trajectories at once. Reads the checkpoint's directory.

torch is imported when the model is loaded, because recipes are checked without it.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rft.errors import ContextFull, InferenceError, RecipeError
from rft.inference.chat import Chat, Turn
from rft.inference.tool_calls import split
from rft.plugins import first_line
from rft.recipe import shipped_model
from rft.transcript import written_out
from rft.types import Completion, Message, Task, Tool


@dataclass(kw_only=True)
class Local:
    """A checkpoint of any transformers architecture whose layers all attend.

    Exact: a conversation goes on from the very tokens that were read and produced before. Seeded: the k-th token of a
    conversation follows from its seed and its messages, not from who else is answered. Only the last bits of the
    model's arithmetic change with the batch; they can turn a draw that is that close.
    Recorded log-probabilities are those under the distribution drawn from, temperature and nucleus included; a
    greedy answer (temperature 0) has the model's own.
    """

    model: str | None = None
    """Another model than the policy, for a teacher: a directory, a hub name, or one that ships with rft."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: as the checkpoint is stored."""
    device: str = "auto"
    """`auto`: cuda where there is one, else cpu."""
    max_batch: int = 32
    """Answers made at the same time; more callers wait."""
    max_context: int | None = None
    """Tokens of a whole conversation; the model's own limit when left out."""
    kept_mb: int = 2048
    """Memory for the keys and values of conversations between turns; those over it are read again."""
    threads: int | None = None
    """torch's threads; torch decides when left out. With several processes on a machine give each its share."""
    engine: Any = field(init=False, default=None, repr=False)
    chat: Chat = field(init=False, repr=False)
    max_tokens: int = field(init=False, default=0)
    context: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.kept_mb < 0:
            raise ValueError("max_batch must be at least 1 and kept_mb at least 0")

    def load(self, model: str, sampling: Any) -> None:
        """Read the checkpoint. Raises RecipeError when it cannot be, or when it is of a kind that is not built."""
        import torch

        from rft.inference.engine import Engine

        device = self.device if self.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        model = shipped_model(self.model) if self.model else model
        tokenizer, network = read_checkpoint(model, self.dtype, device)
        self.chat = Chat(tokenizer, f"policy.model: '{model}'")
        self.context = self.max_context or network.config.get_text_config().max_position_embeddings
        self.max_tokens = sampling.max_tokens
        ends = network.generation_config.eos_token_id
        more = ends if isinstance(ends, list) else [ends] if ends is not None else []
        self.engine = Engine(
            network,
            stops=[tokenizer.eos_token_id, *more],
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_batch=self.max_batch,
            max_context=self.context,
            kept_bytes=self.kept_mb * 2**20,
            threads=self.threads,
        )

    def open(self, task: Task, *, seed: int) -> "LocalConversation":
        """A conversation; the same seed and the same messages give the same answers."""
        return LocalConversation(self, seed)

    def close(self) -> None:
        """End the engine's thread; whoever waits for an answer gets an InferenceError."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None


class LocalConversation:
    """One trajectory's tokens."""

    def __init__(self, local: Local, seed: int) -> None:
        self.local = local
        self.engine = local.engine
        self.seed = seed
        self.drawn = 0
        self.last: Turn | None = None
        self.turns = 0
        self.said: dict[tuple[str, tuple[str, ...]], str] = {}
        """Text and ids of calls to the answer as it came, for answers that hold calls."""

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        """The model's answer. Raises ContextFull, and InferenceError at the deadline or when the engine has failed."""
        from rft.inference.engine import Request

        rendered, read, prompt = self.reading(messages, tools)
        room = self.local.context - len(prompt)
        if room < 1:
            raise ContextFull(
                f"local: the conversation has {len(prompt)} tokens; the model's context {self.local.context}."
            )
        limit = min(self.local.max_tokens, room)
        request = Request(key=self, ids=prompt, prompt=len(prompt), seed=self.seed, drawn=self.drawn, limit=limit)
        self.engine.submit(request)
        if not request.done.wait(max(0.0, min(deadline - time.monotonic(), threading.TIMEOUT_MAX))):
            request.cancelled = True
            raise InferenceError("local: time: the deadline passed before the answer was whole.")
        if request.problem:
            raise InferenceError(f"local: {request.problem}")
        return self._record(read, rendered, request, tools)

    def close(self) -> None:
        """Free the conversation's keys and values."""
        self.engine.forget(self)

    def reading(self, messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[str, list[Message], list[int]]:
        """What the model is to read: its text, the messages as the template is given them, the ids."""
        chat = self.local.chat
        read = [self._as_it_came(message) for message in messages]
        if not chat.takes_tools:
            read, tools = written_out(read, tools), ()
        rendered, ids = chat.prompt(read, self.last, tools)
        return rendered, read, ids

    def _as_it_came(self, message: Message) -> Message:
        """An answer of this conversation as the model wrote it, its calls in the model's own spelling."""
        text = self.said.get((message.content, tuple(call.id for call in message.tool_calls)))
        return message if text is None or message.role != "assistant" else Message(role="assistant", content=text)

    def _record(self, messages: Sequence[Message], rendered: str, request: Any, tools: Sequence[Tool]) -> Completion:
        chat = self.local.chat
        answer = request.ids[request.prompt :]
        ended = request.finish_reason == "stop"
        text = chat.decode(answer[:-1] if ended else answer)
        self.last = Turn(
            rendered=rendered,
            messages=list(messages),
            ids=request.ids,
            text=text,
            ended_by=chat.decode(answer[-1:]) if ended else "",
        )
        self.drawn += len(answer)
        self.turns += 1
        said, calls = split(text, tools, self.turns)
        if calls:
            self.said[said, tuple(call.id for call in calls)] = text
        return Completion(
            text=said,
            tool_calls=calls,
            finish_reason=request.finish_reason,
            prompt_ids=request.ids[: request.prompt],
            ids=answer,
            logprobs=request.logprobs,
            prompt_tokens=request.prompt,
            completion_tokens=len(answer),
        )


def read_checkpoint(model: str, dtype: str, device: str) -> tuple[Any, Any]:
    """The tokenizer and the network of a directory or a hub name. Raises RecipeError, one line."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    if model.startswith((".", "/", "~")) and not Path(model).is_dir():
        raise RecipeError(f"policy.model: '{model}' is no directory; expected a checkpoint. Make it first.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        network = AutoModelForCausalLM.from_pretrained(
            model, dtype=dtype if dtype == "auto" else getattr(torch, dtype)
        ).to(device)
    except Exception as error:  # a damaged file can fail in every library below
        raise RecipeError(
            f"policy.model: '{model}' cannot be loaded ({first_line(error)}); expected a checkpoint."
        ) from None
    kinds = set(getattr(network.config.get_text_config(), "layer_types", None) or ())
    if not kinds <= {"full_attention", "sliding_attention"}:
        raise RecipeError(
            f"policy.model: '{model}' has layers of kind {', '.join(sorted(kinds))}; "
            "local runs attention only. Use vllm, or an endpoint that serves it."
        )
    if tokenizer.eos_token_id is None:
        raise RecipeError(f"policy.model: '{model}' has no end token; expected a tokenizer with one. Set eos_token.")
    return tokenizer, network.eval()
