"""A batch read in parts of at most so many tokens (`train.batch_tokens`): memory follows tokens, the update stays.

Rows are not moved between updates: what an update learns from is the same whatever the limit is. Of each batch, rows
of like length go into a part together; a part's gradients are added to the batch's.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch

Part = list[int]
"""Numbers of rows."""


def parts_of(lengths: Sequence[int], limit: int) -> list[Part]:
    """The longest rows first, each part as full as `limit` tokens allow, padding included; longer rows stand alone."""
    parts: list[Part] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if parts and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= limit:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def at_least(parts: list[Part], count: int) -> list[Part]:
    """The same rows in so many parts, if there are as many rows: the largest parts are halved."""
    parts = list(parts)
    while len(parts) < count and max(map(len, parts)) > 1:
        largest = parts.pop(max(range(len(parts)), key=lambda place: len(parts[place])))
        parts += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return parts


def lengths_of(batch: dict[str, torch.Tensor]) -> list[int]:
    """Tokens of each row of a batch, without padding."""
    mask = batch["attention_mask"]
    if mask.dim() == 4:  # rows that branch: all but padding see the first token
        mask = mask[:, 0, :, 0]
    return [int(length) for length in mask.sum(1)]


def take(batch: dict[str, torch.Tensor], part: Part, sides: int = 1) -> dict[str, torch.Tensor]:
    """The rows of a part, their padding cut to their own longest; `sides` rows of the batch belong to each number."""
    count = len(batch["input_ids"]) // sides
    rows = torch.tensor([side * count + row for side in range(sides) for row in part])
    longest, width = max(lengths_of({"attention_mask": batch["attention_mask"][rows]})), batch["input_ids"].shape[1]
    taken = {}
    for name, tensor in batch.items():
        chosen = tensor[rows] if len(tensor) == count * sides else tensor[torch.tensor(part)]
        for axis in range(1, chosen.dim()):
            if chosen.shape[axis] == width:
                chosen = chosen.narrow(axis, 0, longest)
        taken[name] = chosen
    return taken


class InParts:
    """A trainer whose batches are read in parts."""

    args: Any
    accelerator: Any
    batch_tokens: int | None = None
    """The most tokens of a part; None reads each batch whole."""
    sides: int = 1
    """Rows of a batch that belong together, one from each of so many equal stretches of it."""
    share: float = 1.0
    """How much of its batch the part is that is being read."""

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward of a batch. All processes make as many of both, which sharded weights ask for."""
        step: Callable[..., torch.Tensor] = super().training_step  # type: ignore[misc]
        if self.batch_tokens is None:
            return step(model, inputs, num_items_in_batch)
        lengths = lengths_of(inputs)
        count = len(lengths) // self.sides
        longer = [max(lengths[row::count]) for row in range(count)]
        parts = parts_of(longer, self.batch_tokens // self.sides)
        here = torch.tensor(len(parts), device=self.accelerator.device)
        parts = at_least(parts, int(self.accelerator.gather(here[None]).max()))
        synchronised = self.accelerator.sync_gradients
        losses = []
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            self.accelerator.gradient_state._set_sync_gradients(synchronised and last)
            self.share = len(part) / count
            waits = not last and self.accelerator.distributed_type != "DEEPSPEED"
            with self.accelerator.no_sync(model=model) if waits else nullcontext():
                losses.append(step(model, take(inputs, part, self.sides), num_items_in_batch))
        self.share = 1.0
        return torch.stack(losses).sum()
