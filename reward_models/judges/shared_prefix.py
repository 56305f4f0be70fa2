"""Many short continuations of a few long texts, each long text read once: what the local judge runs on.

The keys and values of a prefix stand once, whatever the number of its branches; the queries of all branches of a
prefix attend to it in one product (Juravsky et al., Hydragen, arXiv 2402.05099). The model is any causal one of
transformers whose layers all attend; new tokens of all texts are laid end to end in one row, without padding.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "reward_models_shared_prefix"
Pair = tuple[Tensor, Tensor]
"""Keys and values."""


class Prefixes:
    """Reads texts, and holds the keys and values of each."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)
        self.layers: dict[int, list[Pair]] = {}
        """Of each layer one pair a text, (key-value heads, tokens, head size) each."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Each text by itself, causally. `query` is (heads, tokens, head size); so is what is returned."""
        ends = list(accumulate(self.lengths))
        spans = [slice(end - length, end) for end, length in zip(ends, self.lengths, strict=True)]
        self.layers[layer] = [(key[:, span].clone(), value[:, span].clone()) for span in spans]
        pieces = [
            scaled_dot_product_attention(
                query[None, :, span],
                key[None, :, span],
                value[None, :, span],
                is_causal=True,
                scale=scale,
                enable_gqa=True,
            )[0]
            for span in spans
        ]
        return torch.cat(pieces, dim=1)


