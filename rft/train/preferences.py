"""Preferences: TRL's DPOTrainer and KTOTrainer on exact tokens (`train.method: dpo` and `kto`).

TRL tokenises conversations itself and counts all that follows the prompt as the answer, what tools printed included.
Here rows come as tokens, and the collators say which of them are the policy's own.

The reference is the policy that the round starts from, as it is on disk: the checkpoint that the round before left,
its adapter merged. With an adapter in training the reference is that model without it.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.trainer.utils import pad

from rft.errors import RecipeError, StageError
from rft.store import Records
from rft.train.order import Ordered
from rft.train.parts import InParts
from rft.train.process import Spec
from rft.train.rows import (
    CHOSEN,
    IDS,
    IGNORED,
    LABELS,
    LIKED,
    REJECTED,
    Row,
    columns_of,
    context_of,
    lay_out,
    pairs_of,
    row_of,
)
from rft.train.sft import padding_of
from rft.types import Example

Batch = dict[str, torch.Tensor]
Features = list[dict[str, Any]]


class Dpo:
    """Pairs: the better side is to gain on the worse one (Rafailov et al., 2023, arXiv 2305.18290)."""

    config = DPOConfig

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def rows(self) -> list[Row]:
        """Every pair. Raises StageError where there is none, or where a side cannot be learnt from exactly."""
        return [self._row(number, *sides) for number, sides in enumerate(pairs_of(Path(self.spec.examples)))]

    def _row(self, number: int, *sides: Example) -> Row:
        better, worse = (checked(number, side, "dpo") for side in sides)
        return Row(
            id=sides[0].pair,
            number=number,
            length=max(better.length, worse.length),
            learnt=better.learnt + worse.learnt,
            tokens=better.tokens + worse.tokens,
        )

    def options(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Nothing is cut: lengths were checked."""
        return {"max_length": None}

    def dataset(self, rows: Sequence[Row], place: Path) -> Any:
        """Ids and labels of both sides."""
        kinds = {f"{side}{name}": "int32" for side in (CHOSEN, REJECTED) for name in (IDS, LABELS)}
        return lay_out(map(_both, pairs_of(Path(self.spec.examples))), rows, kinds, place)

    def trainer(self, config: DPOConfig, rows: Sequence[Row], common: dict[str, Any]) -> DPOTrainer:
        """TRL's trainer with our rows."""
        common["data_collator"] = PairCollator(padding_of(common["processing_class"]), config.pad_to_multiple_of)
        return PairTrainer(args=config, **common)


