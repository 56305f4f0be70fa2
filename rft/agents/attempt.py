"""What an agent leaves behind, built up turn by turn, with the exact tokens that the engine reported."""

from dataclasses import dataclass, field
from typing import Any

from rft.transcript import extend_rows, messages_of
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
        self.prefix_breaks += extend_rows(self.tokens, completion.prompt_ids, completion.ids, completion.logprobs, step)
