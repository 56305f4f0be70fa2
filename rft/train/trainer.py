"""TRL's SFTTrainer with a loss that is a plain function, and an order of rows that survives an interruption."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from trl import SFTTrainer

from rft.train.rows import BRANCHES, IDS, IGNORED

SORTED_TOGETHER = 16
"""Batches whose rows are sorted by length among each other: enough for little padding, few enough to stay random."""


def learnt_loss(model: Any, head: torch.nn.Module, inputs: dict[str, Any], count: Any) -> torch.Tensor:
    """Cross-entropy of the learnt tokens, in nats, summed and divided by `count`.

    `inputs` holds `input_ids` and `labels`, (batch, length) each, and what else `model` reads. `head`, the model's
    output layer, only sees the places that predict a learnt token: its cost follows what is learnt, not what is read.
    """
    labels = inputs["labels"][:, 1:]
    learnt = labels != IGNORED
    read = {key: value for key, value in inputs.items() if key != "labels"}
    hook = head.register_forward_pre_hook(lambda _, hidden: (hidden[0][:, :-1][learnt],))
    try:
        # A cache would let packed rows see each other.
        logits = model(**read, use_cache=False).logits
    finally:
        hook.remove()
    return cross_entropy(logits.float(), labels[learnt], reduction="sum") / torch.as_tensor(count).clamp(min=1)


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


class Trainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer; `group_by_length` draws from the seed, where the library's own order is lost in a resume."""

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if BRANCHES not in self._signature_columns:
            self._signature_columns.append(BRANCHES)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows = (self.train_dataset if train_dataset is None else train_dataset).select_columns(IDS)
        lengths = [len(ids) for batch in rows.with_format("numpy").iter(batch_size=256) for ids in batch[IDS]]
        together = self.args.train_batch_size * self.accelerator.num_processes
        return LengthGrouped(lengths, together, self.args.seed, lambda: self.state.epoch or 0)


class LearntLossTrainer(Trainer):
    """With `learnt_loss`. TRL's own loss has a kernel for learnt tokens on GPUs, and else scores every token."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch; `num_items_in_batch` counts the learnt tokens of the whole step on all processes."""
        if return_outputs or not self.model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        count = (inputs["labels"][:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = learnt_loss(model, self.model.get_output_embeddings(), inputs, count)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return loss
