"""The rows that are trained on: reads a round's `examples.jsonl`, checks it, and repeats it to a token budget."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rft.errors import StageError
from rft.store import Records
from rft.types import Example

IGNORED = -100
"""The label of a token that is read and not learnt."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One example as arrays, `labels` equal to `ids` inside its spans and IGNORED elsewhere."""

    id: str
    ids: Any
    labels: Any
    branches: Any
    """Of each token the number of its branch, 0 for what all branches read; all 0 in a row without branches."""
    learnt: int


def read_rows(path: Path, learn: str = "replies") -> list[Row]:
    """Every example of a file, in file order; `learn` everything also learns what was only read.

    Raises StageError for an example that cannot be learnt from exactly.
    """
    return [_row(example, learn) for example in Records(path, Example)]


def _row(example: Example, learn: str) -> Row:
    ids = np.asarray(example.ids, dtype=np.int32)
    labels = np.full(len(ids), IGNORED, dtype=np.int32)
    if learn == "everything":
        labels[1:] = ids[1:]
    for start, end in example.spans:
        if not 0 < start < end <= len(ids):
            raise StageError(
                f"{example.id}: claims to learn tokens {start} to {end} of {len(ids)}; expected a part that follows "
                "some context. Redo select with --redo."
            )
        labels[start:end] = ids[start:end]
    learnt = int((labels != IGNORED).sum())
    if not learnt:
        raise StageError(f"{example.id}: no token of it is learnt; expected at least one. Redo select with --redo.")
    if example.weight != 1.0:
        raise StageError(
            f"{example.id}: has weight {example.weight}; sft learns every token alike. Leave weights out of select."
        )
    return Row(id=example.id, ids=ids, labels=labels, branches=_branches(example), learnt=learnt)


def _branches(example: Example) -> Any:
    branches = np.zeros(len(example.ids), dtype=np.int32)
    if example.shared:
        if not example.shared < example.spans[0][0] or example.spans[-1][1] != len(example.ids):
            raise StageError(
                f"{example.id}: branches after {example.shared} tokens, and its spans do not cover what follows; "
                "expected each branch to end with its span. Redo select with --redo."
            )
        starts = [example.shared, *(end for _, end in example.spans[:-1])]
        for number, (start, (_, end)) in enumerate(zip(starts, example.spans, strict=True), 1):
            branches[start:end] = number
    return branches


def check_lengths(rows: Sequence[Row], limit: int, what: str) -> None:
    """Raises StageError when a row is longer than `limit` tokens: nothing is ever cut or left out in silence."""
    long = [row for row in rows if len(row.ids) > limit]
    if long:
        worst = max(long, key=lambda row: len(row.ids))
        raise StageError(
            f"train: {len(long)} of {len(rows)} examples are longer than {what} of {limit} tokens (the longest, "
            f"{worst.id}, has {len(worst.ids)}); expected none. Drop them by name: add "
            f"{{use: max_tokens, tokens: {limit}}} to select.rules."
        )


def to_budget(rows: Sequence[Row], tokens: int, seed: int) -> list[Row]:
    """`rows` in seeded order, over and over in a new order each time, until `tokens` learnt tokens are reached.

    The sum exceeds `tokens` by less than the last row's learnt tokens.
    """
    order = random.Random(seed)
    chosen: list[Row] = []
    learnt = 0
    while learnt < tokens:
        for row in order.sample(rows, len(rows)):
            if learnt >= tokens:
                break
            chosen.append(row)
            learnt += row.learnt
    return chosen
