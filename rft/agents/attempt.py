"""What an agent leaves behind, built up turn by turn, with the exact tokens that the engine reported."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from msgspec.structs import replace

from rft.transcript import messages_of
from rft.types import Completion, Failure, Message, Step, StopReason, TokenRow, Tool


@dataclass(kw_only=True)
class Attempt:
    """The prompt, the steps so far and why it ended. Filled in by an agent while it works."""

    prompt: list[Message]
    tools: list[Tool] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    stop: StopReason = StopReason.ERROR
    failure: Failure | None = None
    tokens: list[TokenRow] = field(default_factory=list)
    prefix_breaks: int = 0
    model_seconds: float = 0.0
    command_seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)
    """What else is worth keeping of it, for the record."""

    def messages(self) -> list[Message]:
        """The conversation as the model is to see it next."""
        return messages_of(self.prompt, self.steps)

    def generated_tokens(self) -> int:
        """How many tokens the model has produced."""
        return sum(step.completion_tokens for step in self.steps)

    def add_tokens(self, completion: Completion, step: int) -> None:
        """Extend the longest token row that the prompt goes on from, or start a row where it goes on from none."""
        if completion.prompt_ids is None or completion.ids is None:
            return
        prompt, ids, logprobs = completion.prompt_ids, completion.ids, completion.logprobs
        number = self._row_before(prompt)
        before = TokenRow(ids=[], spans=[], logprobs=[]) if number is None else self.tokens[number]
        row = TokenRow(
            ids=[*prompt, *ids],
            spans=[*before.spans, (len(prompt), len(prompt) + len(ids), step)],
            logprobs=None if before.logprobs is None or logprobs is None else [*before.logprobs, *logprobs],
            repeated=before.repeated,
        )
        if number is not None:
            self.tokens[number] = row
            return
        if self.tokens:
            self.prefix_breaks += 1
            row = replace(row, repeated=max(shared(other.ids, prompt) for other in self.tokens))
        self.tokens.append(row)

    def _row_before(self, prompt: Sequence[int]) -> int | None:
        lengths = {
            number: len(row.ids) for number, row in enumerate(self.tokens) if list(prompt[: len(row.ids)]) == row.ids
        }
        return max(lengths, key=lambda number: lengths[number], default=None)


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
