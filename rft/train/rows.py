"""The rows that are trained on: a round's `examples.jsonl`, checked, repeated to a token budget, laid out for TRL.

The tokens go from file to file, so that memory does not grow with the number of examples.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rft.errors import StageError
from rft.store import Records
from rft.types import Example

IGNORED = -100
"""The label of a token that is read and not learnt."""
IDS, LABELS, BRANCHES = "input_ids", "labels", "branches"
"""Columns. `branches` is of each token the number of its branch, 0 for what all branches read."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of an example without its tokens."""

    id: str
    number: int
    """Its place in the file, counted from 0."""
    length: int
    """Tokens."""
    learnt: int
    """Tokens that are learnt."""
    branching: bool = False


def read_rows(path: Path, learn: str = "replies") -> list[Row]:
    """Every example of a file, in file order; `learn` everything also learns what was only read.

    Raises StageError for an example that cannot be learnt from exactly.
    """
    return [_row(number, example, learn) for number, example in enumerate(Records(path, Example))]


def columns(path: Path, learn: str = "replies") -> Iterator[dict[str, Any]]:
    """Of each example its columns, int32 arrays of its length: labels equal the ids in its spans, else IGNORED."""
    for example in Records(path, Example):
        yield {
            IDS: np.asarray(example.ids, dtype=np.int32),
            LABELS: _labels(example, learn),
            BRANCHES: _branches(example),
        }


def dataset(examples: Path, rows: Sequence[Row], learn: str, place: Path) -> Any:
    """A `datasets.Dataset` of `rows`, which may repeat, over a file of all examples that is written to `place`.

    There are branches where a row has some.
    """
    from datasets import Dataset, Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    names = [IDS, LABELS, BRANCHES] if any(row.branching for row in rows) else [IDS, LABELS]
    place.parent.mkdir(parents=True, exist_ok=True)
    features = Features({name: List(Value("int32")) for name in names})
    with ArrowWriter(path=str(place), features=features, writer_batch_size=100) as writer:
        for row in columns(examples, learn):
            writer.write({name: row[name] for name in names})
        writer.finalize()
    return Dataset.from_file(str(place)).select([row.number for row in rows])


def _row(number: int, example: Example, learn: str) -> Row:
    length = len(example.ids)
    for start, end in example.spans:
        if not 0 < start < end <= length:
            raise StageError(
                f"{example.id}: claims to learn tokens {start} to {end} of {length}; expected a part that follows "
                "some context. Redo select with --redo."
            )
    learnt = int((_labels(example, learn) != IGNORED).sum())
    if not learnt:
        raise StageError(f"{example.id}: no token of it is learnt; expected at least one. Redo select with --redo.")
    if example.weight != 1.0:
        raise StageError(
            f"{example.id}: has weight {example.weight}; sft learns every token alike. Leave weights out of select."
        )
    if example.shared and not (example.shared < example.spans[0][0] and example.spans[-1][1] == length):
        raise StageError(
            f"{example.id}: branches after {example.shared} tokens, and its spans do not cover what follows; "
            "expected each branch to end with its span. Redo select with --redo."
        )
    return Row(id=example.id, number=number, length=length, learnt=learnt, branching=bool(example.shared))


def _labels(example: Example, learn: str) -> Any:
    ids = np.asarray(example.ids, dtype=np.int32)
    if learn == "everything":
        return np.concatenate([np.full(1, IGNORED, dtype=np.int32), ids[1:]])
    labels = np.full(len(ids), IGNORED, dtype=np.int32)
    for start, end in example.spans:
        labels[start:end] = ids[start:end]
    return labels


def _branches(example: Example) -> Any:
    branches = np.zeros(len(example.ids), dtype=np.int32)
    if example.shared:
        starts = [example.shared, *(end for _, end in example.spans[:-1])]
        for number, (start, (_, end)) in enumerate(zip(starts, example.spans, strict=True), 1):
            branches[start:end] = number
    return branches


def check_lengths(rows: Sequence[Row], limit: int, what: str) -> None:
    """Raises StageError when a row is longer than `limit` tokens: nothing is ever cut or left out in silence."""
    long = [row for row in rows if row.length > limit]
    if long:
        worst = max(long, key=lambda row: row.length)
        raise StageError(
            f"train: {len(long)} of {len(rows)} examples are longer than {what} of {limit} tokens (the longest, "
            f"{worst.id}, has {worst.length}); expected none. Drop them by name: add "
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
