"""One thread that answers many conversations together: it reads their new tokens, then decodes all of them in step.

Continuous batching (Yu et al., Orca, OSDI 2022): an answer starts and ends without waiting for the others.
"""

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rft.errors import InferenceError
from rft.inference.attention import NAME, Block, Layers, Reading
from rft.inference.draw import draw, uniform

READ_AT_ONCE = 2048
"""New tokens of one call of the model, unless a single sequence brings more than fits."""


@dataclass(kw_only=True, eq=False)
class Request:
    """One answer being made. The caller waits for `done`; the engine's thread owns all else until then."""

    key: object
    """Whose keys and values may be used again."""
    ids: list[int]
    """Prompt, and behind it the answer as it grows."""
    prompt: int
    """Tokens of the prompt."""
    seed: int
    drawn: int
    """Tokens that the conversation has drawn before this answer."""
    limit: int
    """The most tokens of the answer."""
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = ""
    problem: str = ""
    """Why there is no answer."""
    cancelled: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    read: int = 0
    """How many of `ids` have their keys and values in the block."""

    def next_uniform(self) -> float:
        return uniform(self.seed, self.drawn + len(self.logprobs))


class Kept:
    """Keys and values of conversations between their turns, the least recently used dropped over a byte limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self.entries: OrderedDict[object, tuple[list[int], Layers, int]] = OrderedDict()

    def put(self, key: object, ids: list[int], layers: Layers) -> None:
        size = sum(t.numel() * t.element_size() for pair in layers for t in pair)
        self.pop(key)
        self.entries[key] = (ids, layers, size)
        self.bytes += size
        while self.bytes > self.limit:
            self.pop(next(iter(self.entries)))

    def pop(self, key: object) -> tuple[list[int], Layers] | None:
        entry = self.entries.pop(key, None)
        if entry is None:
            return None
        self.bytes -= entry[2]
        return entry[0], entry[1]


class Engine:
    """A causal language model of transformers, answering."""

    def __init__(
        self,
        model: Any,
        *,
        stops: Sequence[int],
        temperature: float,
        top_p: float,
        max_batch: int,
        max_context: int,
        kept_bytes: int,
        threads: int | None,
    ) -> None:
        self.model = model
        self.device = model.device
        self.stops = frozenset(stops)
        self.temperature = temperature
        self.top_p = top_p
        self.max_batch = max_batch
        self.threads = threads
        self.block = Block(model.config.get_text_config().num_hidden_layers, max_batch, max_context)
        self.kept = Kept(kept_bytes)
        self.active: list[Request] = []
        """The request at place n works in row n of the block."""
        self.waiting: deque[Request] = deque()
        self.forgotten: deque[object] = deque()
        self.work = threading.Condition()
        self.stopped = ""
        """Why nothing is answered any more."""
        model.set_attn_implementation(NAME)
        self.thread = threading.Thread(target=self._run, name="rft-engine", daemon=True)
        self.thread.start()

    def submit(self, request: Request) -> None:
        """Hand over a request. Raises InferenceError when the engine has stopped."""
        with self.work:
            if self.stopped:
                raise InferenceError(f"local: {self.stopped}")
            self.waiting.append(request)
            self.work.notify()

    def forget(self, key: object) -> None:
        """Free what is kept for a conversation."""
        with self.work:
            self.forgotten.append(key)
            self.work.notify()

    def close(self) -> None:
        """Stop; whoever waits is told."""
        self._stop("the engine was closed.")
        self.thread.join()

    def _stop(self, why: str) -> None:
        with self.work:
            self.stopped = self.stopped or why
            self.work.notify()

    def _run(self) -> None:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            with torch.inference_mode():
                while self._wait():
                    self._drop_cancelled()
                    self._admit()
                    if self.active:
                        self._decode()
        except Exception as error:  # whatever the model raises, those who wait must hear of it
            self._stop(
                f"the model failed ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})."
            )
        finally:
            with self.work:
                self.stopped = self.stopped or "the engine ended."
                left = [*self.active, *self.waiting]
                self.active.clear()
                self.waiting.clear()
            for request in left:
                request.problem = self.stopped
                request.done.set()

    def _wait(self) -> bool:
        with self.work:
            while not (self.waiting or self.active or self.stopped or self.forgotten):
                self.work.wait()
            while self.forgotten:
                self.kept.pop(self.forgotten.popleft())
            return not self.stopped

    def _drop_cancelled(self) -> None:
        for row in reversed(range(len(self.active))):
            if self.active[row].cancelled:
                self._vacate(row)

    def _admit(self) -> None:
        """Read the prompts of those who wait, many in one call, and draw each one's first token."""
        while True:
            group: list[Request] = []
            new = 0
            while len(self.active) + len(group) < self.max_batch and new < READ_AT_ONCE:
                with self.work:
                    request = self.waiting.popleft() if self.waiting else None
                if request is None:
                    break
                if not request.cancelled:
                    self._reuse(request, len(self.active) + len(group))
                    new += request.prompt - request.read
                    group.append(request)
            if not group:
                return
            first = len(self.active)
            self.active += group
            self._prefill(first)

    def _reuse(self, request: Request, row: int) -> None:
        self.block.reserve(row + 1, request.prompt)
        kept = self.kept.pop(request.key)
        if kept is not None:
            ids, layers = kept
            request.read = min(shared_prefix(ids, request.ids), request.prompt - 1)
            self.block.put(row, layers, request.read)

    def _prefill(self, first: int) -> None:
        """Read what is unread of the requests from row `first` on, in pieces when it is much."""
        group = self.active[first:]
        while any(request.read < request.prompt for request in group):
            spans, ends, room = [], [], READ_AT_ONCE
            for row, request in enumerate(group, first):
                length = min(request.prompt - request.read, room)
                if length:
                    spans.append((row, request.read, length))
                    room -= length
                    request.read += length
                    if request.read == request.prompt:
                        ends.append((request, READ_AT_ONCE - room - 1))
            ids = [token for row, start, n in spans for token in self.active[row].ids[start : start + n]]
            rows = torch.tensor([row for row, _, n in spans for _ in range(n)], device=self.device)
            positions = torch.tensor([p for _, start, n in spans for p in range(start, start + n)], device=self.device)
            keep = torch.tensor([at for _, at in ends], device=self.device, dtype=torch.long)
            reading = Reading(block=self.block, rows=rows, positions=positions, spans=spans, decoding=False)
            logits = self._forward(torch.tensor(ids, device=self.device), reading, keep)
            if ends:
                self._draw([request for request, _ in ends], logits)
        self._finish()

    def _decode(self) -> None:
        """One more token for everyone."""
        starts = [request.read for request in self.active]
        self.block.reserve(len(self.active), max(starts) + 1)
        ids = torch.tensor([request.ids[-1] for request in self.active], device=self.device)
        rows = torch.arange(len(self.active), device=self.device)
        positions = torch.tensor(starts, device=self.device)
        spans = [(row, start, 1) for row, start in enumerate(starts)]
        reading = Reading(block=self.block, rows=rows, positions=positions, spans=spans, decoding=True)
        logits = self._forward(ids, reading, 0)
        for request in self.active:
            request.read += 1
        self._draw(self.active, logits)
        self._finish()

    def _forward(self, ids: Tensor, reading: Reading, keep: Tensor | int) -> Tensor:
        """Logits after the tokens at the places `keep`; 0 keeps all."""
        logits: Tensor = self.model(
            input_ids=ids[None],
            position_ids=reading.positions[None],
            use_cache=False,
            logits_to_keep=keep,
            reading=reading,
        ).logits
        return logits[0]

    def _draw(self, requests: list[Request], logits: Tensor) -> None:
        ids, logprobs = draw(logits, [r.next_uniform() for r in requests], self.temperature, self.top_p)
        for request, token, logprob in zip(requests, ids.tolist(), logprobs.tolist(), strict=True):
            request.ids.append(token)
            request.logprobs.append(logprob)
            if not math.isfinite(logprob):
                request.problem = "the model's output is not finite. Try dtype: float32."
                request.finish_reason = "error"
            elif token in self.stops:
                request.finish_reason = "stop"
            elif len(request.logprobs) >= request.limit:
                request.finish_reason = "length"

    def _finish(self) -> None:
        for row in reversed(range(len(self.active))):
            request = self.active[row]
            if request.finish_reason:
                if not request.problem:
                    self.kept.put(request.key, request.ids[: request.read], self.block.take(row, request.read))
                self._vacate(row)
                request.done.set()

    def _vacate(self, row: int) -> None:
        """Free a row; the last row moves into it, so that the rows at work stay the first ones."""
        last = self.active.pop()
        if row < len(self.active):
            self.block.move(len(self.active), row, last.read)
            self.active[row] = last


def shared_prefix(one: list[int], other: list[int]) -> int:
    """How many tokens two sequences begin with alike."""
    if one == other[: len(one)]:
        return len(one)
    return next(i for i, (a, b) in enumerate(zip([*one, -1], [*other, -2], strict=False)) if a != b)
