"""Tokens from logits, each drawn by a number that follows from the conversation's seed and the token's count alone."""

import hashlib

import torch
from torch import Tensor


def uniform(seed: int, count: int) -> float:
    """A number in [0, 1) for the `count`-th token of the conversation with this seed; 53 random bits of a hash."""
    digest = hashlib.blake2b(b"%d/%d" % (seed, count), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2.0**53


def draw(logits: Tensor, uniforms: list[float], temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """Token ids and their log-probabilities, one for each row of `logits` (rows, vocabulary).

    The log-probability is that under the distribution drawn from, temperature and nucleus included; a greedy token
    (temperature 0) has the model's own.
    """
    logprobs = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    if temperature == 0:
        best, ids = logprobs.max(dim=-1)
        return ids, best
    if top_p < 1:
        ranked, order = logprobs.sort(dim=-1, descending=True)
        before = ranked.exp().cumsum(-1) - ranked.exp()
        ranked = torch.log_softmax(ranked.masked_fill(before >= top_p, float("-inf")), dim=-1)
        logprobs = torch.empty_like(ranked).scatter_(-1, order, ranked)
    heights = logprobs.double().exp().cumsum(-1)
    points = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)[:, None] * heights[:, -1:]
    ids = torch.searchsorted(heights, points, right=True).clamp_(max=logits.shape[-1] - 1)
    return ids[:, 0], logprobs.gather(-1, ids)[:, 0]
