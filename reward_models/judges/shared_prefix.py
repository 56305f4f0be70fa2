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
        self.layers: dict[int, Pair] = {}
        """Of each layer one pair, (texts, key-value heads, longest text, head size) each, zeros behind shorter ones."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Each text by itself, causally. `query` is (heads, tokens, head size); so is what is returned."""
        spans = [slice(end - length, end) for end, length in zip(accumulate(self.lengths), self.lengths, strict=True)]
        shape = (len(spans), key.shape[0], max(self.lengths), key.shape[2])
        self.layers[layer] = (key.new_zeros(shape), value.new_zeros(shape))
        for number, span in enumerate(spans):
            for kept, new in zip(self.layers[layer], (key, value), strict=True):
                kept[number, :, : self.lengths[number]] = new[:, span]
        pieces = []
        for span in spans:
            text = query[None, :, span], key[None, :, span], value[None, :, span]
            read = scaled_dot_product_attention(*text, None, 0.0, True, scale=scale, enable_gqa=True)  # causal
            pieces.append(read[0])
        return torch.cat(pieces, dim=1)


class Groups:
    """Tokens in a flat row that belong to groups, and the same tokens with each group's side by side."""

    def __init__(self, members: Sequence[int], device: Any) -> None:
        """`members` is the group of each token; the tokens of a group stand together."""
        self.names = list(dict.fromkeys(members))
        row = {name: number for number, name in enumerate(self.names)}
        sizes = [0] * len(self.names)
        rows, places = [], []
        for member in members:
            rows.append(row[member])
            places.append(sizes[row[member]])
            sizes[row[member]] += 1
        self.shape = (len(sizes), max(sizes))
        self.full = min(sizes) == max(sizes)
        self.at = (torch.tensor(rows, device=device), torch.tensor(places, device=device))

    def apart(self, flat: Tensor) -> Tensor:
        """(tokens, heads, sharing, size) -> (groups, heads, longest group x sharing, size), zeros in the gaps."""
        _, heads, sharing, size = flat.shape
        if self.full:
            spread = flat.reshape(*self.shape, heads, sharing, size)
        else:
            spread = flat.new_zeros(*self.shape, heads, sharing, size)
            spread[self.at] = flat
        return spread.transpose(1, 2).reshape(self.shape[0], heads, -1, size)

    def together(self, spread: Tensor) -> Tensor:
        """The way back."""
        groups, heads, _, size = spread.shape
        parts = spread.reshape(groups, heads, self.shape[1], -1, size).transpose(1, 2)
        return parts.reshape(-1, *parts.shape[2:]) if self.full else parts[self.at]


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
        """Of each layer the branches' own pair, (branches, key-value heads, capacity, head size) each."""

    def add(self, rows: Sequence[int], counts: Sequence[int], device: Any) -> Tensor:
        """Announce so many new tokens of each of some branches, in order; returns their positions."""
        starts = [self.lengths[row] for row in rows]
        places = [place for start, count in zip(starts, counts, strict=True) for place in range(start, start + count)]
        spread = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
        for row, count in zip(rows, counts, strict=True):
            self.lengths[row] += count
        owners = [self.owners[row] for row in spread]
        read = torch.tensor([self.prefixes.lengths[owner] for owner in owners], device=device)
        self._rows = torch.tensor(spread, device=device)
        self._places = torch.tensor(places, device=device)
        self._used = max(places) + 1
        self._by_branch, self._by_owner = Groups(spread, device), Groups(owners, device)
        before = torch.arange(max(self.prefixes.lengths), device=device) < read[:, None]
        own = torch.arange(self._used, device=device) <= self._places[:, None]
        self._hidden = ~torch.cat([before, own], dim=1)[:, None, None]
        return self._places + read

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Each new token over its prefix and what its branch holds up to it. Shapes as in `Prefixes.attend`."""
        heads, new, size = query.shape
        shared = key.shape[0]
        flat = (query.transpose(0, 1) * scale).reshape(new, shared, heads // shared, size)
        own_keys, own_values = self._own(layer, key, value)
        keys, values = (self._of_owners(part) for part in self.prefixes.layers[layer])
        scores = torch.cat(
            [
                self._by_owner.together(self._by_owner.apart(flat) @ keys.transpose(2, 3)),
                self._by_branch.together(self._by_branch.apart(flat) @ own_keys.transpose(2, 3)),
            ],
            dim=-1,
        )
        weights = scores.masked_fill_(self._hidden, float("-inf")).softmax(-1, dtype=torch.float32).to(query.dtype)
        read, written = weights.split([keys.shape[2], self._used], dim=-1)
        seen = self._by_owner.together(self._by_owner.apart(read) @ values)
        seen = seen + self._by_branch.together(self._by_branch.apart(written) @ own_values)
        return seen.reshape(new, heads, size).transpose(0, 1)

    def _of_owners(self, part: Tensor) -> Tensor:
        names = self._by_owner.names
        return part if len(names) == len(part) else part[names]

    def _own(self, layer: int, key: Tensor, value: Tensor) -> Pair:
        """The keys and values of the branches at work, (branches, key-value heads, places in use, head size) each."""
        if layer not in self.layers:
            shape = (len(self.owners), key.shape[0], self.capacity, key.shape[2])
            self.layers[layer] = (key.new_zeros(shape), value.new_zeros(shape))
        keys, values = self.layers[layer]
        keys[self._rows, :, self._places] = key.transpose(0, 1)
        values[self._rows, :, self._places] = value.transpose(0, 1)
        names = self._by_branch.names
        if len(names) < len(self.owners):
            keys, values = keys[names], values[names]
        return keys[:, :, : self._used], values[:, :, : self._used]


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
