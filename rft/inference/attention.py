"""Keys and values of many sequences in one block, and the attention that any transformers model runs over it.

The model is called on the new tokens of all sequences at once, laid end to end in one row without padding.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

Layers = list[tuple[Tensor, Tensor]]
"""Keys and values of one sequence, each (tokens, key-value heads, head size), one pair a layer."""

NAME = "rft_block"


class Block:
    """Keys and values of the sequences at work: per layer two tensors (rows, tokens, key-value heads, head size)."""

    def __init__(self, layers: int, max_rows: int, max_tokens: int) -> None:
        self.max_rows = max_rows
        self.max_tokens = max_tokens
        self.rows = min(4, max_rows)
        self.tokens = min(512, max_tokens)
        self.layers: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def reserve(self, rows: int, tokens: int) -> None:
        """Make room for so many rows and tokens a row; doubling keeps the copies rare."""
        if rows <= self.rows and tokens <= self.tokens:
            return
        while self.rows < rows:
            self.rows = min(2 * self.rows, self.max_rows)
        while self.tokens < tokens:
            self.tokens = min(2 * self.tokens, self.max_tokens)
        for index, pair in enumerate(self.layers):
            if pair is not None:
                self.layers[index] = (self._grown(pair[0]), self._grown(pair[1]))

    def _grown(self, old: Tensor) -> Tensor:
        new = old.new_zeros(self.rows, self.tokens, *old.shape[2:])
        new[: old.shape[0], : old.shape[1]] = old
        return new

    def layer(self, index: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The tensors of a layer, made at its first use; `like` is (1, key-value heads, new tokens, head size)."""
        pair = self.layers[index]
        if pair is None:
            # Zeros: a masked position must not be NaN, which softmax weight 0 does not silence.
            shape = (self.rows, self.tokens, like.shape[1], like.shape[3])
            pair = (like.new_zeros(shape), like.new_zeros(shape))
            self.layers[index] = pair
        return pair

    def take(self, row: int, tokens: int) -> Layers:
        """A copy of a row's first tokens."""
        return [(k[row, :tokens].clone(), v[row, :tokens].clone()) for k, v in filter(None, self.layers)]

    def put(self, row: int, kept: Layers, tokens: int) -> None:
        """Copy the first tokens of what `take` gave into a row."""
        for pair, (keys, values) in zip(self.layers, kept, strict=True):
            assert pair is not None
            pair[0][row, :tokens] = keys[:tokens]
            pair[1][row, :tokens] = values[:tokens]

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy a row's first tokens into another row."""
        for keys, values in filter(None, self.layers):
            keys[target, :tokens] = keys[source, :tokens]
            values[target, :tokens] = values[source, :tokens]


@dataclass(kw_only=True)
class Reading:
    """Where the new tokens of one call of the model belong; given to the model as `reading=`."""

    block: Block
    rows: Tensor
    """Row of each new token."""
    positions: Tensor
    """Place of each new token in its sequence, counted from 0."""
    spans: list[tuple[int, int, int]]
    """`(row, start, length)` of each sequence's new tokens."""
    decoding: bool
    """Whether the new tokens are one for each of the first rows; those are attended to in one go."""
    masks: dict[Any, Tensor] = field(default_factory=dict)
    """Additive masks by span and window, shared by the layers."""

    def mask(self, key: Any, queries: Tensor, tokens: int, window: int | None, like: Tensor) -> Tensor:
        """0 where a query at a position may look, minus infinity elsewhere: (queries, tokens)."""
        known = self.masks.get((key, window))
        if known is None:
            places = torch.arange(tokens, device=like.device)
            hidden = places > queries[:, None]
            if window is not None:
                hidden |= places <= queries[:, None] - window
            known = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, float("-inf"))
            self.masks[(key, window)] = known
        return known


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    reading: Reading,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of the new tokens over their own sequences, in the form of transformers' AttentionInterface.

    `query` is (1, heads, new tokens, head size), `key` and `value` have the key-value heads; returns (1, new tokens,
    heads, head size). The heads that share keys are laid out as further queries, so keys are never repeated.
    """
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise NotImplementedError("soft-capped logits and attention sinks are not built")
    keys, values = reading.block.layer(module.layer_idx, key)
    keys[reading.rows, reading.positions] = key[0].transpose(0, 1)
    values[reading.rows, reading.positions] = value[0].transpose(0, 1)
    keys, values = keys.transpose(1, 2), values.transpose(1, 2)
    shared = key.shape[1]
    _, heads, new, size = query.shape
    if reading.decoding:
        tokens = max(start for _, start, _ in reading.spans) + 1
        mask = reading.mask("all", reading.positions, tokens, sliding_window, query)
        grouped = query[0].transpose(0, 1).reshape(new, shared, heads // shared, size)
        out = scaled_dot_product_attention(
            grouped, keys[:new, :, :tokens], values[:new, :, :tokens], attn_mask=mask[:, None, None], scale=scaling
        )
        return out.reshape(1, new, heads, size), None
    pieces, at = [], 0
    for row, start, length in reading.spans:
        tokens = start + length
        mask = reading.mask(row, reading.positions[at : at + length], tokens, sliding_window, query)
        grouped = query[0, :, at : at + length].reshape(shared, heads // shared, length, size)
        out = scaled_dot_product_attention(
            grouped,
            keys[row, :, None, :tokens].expand(-1, heads // shared, -1, -1),
            values[row, :, None, :tokens].expand(-1, heads // shared, -1, -1),
            attn_mask=mask,
            scale=scaling,
        )
        pieces.append(out.reshape(heads, length, size).transpose(0, 1))
        at += length
    return torch.cat(pieces)[None], None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _no_mask)