class Kto:
    """Single rows that are to become likelier or less likely (Ethayarajh et al., 2024, arXiv 2402.01306)."""

    config = KTOConfig

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def rows(self) -> list[Row]:
        """Every example, in an order drawn by seed. Raises StageError for one without label, and for one kind alone."""
        labels = set()
        rows = []
        for number, example in enumerate(Records(Path(self.spec.examples), Example)):
            if example.good is None or example.pair:
                raise StageError(
                    f"{example.id}: has no label of its own; kto learns from labelled examples. "
                    "Set select.teach to {use: labels}."
                )
            labels.add(example.good)
            rows.append(checked(number, example, "kto"))
        if len(labels) == 1:
            raise StageError(
                f"train: all {len(rows)} examples are {'good' if labels.pop() else 'bad'}; kto learns from both kinds. "
                "Move select.teach.good, or loosen select.rules."
            )
        # TRL sets neighbours against each other, so it takes rows as they come: not a task at a time.
        return random.Random(self.spec.seed).sample(rows, len(rows))

    def options(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Nothing is cut; neighbours are compared, so the order is that of `rows`."""
        return {"train_sampling_strategy": "sequential", "max_length": None}

    def dataset(self, rows: Sequence[Row], place: Path) -> Any:
        """Ids, labels, and whether the row is liked."""
        kinds = {IDS: "int32", LABELS: "int32", LIKED: "bool"}
        examples = Records(Path(self.spec.examples), Example)
        return lay_out((columns_of(e) | {LIKED: e.good} for e in examples), rows, kinds, place)

    def trainer(self, config: KTOConfig, rows: Sequence[Row], common: dict[str, Any]) -> KTOTrainer:
        """TRL's trainer with our rows. Raises RecipeError for a batch of one row."""
        if config.per_device_train_batch_size < 2:
            raise RecipeError("train.trl.per_device_train_batch_size: is 1; kto compares with neighbours, at least 2.")
        limit = context_of(AutoConfig.from_pretrained(self.spec.model))
        padding = padding_of(common["processing_class"])
        common["data_collator"] = LabelledCollator(
            padding, limit, mismatched=config.loss_type == "kto", multiple=config.pad_to_multiple_of
        )
        return LabelledTrainer(args=config, **common)


def checked(number: int, example: Example, method: str) -> Row:
    """An example's row. Raises StageError for what TRL's preference losses cannot do."""
    if example.weights or example.shared:
        raise StageError(
            f"{example.id}: {'has weights' if example.weights else 'branches'}; {method} learns every token alike. "
            "Set select.teach to what train.method learns from."
        )
    return row_of(number, example)


def _both(sides: tuple[Example, Example]) -> dict[str, Any]:
    named = zip((CHOSEN, REJECTED), sides, strict=True)
    return {f"{side}{name}": value for side, example in named for name, value in columns_of(example).items()}


class PairCollator:
    """Pairs -> the batch that TRL's DPO reads: first the better sides, then the worse ones."""

    def __init__(self, padding: int, multiple: int | None = None) -> None:
        self.padding = padding
        self.multiple = multiple

    def __call__(self, examples: Features) -> Batch:
        """`input_ids`, `attention_mask` and `completion_mask`, (2 x pairs, length); the last is 1 where learnt."""
        sides = [(e[f"{side}{IDS}"], e[f"{side}{LABELS}"]) for side in (CHOSEN, REJECTED) for e in examples]
        batch = padded(sides, self.padding, self.multiple)
        for name in ("ref_chosen_logps", "ref_rejected_logps"):
            if name in examples[0]:
                batch[name] = torch.tensor([example[name] for example in examples])
        return batch


class LabelledCollator:
    """Labelled rows -> the batch that TRL's KTO reads.

    Its reference point is estimated from prompts with answers of other rows: each row's text before the first learnt
    token is continued with what follows it in the row before, learnt alike. Such a row that is longer than `limit`
    tokens is cut there: it is only measured, never learnt.
    """

    def __init__(self, padding: int, limit: int | None, mismatched: bool, multiple: int | None = None) -> None:
        self.padding = padding
        self.limit = limit
        self.mismatched = mismatched
        self.multiple = multiple

    def __call__(self, examples: Features) -> Batch:
        """`input_ids`, `attention_mask`, `completion_mask`, the same again with `KL_` before it, and `label`."""
        rows = [(e[IDS], e[LABELS]) for e in examples]
        batch = padded(rows, self.padding, self.multiple)
        batch["label"] = torch.tensor([bool(e[LIKED]) for e in examples])
        if self.mismatched:
            crossed = [_cross(own, other, self.limit) for own, other in zip(rows, [rows[-1], *rows[:-1]], strict=True)]
            batch |= {f"KL_{name}": value for name, value in padded(crossed, self.padding, self.multiple).items()}
        for name in ("ref_logps", "ref_KL_logps"):
            if name in examples[0]:
                batch[name] = torch.tensor([example[name] for example in examples])
        return batch


Labelled = tuple[list[int], list[int]]
"""Ids, and labels of the same length."""


def _cross(own: Labelled, other: Labelled, limit: int | None) -> Labelled:
    prompt, answer = (next(p for p, label in enumerate(labels) if label != IGNORED) for _, labels in (own, other))
    return (own[0][:prompt] + other[0][answer:])[:limit], (own[1][:prompt] + other[1][answer:])[:limit]


def padded(rows: Sequence[Labelled], padding: int, multiple: int | None = None) -> Batch:
    """Rows of unequal length as tensors, (rows, longest), or the next `multiple` above the longest."""
    ids = [torch.tensor(ids) for ids, _ in rows]
    learnt = [(torch.tensor(labels) != IGNORED).long() for _, labels in rows]

    def side_by_side(columns: list[torch.Tensor], value: int) -> torch.Tensor:
        tensor: torch.Tensor = pad(columns, padding_value=value, padding_side="right", pad_to_multiple_of=multiple)
        return tensor

    return {
        "input_ids": side_by_side(ids, padding).long(),
        "attention_mask": side_by_side([torch.ones_like(row) for row in ids], 0).long(),
        "completion_mask": side_by_side(learnt, 0),
    }


class _Prepared(Ordered):
    """A trainer of TRL whose rows come as tokens."""

    own_columns: Sequence[str] = ()

    def _prepare_dataset(self, dataset: Any, *rest: Any, **options: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(self.own_columns)


class PairTrainer(InParts, _Prepared, DPOTrainer):  # type: ignore[misc]
    """TRL's DPO on pairs of exact tokens."""

    sides = 2

    length_columns = (f"{CHOSEN}{IDS}", f"{REJECTED}{IDS}")
    own_columns = (
        *(f"{side}{name}" for side in (CHOSEN, REJECTED) for name in (IDS, LABELS)),
        *("ref_chosen_logps", "ref_rejected_logps"),
    )

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """A mean over pairs: of a part of a batch, as much as the part is of it."""
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return super().compute_loss(model, inputs, False, num_items_in_batch) * self.share


class LabelledTrainer(_Prepared, KTOTrainer):  # type: ignore[misc]
    """TRL's KTO on rows of exact tokens."""

    own_columns = (IDS, LABELS, LIKED, "ref_logps", "ref_KL_logps")
