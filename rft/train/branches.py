"""Rows that branch: several continuations of one text, each trained as if it stood alone behind it.

The text is read once for all of them. A mask keeps the branches from seeing each other, and positions go on from the
text's end in each; so what is learnt is what a model that shares its prefix between questions will be asked.
"""

from typing import Any

import torch
from torch import Tensor
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import pad

from rft.train.rows import BRANCHES


class BranchCollator(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """TRL's collator, with mask and positions that follow from the branches."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch; `attention_mask` is (batch, 1, length, length), True where a token is seen."""
        batch: dict[str, Any] = super().torch_call(examples)
        columns = [torch.tensor(example[BRANCHES]) for example in examples]
        branches = pad(columns, padding_value=-1, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of)
        batch["attention_mask"] = seen(branches)[:, None]
        batch["position_ids"] = positions(branches)
        return batch


def seen(branches: Tensor) -> Tensor:
    """(batch, length) branch numbers, -1 for padding -> (batch, length, length): what each token may look at.

    Padding looks at itself alone, so that no row of the mask is empty.
    """
    length = branches.shape[1]
    before = torch.ones(length, length, dtype=torch.bool).tril()
    asking, asked = branches[:, :, None], branches[:, None, :]
    allowed = ((asked == 0) | (asked == asking)) & before & (asking >= 0)
    return allowed | torch.eye(length, dtype=torch.bool)


def positions(branches: Tensor) -> Tensor:
    """Each token's place: counted through the shared text, and on from its end in every branch."""
    shared = (branches == 0).cumsum(1) - 1
    own = seen(branches).sum(2) - 1
    return torch.where(branches == 0, shared, own).clamp(min=0)
