"""The order of rows: of like length side by side, and the same again after an interruption."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.utils.data import Sampler

from rft.train.rows import IDS

SORTED_TOGETHER = 16
"""Batches whose rows are sorted by length among each other: enough for little padding, few enough to stay random."""


class LengthGrouped(Sampler):  # type: ignore[misc]
    """Row numbers in an order that puts rows of like length side by side and follows from seed and epoch alone."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int, epoch: Callable[[], float]) -> None:
        self.lengths = lengths
        self.batch = batch
        self.seed = seed
        self.epoch = epoch
        """Asked when an epoch begins: how many are done, as a sum of steps that rounds a little."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self.seed}/{int(self.epoch() + 1e-6)}")
        rows = draw.sample(range(len(self.lengths)), len(self.lengths))
        pool = self.batch * SORTED_TOGETHER
        for start in range(0, len(rows), pool):
            rows[start : start + pool] = sorted(rows[start : start + pool], key=lambda row: -self.lengths[row])
        batches = [rows[start : start + self.batch] for start in range(0, len(rows), self.batch)]
        full, rest = [b for b in batches if len(b) == self.batch], [b for b in batches if len(b) < self.batch]
        draw.shuffle(full)
        # Memory runs out at the first step, or not at all.
        full.sort(key=lambda batch: self.lengths[batch[0]] < max(self.lengths))
        return iter([row for batch in full + rest for row in batch])


class Ordered:
    """A trainer whose `group_by_length` draws from the seed, where the library's own order is lost in a resume."""

    args: Any
    accelerator: Any
    state: Any
    train_dataset: Any
    length_columns: Sequence[str] = (IDS,)
    """The columns whose lists are as long as what is read; a row is as long as the longest."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)  # type: ignore[misc]
        rows = self.train_dataset if train_dataset is None else train_dataset
        batches = rows.select_columns(list(self.length_columns)).with_format("numpy").iter(batch_size=256)
        lengths = [
            max(map(len, row))
            for batch in batches
            for row in zip(*(batch[c] for c in self.length_columns), strict=True)
        ]
        together = self.args.train_batch_size * self.accelerator.num_processes
        return LengthGrouped(lengths, together, self.args.seed, lambda: self.state.epoch or 0)
