"""Imitation (`train.method: sft`): TRL's SFTTrainer on exact tokens, with a loss that is a plain function."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import pad

from rft.errors import RecipeError, StageError
from rft.store import Records
from rft.train.branches import BranchCollator
from rft.train.losses import fused_logprobs, imitation, learnt_logprobs, of_learnt
from rft.train.order import Ordered
from rft.train.parts import InParts
from rft.train.process import Spec
from rft.train.rows import BRANCHES, IDS, IGNORED, LABELS, WEIGHTS, Row, columns, lay_out, row_of
from rft.types import Example

PACK = 512
"""Where a recipe asks for packing: the least length of a packed row. Attention's cost grows with it."""
TAKES_MASKS = ("sdpa", "eager")
"""Implementations of attention that a mask of (length, length) reaches; flash attention only knows where rows end."""


class Sft:
    """Rows of learnt tokens, each as likely as can be made."""

    config = SFTConfig

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def rows(self) -> list[Row]:
        """Every example. Raises StageError for one that is not to be imitated."""
        return [self._row(number, example) for number, example in enumerate(Records(Path(self.spec.examples), Example))]

    def _row(self, number: int, example: Example) -> Row:
        if example.good is False:
            raise StageError(
                f"{example.id}: is there to become less likely; sft makes what it learns likelier. "
                "Set select.teach to {use: imitate}, or train.method to what select.teach is for."
            )
        if any(weight < 0 for weight in example.weights):
            raise StageError(
                f"{example.id}: has the weight {min(example.weights)}; expected none below 0 in sft. "
                "Set select.teach to {use: imitate}, or train.method to grpo."
            )
        return row_of(number, example, self.spec.learn)

    def options(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What suits these rows: nothing is cut, whole rows are packed."""
        packing = bool(self.spec.trl.get("packing"))
        longest = max(row.length for row in rows)
        return {"max_length": self.spec.trl.get("max_length") or max(PACK, longest) if packing else None}

    def dataset(self, rows: Sequence[Row], place: Path) -> Any:
        """Ids and labels; branches and weights where a row has some."""
        kinds = {IDS: "int32", LABELS: "int32"}
        if any(row.branching for row in rows):
            kinds[BRANCHES] = "int32"
        if any(row.weighted for row in rows):
            kinds[WEIGHTS] = "float32"
        return lay_out(columns(Path(self.spec.examples), self.spec.learn), rows, kinds, place)

    def trainer(self, config: SFTConfig, rows: Sequence[Row], common: dict[str, Any]) -> "Trainer":
        """TRL's trainer. Raises RecipeError for rows and options that do not go together, StageError where TRL
        prepared other rows than these."""
        padding = padding_of(common["processing_class"])
        branching = any(row.branching for row in rows)
        if branching:
            common["data_collator"] = BranchCollator(padding, pad_to_multiple_of=config.pad_to_multiple_of)
        elif any(row.weighted for row in rows):
            common["data_collator"] = ColumnCollator(padding, pad_to_multiple_of=config.pad_to_multiple_of)
        trainer = trainer_class(config, rows)(args=config, **common)
        check_prepared(rows, trainer.train_dataset)
        if branching:
            check_branching(trainer.model.config)
        return trainer


def check_branching(config: Any) -> None:
    """Raises RecipeError for a model whose layers do not keep branches apart as the judge `local` does."""
    if config._attn_implementation not in TAKES_MASKS:
        raise RecipeError(
            f"train.trl.model_init_kwargs: attn_implementation is {config._attn_implementation}, which knows no "
            f"branches; expected {' or '.join(TAKES_MASKS)}."
        )
    others = set(getattr(config.get_text_config(), "layer_types", None) or ()) - {"full_attention"}
    if others:
        raise RecipeError(
            f"policy.model: has layers of kind {', '.join(sorted(others))}, which know no branches; a policy that "
            "judges needs full attention alone. Choose another."
        )


def trainer_class(config: SFTConfig, rows: Sequence[Row]) -> "type[Trainer]":
    """TRL's own loss where it has a kernel for the learnt tokens alone, or where the recipe asks for another loss.

    Raises RecipeError for rows that branch or have weights and options that do not go with that.
    """
    plain = config.loss_type == "nll" and not config.label_smoothing_factor and config.router_aux_loss_coef is None
    for what, there in (("branch", any(r.branching for r in rows)), ("have weights", any(r.weighted for r in rows))):
        if there and (not plain or config.packing or config.padding_free):
            raise RecipeError(
                f"train.trl: examples that {what} take the plain loss of unpacked rows. Leave other options out."
            )
        if there:
            return LearntLossTrainer
    return LearntLossTrainer if plain and not torch.cuda.is_available() else Trainer


def padding_of(tokenizer: Any) -> int:
    """The id that stands where a batch's shorter rows have ended."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def check_prepared(rows: Sequence[Row], prepared: Any) -> None:
    """Raises StageError when TRL's own preparation lost a row or a learnt token."""
    sequences = learnt = 0
    for batch in prepared.with_format("numpy").iter(batch_size=256):
        packed = batch.get("seq_lengths")
        sequences += sum(len(lengths) for lengths in packed) if packed is not None else len(batch["labels"])
        learnt += sum(int((labels != IGNORED).sum()) for labels in batch["labels"])
    expected = sum(row.learnt for row in rows)
    if (sequences, learnt) != (len(rows), expected):
        raise StageError(
            f"train: TRL prepared {sequences} rows with {learnt} learnt tokens; expected {len(rows)} with {expected}. "
            "An option in train.trl cuts or drops examples: leave it out."
        )


class ColumnCollator(DataCollatorForLanguageModeling):  # type: ignore[misc]
    """TRL's collator, which drops columns that it does not know, with those of one number a token."""

    columns: Sequence[str] = (WEIGHTS,)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch; the columns are (batch, length), 0 in the padding."""
        batch: dict[str, Any] = super().torch_call(examples)
        for name in self.columns:
            values = [torch.tensor(example[name]) for example in examples]
            batch[name] = pad(values, padding_value=0, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of)
        return batch


class Trainer(InParts, Ordered, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, with our columns, our order and our parts."""

    own_columns: Sequence[str] = (BRANCHES, WEIGHTS)
    tiled: bool = torch.cuda.is_available()
    """Whether the learnt tokens' logits are made a tile at a time: on a CPU TRL's head scores all that is read."""
    aux_loss_enabled: bool
    """Whether the model has experts, and TRL's loss a term that balances them."""

    def logprobs(self, model: Any, inputs: dict[str, Any], temperature: float = 1.0) -> torch.Tensor:
        """Of each learnt token of a batch, one after another, row by row."""
        if self.aux_loss_enabled:  # our losses have no such term, and it knows no branches
            inputs = {**inputs, "output_router_logits": False}
        if self.tiled:
            return fused_logprobs(model, inputs)
        return learnt_logprobs(model, self.model.get_output_embeddings(), inputs, temperature)

    @property
    def router_aux_loss_coef(self) -> float:
        """How much balanced experts count in TRL's loss: of a part of a batch, as much as the part is of it."""
        return self._balance * self.share

    @router_aux_loss_coef.setter
    def router_aux_loss_coef(self, coefficient: float) -> None:
        self._balance = coefficient

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns += [name for name in self.own_columns if name not in self._signature_columns]

    def mean_over_step(self, losses: torch.Tensor, count: Any) -> torch.Tensor:
        """The sum over `count`, the learnt tokens of the whole step on all processes; over their own number if None."""
        if count is None:
            return losses.sum() / max(1, len(losses)) * self.share
        loss = losses.sum() / torch.as_tensor(count).clamp(min=1)
        return loss * self.accelerator.num_processes if self.args.average_tokens_across_devices else loss


class LearntLossTrainer(Trainer):
    """The mean cross-entropy of the learnt tokens, each times its weight where there are weights.

    TRL's own loss has a kernel for learnt tokens on GPUs, and else scores every token; it knows no weights.
    """

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one batch."""
        if return_outputs or not self.model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = dict(inputs)
        weights = inputs.pop(WEIGHTS, None)
        logprobs = self.logprobs(model, inputs)
        losses = imitation(logprobs, None if weights is None else of_learnt(weights, inputs["labels"]))
        return self.mean_over_step(losses, num_items_in_batch)
