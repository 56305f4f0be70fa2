"""What an agent leaves behind, built up turn by turn, with the exact tokens that the engine reported."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rft.transcript import messages_of
from rft.types import Completion, Failure, Message, Step, StopReason, TokenRow


@dataclass(kw_only=True)
class Attempt:
    """The prompt, the steps so far and why it ended. Filled in by an agent while it works."""

    prompt: list[Message]
    steps: list[Step] = field(default_factory=list)
    stop: StopReason = StopReason.ERROR
    failure: Failure | None = None
    tokens: list[TokenRow] = field(default_factory=list)
    prefix_breaks: int = 0
    model_seconds: float = 0.0
    command_seconds: float = 0.0

    def messages(self) -> list[Message]:
        """The conversation as the model is to see it next."""
        return messages_of(self.prompt, self.steps)

    def generated_tokens(self) -> int:
        """How many tokens the model has produced."""
        return sum(step.completion_tokens for step in self.steps)

    def add_tokens(self, completion: Completion, step: int) -> None:
        """Extend the last token row by one turn, or start a row where the prompt does not extend it."""
        if completion.prompt_ids is None or completion.ids is None:
            return
        prompt, ids, logprobs = completion.prompt_ids, completion.ids, completion.logprobs
        last = self.tokens[-1] if self.tokens else None
        extends = last is not None and _starts_with(prompt, last.ids)
        if last is not None and not extends:
            self.prefix_breaks += 1
        span = (len(prompt), len(prompt) + len(ids), step)
        spans = [*last.spans, span] if last is not None and extends else [span]
        before = (last.logprobs if last is not None and extends else []) if logprobs is not None else None
        row = TokenRow(
            ids=[*prompt, *ids],
            spans=spans,
            logprobs=None if before is None or logprobs is None else [*before, *logprobs],
        )
        if extends:
            self.tokens[-1] = row
        else:
            self.tokens.append(row)


def _starts_with(ids: Sequence[int], prefix: Sequence[int]) -> bool:
    return len(ids) >= len(prefix) and list(ids[: len(prefix)]) == list(prefix)
