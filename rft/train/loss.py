"""The loss of supervised fine-tuning as a plain function, and the trainer that hosts it where it is the fastest."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer

from rft.train.rows import IGNORED


def learnt_loss(model: Any, inputs: dict[str, Any], count: Any) -> torch.Tensor:
    """Cross-entropy of the learnt tokens, in nats, summed and divided by `count`.

    `inputs` holds `input_ids` and `labels`, (batch, length) each, and whatever else the model reads. The output
    layer runs only where some row learns the next token: its cost follows what is learnt, not what is read.
    """
    labels = inputs["labels"][:, 1:]
    learnt = (labels != IGNORED).any(dim=0).nonzero().squeeze(-1)
    read = {key: value for key, value in inputs.items() if key != "labels"}
    # A cache would let packed rows see each other.
    logits = model(**read, use_cache=False, logits_to_keep=learnt).logits
    total = cross_entropy(
        logits.flatten(0, 1).float(), labels[:, learnt].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / torch.as_tensor(count).clamp(min=1)


class LearntLossTrainer(SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with `learnt_loss`; without kernels for it, TRL scores every token and measures each entropy."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch; `num_items_in_batch` counts the learnt tokens of the whole step on all processes."""
        if return_outputs or not self.model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        count = (inputs["labels"][:, 1:] != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = learnt_loss(model, inputs, count)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return loss
