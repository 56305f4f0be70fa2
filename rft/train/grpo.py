"""The policy gradient on stored attempts (`train.method: grpo`): nothing is generated here.

Each learnt token has an advantage and the log-probability under which it was drawn. Several updates may be made from
the same attempts: the ratio of probabilities is always taken to what the engine recorded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig
from trl.trainer.utils import add_fused_lm_head

from rft.errors import StageError
from rft.store import Records
from rft.train.losses import clipped_gradient, of_learnt
from rft.train.process import Spec
from rft.train.rows import IDS, LABELS, LOGPROBS, WEIGHTS, Row, columns, lay_out, row_of
from rft.train.sft import ColumnCollator, Trainer, check_prepared, padding_of
from rft.types import Example


class Grpo:
    """Rows whose steps are to become likelier or less likely, by their advantages."""

    config = SFTConfig

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def rows(self) -> list[Row]:
        """Every example. Raises StageError for one without advantages or recorded log-probabilities."""
        return [_row(number, example) for number, example in enumerate(Records(Path(self.spec.examples), Example))]

    def options(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Nothing is cut: lengths were checked."""
        return {"max_length": None}

    def dataset(self, rows: Sequence[Row], place: Path) -> Any:
        """Ids, labels, advantages and log-probabilities."""
        kinds = {IDS: "int32", LABELS: "int32", WEIGHTS: "float32", LOGPROBS: "float32"}
        return lay_out(columns(Path(self.spec.examples)), rows, kinds, place)

    def trainer(self, config: SFTConfig, rows: Sequence[Row], common: dict[str, Any]) -> "PolicyGradientTrainer":
        """TRL's trainer with our loss."""
        padding = padding_of(common["processing_class"])
        common["data_collator"] = GradientCollator(padding, pad_to_multiple_of=config.pad_to_multiple_of)
        trainer = PolicyGradientTrainer(args=config, **common)
        trainer.spec = self.spec
        plain = trainer.model.get_base_model() if self.spec.lora is not None else trainer.model
        add_fused_lm_head(plain, temperature=self.spec.temperature)
        check_prepared(rows, trainer.train_dataset)
        return trainer


def _row(number: int, example: Example) -> Row:
    row = row_of(number, example)
    if not example.weights or example.shared:
        raise StageError(
            f"{example.id}: has no advantages; grpo learns from nothing else. Set select.teach to {{use: advantages}}."
        )
    if len(example.logprobs) != row.learnt:
        raise StageError(
            f"{example.id}: has {len(example.logprobs)} log-probabilities of {row.learnt} learnt tokens; grpo compares "
            "with those under which each was drawn. Collect with an engine that tells them (local, or an endpoint with "
            "token ids)."
        )
    return row


class GradientCollator(ColumnCollator):
    """With advantages and log-probabilities."""

    columns = (WEIGHTS, LOGPROBS)


class PolicyGradientTrainer(Trainer):
    """The mean of the clipped surrogate over the learnt tokens of a step."""

    spec: Spec
    own_columns = (WEIGHTS, LOGPROBS)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch; how far engine and trainer differ goes to the log."""
        inputs = dict(inputs)
        labels = inputs["labels"]
        advantages, drawn = (of_learnt(inputs.pop(name), labels) for name in (WEIGHTS, LOGPROBS))
        logprobs = self.logprobs(model, inputs, self.spec.temperature)
        low, high = self.spec.clip
        losses = clipped_gradient(logprobs, drawn, advantages, low, high)
        self._note(logprobs.detach() - drawn, advantages)
        return self.mean_over_step(losses, num_items_in_batch)

    def _note(self, difference: torch.Tensor, advantages: torch.Tensor) -> None:
        """Means over the tokens of all processes; `log` of TRL's trainer takes the mean of a step's batches."""
        low, high = self.spec.clip
        ratio = difference.exp()
        clipped = ((ratio < 1 - low) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))
        sums = torch.stack([torch.ones_like(ratio).sum(), ratio.sum(), difference.abs().sum(), clipped.float().sum()])
        count, *totals = self.accelerator.gather(sums[None]).sum(0).tolist()
        notes = {"mean": totals[0] / count, "difference": totals[1] / count, "clipped": totals[2] / count}
        for name, value in notes.items():
            self._metrics["train"][f"ratio/{name}"].append(value)
        largest = self.accelerator.gather(difference.abs().max()[None]).max().item()
        self._metrics["train"]["ratio/largest"] = [max([largest, *self._metrics["train"]["ratio/largest"]])]
