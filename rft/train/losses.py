"""What training makes small, as plain functions of the log-probabilities of the learnt tokens."""

from typing import Any

import torch

from rft.train.rows import IGNORED


def learnt_logprobs(
    model: Any, head: torch.nn.Module, inputs: dict[str, Any], temperature: float = 1.0
) -> torch.Tensor:
    """Natural-log probability of each learnt token, one after another, row by row; softmax is taken in float32.

    `inputs` holds `input_ids` and `labels`, (batch, length) each, and what else `model` reads. `head`, the model's
    output layer, only sees the places that predict a learnt token: its cost follows what is learnt, not what is read.
    """
    labels = inputs["labels"][:, 1:]
    learnt = labels != IGNORED
    read = {key: value for key, value in inputs.items() if key != "labels"}
    hook = head.register_forward_pre_hook(lambda _, hidden: (hidden[0][:, :-1][learnt],))
    try:
        # A cache would let packed rows see each other.
        logits = model(**read, use_cache=False).logits
    finally:
        hook.remove()
    return -torch.nn.functional.cross_entropy(logits.float() / temperature, labels[learnt], reduction="none")


def fused_logprobs(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The same, by the head that TRL adds to a model (`add_fused_lm_head`): logits are made a tile at a time.

    Those of 8,000 learnt tokens and 150,000 words take 5 GB in float32, and a loss holds them several times.
    """
    learnt = inputs["labels"][:, 1:] != IGNORED
    found: torch.Tensor = model(**inputs, use_cache=False, fused_lm_head=True).log_probs
    return found[:, -learnt.shape[1] :][learnt]


def of_learnt(column: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The values of a (batch, length) column that belong to the learnt tokens, in the order of `learnt_logprobs`."""
    return column[:, 1:][labels[:, 1:] != IGNORED]


def imitation(logprobs: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Of each token its cross-entropy in nats, times its weight."""
    return -logprobs if weights is None else -logprobs * weights


def clipped_gradient(
    logprobs: torch.Tensor, drawn: torch.Tensor, advantages: torch.Tensor, low: float, high: float
) -> torch.Tensor:
    """Of each token the clipped surrogate of PPO (Schulman et al., 2017, arXiv 1707.06347), negative: to be made small.

    `drawn` are the log-probabilities under which the tokens were drawn, so that the ratio corrects for every update
    since and for what the engine computes otherwise. The two bounds may differ (Yu et al., 2025, arXiv 2503.14476).
    """
    ratio = (logprobs - drawn).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - low, 1 + high) * advantages)
