"""A look at what is learnt, as text: what a tool printed and what the prompt said is none of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from rft.errors import StageError
from rft.store import Records
from rft.types import Example, Step, Trajectory

SHORTEST = 6
"""Characters of a line that is looked for; shorter ones turn up by chance."""


def check_learnt_text(examples: Path, trajectories: Path, tokenizer: Any) -> None:
    """Raises StageError when learnt tokens read as something that the policy was shown and did not write itself.

    Each learnt step is held against what stood right before and after it, line by line.
    """
    attempts = Records(trajectories, Trajectory)
    places = attempts.index()
    for example in Records(examples, Example):
        if example.steps and example.trajectory_id in places:
            _check(example, attempts.at(places[example.trajectory_id]), tokenizer)


def _check(example: Example, attempt: Trajectory, tokenizer: Any) -> None:
    steps = {step.index: step for step in attempt.steps}
    for (start, end), index in zip(example.spans, example.steps, strict=True):
        if index not in steps:
            raise StageError(
                f"{example.id}: learns step {index}, which its attempt does not have. Redo select with --redo."
            )
        learnt, wrote = tokenizer.decode(example.ids[start:end]), _wrote(steps[index])
        for line in _shown(attempt, steps, index):
            if line in learnt and line not in wrote:
                raise StageError(
                    f"{example.id}: the tokens learnt of step {index} hold {line[:60]!r}, which the policy was "
                    "shown and did not write; expected its own words alone. The record of who wrote which tokens is "
                    "wrong: mend the engine, or collect without token ids."
                )


def _wrote(step: Step) -> str:
    calls = msgspec.json.encode(step.tool_calls).decode()
    spoken = "\n".join(str(value) for call in step.tool_calls for value in _values(call.arguments))
    return "\n".join([step.reply, step.reasoning, calls, spoken])


def _values(arguments: dict[str, Any] | str) -> list[Any]:
    return [arguments] if isinstance(arguments, str) else list(arguments.values())


def _shown(attempt: Trajectory, steps: dict[int, Step], index: int) -> Iterator[str]:
    before = steps.get(index - 1)
    texts = [before.observation] if before else [message.content for message in attempt.prompt]
    for text in [*texts, steps[index].observation]:
        for line in text.splitlines():
            if len(line.strip()) >= SHORTEST:
                yield line.strip()