class Branches:
    """Continues prefixes: branch `n` belongs to prefix `owners[n]`, and owners stand in order."""

    def __init__(self, prefixes: Prefixes, owners: Sequence[int], capacity: int) -> None:
        """`capacity` is the most tokens of one branch."""
        self.prefixes = prefixes
        self.owners = list(owners)
        self.capacity = capacity
        self.lengths = [0] * len(owners)
        """Tokens of each branch so far. To set one back forgets what came after."""
        self.layers: dict[int, Pair] = {}
        """Of each layer the branches' own pair, (branches, capacity, key-value heads, head size) each."""
        self._rows = self._places = torch.empty(0, dtype=torch.long)
        self._spans: list[tuple[int, slice]] = []

    def add(self, rows: Sequence[int], counts: Sequence[int], device: Any) -> Tensor:
        """Announce so many new tokens of each of some branches, in order; returns their positions."""
        starts = [self.lengths[row] for row in rows]
        places = [place for start, count in zip(starts, counts, strict=True) for place in range(start, start + count)]
        spread = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
        for row, count in zip(rows, counts, strict=True):
            self.lengths[row] += count
        owners = [self.owners[row] for row in spread]
        self._rows = torch.tensor(spread, device=device)
        self._places = torch.tensor(places, device=device)
        edges = [n for n in range(len(owners)) if n == 0 or owners[n] != owners[n - 1]]
        self._spans = [
            (owners[start], slice(start, end)) for start, end in zip(edges, [*edges[1:], len(owners)], strict=True)
        ]
        read = [self.prefixes.lengths[owner] for owner in owners]
        return self._places + torch.tensor(read, device=device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Each new token over its prefix and what its branch holds up to it. Shapes as in `Prefixes.attend`."""
        heads, new, size = query.shape
        shared = key.shape[0]
        own_keys, own_values = self._own(layer, key, value)
        grouped = query.transpose(0, 1).reshape(new, shared, heads // shared, size)
        own = torch.einsum("nkgd,nskd->nkgs", grouped, own_keys) * scale
        places = torch.arange(own.shape[-1], device=query.device)
        own = own.masked_fill((places > self._places[:, None])[:, None, None], float("-inf"))
        pieces = []
        for owner, span in self._spans:
            keys, values = self.prefixes.layers[layer][owner]
            # (heads that hold keys, new tokens x heads that share them, ...): one product for all of them
            asked = grouped[span].transpose(0, 1).reshape(shared, -1, size)
            scores = torch.matmul(asked, keys.transpose(1, 2)) * scale
            mine = own[span].transpose(0, 1).reshape(shared, -1, own.shape[-1])
            weights = torch.cat([scores, mine], dim=-1).softmax(-1, dtype=torch.float32).to(query.dtype)
            seen = torch.matmul(weights[..., : keys.shape[1]], values)
            branch = weights[..., keys.shape[1] :].reshape(shared, -1, heads // shared, own.shape[-1]).transpose(0, 1)
            told = torch.einsum("nkgs,nskd->nkgd", branch, own_values[span])
            pieces.append(seen.reshape(shared, -1, heads // shared, size).transpose(0, 1) + told)
        return torch.cat(pieces).reshape(new, heads, size).transpose(0, 1)

    def _own(self, layer: int, key: Tensor, value: Tensor) -> Pair:
        """The branch's keys and values for each new token, (new tokens, places in use, key-value heads, head size)."""
        if layer not in self.layers:
            shape = (len(self.owners), self.capacity, key.shape[0], key.shape[2])
            self.layers[layer] = (key.new_zeros(shape), value.new_zeros(shape))
        keys, values = self.layers[layer]
        keys[self._rows, self._places] = key.transpose(0, 1)
        values[self._rows, self._places] = value.transpose(0, 1)
        used = int(self._places.max()) + 1
        return keys[self._rows, :used], values[self._rows, :used]


class Reader:
    """A causal model that reads prefixes and branches."""

    def __init__(self, model: Any) -> None:
        """Raises ValueError when the model has layers that are no plain attention."""
        config = model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        if not kinds <= {"full_attention"}:
            raise ValueError(f"it has layers of kind {', '.join(sorted(kinds))}; expected full attention alone")
        model.set_attn_implementation(NAME)
        self.model = model
        self.device = model.device

    def prefixes(self, texts: Sequence[Sequence[int]]) -> Prefixes:
        """Read texts, as token ids."""
        prefixes = Prefixes([len(text) for text in texts])
        positions = [place for text in texts for place in range(len(text))]
        self._forward([token for text in texts for token in text], torch.tensor(positions), prefixes, [0])
        return prefixes

    def extend(self, branches: Branches, rows: Sequence[int], texts: Sequence[Sequence[int]]) -> Tensor:
        """Add tokens to some branches, in order; log-probabilities of what follows, (rows, vocabulary)."""
        positions = branches.add(rows, [len(text) for text in texts], self.device)
        last = [end - 1 for end in accumulate(len(text) for text in texts)]
        return self._forward([token for text in texts for token in text], positions, branches, last)

    def score(self, branches: Branches, rows: Sequence[int], texts: Sequence[Sequence[int]]) -> list[float]:
        """Log-probability of all but the first of each text's tokens, given those before it in one branch each.

        The branches stay as they were.
        """
        longer = [(row, text) for row, text in zip(rows, texts, strict=True) if len(text) > 1]
        found = [0.0 for _ in range(len(branches.owners))]
        if longer:
            before = list(branches.lengths)
            read = [token for _, text in longer for token in text[:-1]]
            positions = branches.add([row for row, _ in longer], [len(text) - 1 for _, text in longer], self.device)
            logs = self._forward(read, positions, branches, list(range(len(read))))
            branches.lengths = before
            wanted = torch.tensor([token for _, text in longer for token in text[1:]], device=self.device)
            each = logs.gather(1, wanted[:, None])[:, 0].tolist()
            owners = [row for row, text in longer for _ in text[1:]]
            for row, log in zip(owners, each, strict=True):
                found[row] += log
        return [found[row] for row in rows]

    def _forward(
        self, ids: Sequence[int], positions: Tensor, reading: Prefixes | Branches, keep: Sequence[int]
    ) -> Tensor:
        logits: Tensor = self.model(
            input_ids=torch.tensor(ids, device=self.device)[None],
            position_ids=positions.to(self.device)[None],
            use_cache=False,
            logits_to_keep=torch.tensor(keep, device=self.device),
            reading=reading,
        ).logits
        return log_softmax(logits[0].float(), dim=-1)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    reading: Prefixes | Branches,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """In the form of transformers' AttentionInterface: (1, heads, tokens, size) in, (1, tokens, heads, size) out."""
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise NotImplementedError("soft-capped logits and attention sinks are not built")
    scale = scaling if scaling is not None else float(query.shape[-1]) ** -0.5
    out = reading.attend(module.layer_idx, query[0], key[0], value[0], scale)
    return out.transpose(0, 1)[None], None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _no_mask)
