"""The rows that are trained on: a round's `examples.jsonl`, checked, repeated to a token budget, laid out for TRL.

The tokens go from file to file, so that memory does not grow with the number of examples.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rft.errors import StageError
from rft.store import Records
from rft.types import Example

IGNORED = -100
"""The label of a token that is read and not learnt."""
IDS, LABELS, BRANCHES, WEIGHTS, LOGPROBS = "input_ids", "labels", "branches", "weights", "logprobs"
"""Columns, a number for each token. `branches` is the number of its branch, 0 for what all branches read; `weights` how
much it counts; `logprobs` its log-probability when it was drawn."""
CHOSEN, REJECTED, LIKED = "chosen_", "rejected_", "liked"
"""What the columns of a pair's sides begin with; and whether a row of labelled ones is to become likelier."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of an example, or of a pair of them, without its tokens."""

    id: str
    number: int
    """Its place in the file, counted from 0."""
    length: int
    """Tokens; of a pair's longer side."""
    learnt: int
    """Tokens that are learnt."""
    tokens: int
    """Tokens that are read; of both sides of a pair."""
    branching: bool = False
    weighted: bool = False


def read_rows(path: Path, learn: str = "replies") -> list[Row]:
    """Every example of a file, in file order; `learn` everything also learns what was only read.

    Raises StageError for an example that cannot be learnt from exactly.
    """
    return [row_of(number, example, learn) for number, example in enumerate(Records(path, Example))]


def columns(path: Path, learn: str = "replies") -> Iterator[dict[str, Any]]:
    """Of each example its columns, arrays of its length: labels equal the ids in its spans, else IGNORED."""
    for example in Records(path, Example):
        yield columns_of(example, learn)


def pairs_of(path: Path) -> Iterator[tuple[Example, Example]]:
    """The pairs of a file, better side first. Raises StageError where two that follow each other are no pair."""
    sides = iter(Records(path, Example))
    for better in sides:
        worse = next(sides, None)
        if worse is None or not better.pair or better.pair != worse.pair or not better.good or worse.good is not False:
            raise StageError(
                f"{better.id}: is not followed by the worse side of its pair; dpo learns from pairs, better side "
                "first. Set select.teach to {use: pairs} or {use: step_pairs}."
            )
        yield better, worse


def lay_out(rows: Iterable[dict[str, Any]], chosen: Sequence[Row], kinds: dict[str, str], place: Path) -> Any:
    """A `datasets.Dataset` of `chosen`, which may repeat, over a file of all `rows` that is written to `place` once.

    `kinds` names the columns that are taken, with the type of each, or of a list's items.
    """
    from datasets import Dataset, Features, List, Value
    from datasets.arrow_writer import ArrowWriter

    place.parent.mkdir(parents=True, exist_ok=True)
    features = Features({name: Value(kind) if kind == "bool" else List(Value(kind)) for name, kind in kinds.items()})
    if not place.exists():
        part = place.with_suffix(".part")
        with ArrowWriter(path=str(part), features=features, writer_batch_size=100) as writer:
            for row in rows:
                writer.write({name: row[name] for name in kinds})
            writer.finalize()
        part.rename(place)
    return Dataset.from_file(str(place)).select([row.number for row in chosen])


def row_of(number: int, example: Example, learn: str = "replies") -> Row:
    """An example's row. Raises StageError when it cannot be learnt from exactly."""
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
    _check_weights(example)
    if example.shared and not (example.shared < example.spans[0][0] and example.spans[-1][1] == length):
        raise StageError(
            f"{example.id}: branches after {example.shared} tokens, and its spans do not cover what follows; "
            "expected each branch to end with its span. Redo select with --redo."
        )
    return Row(
        id=example.id,
        number=number,
        length=length,
        learnt=learnt,
        tokens=length,
        branching=bool(example.shared),
        weighted=bool(example.weights),
    )


def _check_weights(example: Example) -> None:
    if not example.weights:
        return
    if len(example.weights) != len(example.spans):
        raise StageError(
            f"{example.id}: has weights {example.weights[:4]} for {len(example.spans)} spans; expected a number for "
            "each. Redo select with --redo."
        )
    if example.shared:
        raise StageError(
            f"{example.id}: branches, and has weights; expected one of the two. Leave weights out of select."
        )
    if not any(example.weights):
        raise StageError(f"{example.id}: every weight of it is 0, so nothing is learnt. Redo select with --redo.")


def columns_of(example: Example, learn: str = "replies") -> dict[str, Any]:
    """An example's columns."""
    return {
        IDS: np.asarray(example.ids, dtype=np.int32),
        LABELS: _labels(example, learn),
        BRANCHES: _branches(example),
        WEIGHTS: _weights(example),
        LOGPROBS: _logprobs(example),
    }


def _weights(example: Example) -> Any:
    found = np.ones(len(example.ids), dtype=np.float32)
    for (start, end), weight in zip(example.spans, example.weights, strict=False):
        found[start:end] = weight
    return found


def _logprobs(example: Example) -> Any:
    """Those of the learnt tokens at their places, 0 elsewhere."""
    found = np.zeros(len(example.ids), dtype=np.float32)
    if example.logprobs:
        found[np.concatenate([np.arange(start, end) for start, end in example.spans])] = example.logprobs
    return found


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


def context_of(config: Any) -> int | None:
    """The most tokens that a model reads; None where its configuration does not tell.

    Of one whose positions are stretched (YaRN: Peng et al., 2023, arXiv 2309.00071) it may tell the length before that.
    """
    text = config.get_text_config()
    told: int | None = getattr(text, "max_position_embeddings", None)
    stretch = getattr(text, "rope_parameters", None) or {}
    before, factor = stretch.get("original_max_position_embeddings"), stretch.get("factor")
    return max(told, int(before * factor)) if told and before and factor else told


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
