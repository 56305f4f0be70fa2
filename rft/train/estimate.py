"""What training a round will take, before anything is trained: rows a step, memory for the longest row, disk."""

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from rft.errors import StoreError
from rft.recipe import Recipe, Train
from rft.rundir import Run
from rft.store import Records
from rft.train.options import batch, deepspeed_path, on_gpu, one_sided
from rft.types import Example

GIB = 2**30
WEIGHT, GRADIENT, OPTIMIZER = 4, 4, 8
"""Bytes of each parameter: weights and gradients in float32, AdamW's two moments."""
FEW_BITS = {"load_in_8bit": 1.0, "load_in_4bit": 0.5}
"""Bytes of a weight under `train.quantization`."""
ACTIVATION = 34
"""Bytes that a token leaves for the backward pass, for each layer and unit of width, in half precision with attention
that keeps no matrix of scores (Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models)."""
LOGIT = 8
"""Bytes of a token's logit and its gradient, for each word of the vocabulary; on a GPU they come a tile at a time."""
CHECKPOINTS_KEPT = 2
"""Of a training that is going on, with the optimizer's state."""
TRAJECTORY_BYTES = 60_000
"""Of an attempt that is still to be made, with its report."""


def rows(recipe: Recipe, attempts: int) -> list[tuple[str, str]]:
    """(what, how much) of training, for a recipe whose run makes `attempts` in all."""
    learning = _learning(recipe) if recipe.rounds else []
    return [*learning, ("disk", f"about {disk(recipe, attempts) / GIB:.2g} GiB for the whole run{left_out(recipe)}")]


def _learning(recipe: Recipe) -> list[tuple[str, str]]:
    found = [("select", remark)] if (remark := one_sided(recipe)) else []
    return [*found, ("training batch", _batch(recipe)), ("training memory", memory_told(recipe))]


def memory_told(recipe: Recipe) -> str:
    """What a process needs, in words, or why that is not known."""
    needed = memory(recipe)
    if needed is None:
        return unknown(recipe)
    length, basis = longest_row(recipe)
    return f"about {needed / GIB:.2g} GiB in each process for a row of {length:,} tokens ({basis})"


def unknown(recipe: Recipe) -> str:
    """Why nothing is known of the policy's size, in words."""
    if recipe.policy.create is not None:
        return "known once the policy is made"
    return f"known once the policy's weights are here: hf download {recipe.policy.model}"


def left_out(recipe: Recipe) -> str:
    """What an estimate of the disk lacks, in words."""
    return ", checkpoints not counted" if recipe.rounds and _parameters(recipe) is None else ""


def memory(recipe: Recipe) -> float | None:
    """Bytes that a training process holds at the longest row; None where the model is not at hand."""
    shape, parameters = _shape(recipe), _parameters(recipe)
    if shape is None or parameters is None:
        return None
    share = _shares(recipe)
    learnt = 0.01 if recipe.train.lora is not None else 1.0
    held = _weight_bytes(recipe.train) * share[0]
    fixed = parameters * (held + learnt * (GRADIENT * share[1] + OPTIMIZER * share[2]))
    width, layers = shape.get("hidden_size", 0), shape.get("num_hidden_layers", 0)
    length, _ = longest_row(recipe)
    checkpointed = recipe.train.trl.get("gradient_checkpointing", on_gpu(recipe.train))  # TRL's own default
    each = ACTIVATION * width * (1 + 2 * layers / ACTIVATION if checkpointed else layers)
    logits = 0 if on_gpu(recipe.train) else LOGIT * shape.get("vocab_size", 0)
    return float(fixed + length * (each + logits))


def _weight_bytes(train: Train) -> float:
    """Of each parameter: of the policy, and of the reference that dpo and kto hold beside it without an adapter."""
    given = train.quantization or {}
    policy = next((size for name, size in FEW_BITS.items() if given.get(name)), float(WEIGHT))
    ahead = train.lora is not None or train.trl.get("precompute_ref_log_probs")
    return policy + (WEIGHT if train.method in ("dpo", "kto") and not ahead else 0)


def longest_row(recipe: Recipe) -> tuple[int, str]:
    """Tokens of the longest row to be expected, and what that rests on."""
    path = Run(recipe).stage(1, "select").path / "examples.jsonl"
    with suppress(StoreError):
        longest = max((len(example.ids) for example in Records(path, Example)), default=0)
        if longest:
            return longest, "the longest of round 1"
    limit = recipe.train.trl.get("max_length")
    if limit:
        return int(limit), "train.trl.max_length"
    return int((_shape(recipe) or {}).get("max_position_embeddings", 0)), "the model's context"


def disk(recipe: Recipe, attempts: int) -> float:
    """Bytes of a whole run: a checkpoint each round, the state of the one that is being trained, the attempts."""
    parameters = _parameters(recipe) or 0
    trained = parameters * (0.01 if recipe.train.lora is not None else 1.0)
    training = CHECKPOINTS_KEPT * trained * (WEIGHT + OPTIMIZER)
    return recipe.rounds * parameters * WEIGHT + training + attempts * TRAJECTORY_BYTES


def _batch(recipe: Recipe) -> str:
    train = recipe.train
    rows_, steps = batch(train, gpu=on_gpu(train))
    what = "pairs" if train.method == "dpo" else "rows"
    together = rows_ * steps * train.workers
    return f"{rows_} {what} x {steps} steps x {train.workers} processes = {together} {what} an update"


def _shares(recipe: Recipe) -> list[float]:
    """How much of weights, gradients and optimizer a process holds on its device (ZeRO), what is offloaded left out."""
    train = recipe.train
    config = json.loads(deepspeed_path(train.deepspeed).read_bytes()) if train.deepspeed else {}
    zero = config.get("zero_optimization", {})
    share = [1 / train.workers if zero.get("stage", 0) >= least else 1.0 for least in (3, 2, 1)]
    for place, what in ((0, "offload_param"), (2, "offload_optimizer")):
        if on_gpu(train) and zero.get(what, {}).get("device", "none") != "none":
            share[place] = 0.0
    return share


def _shape(recipe: Recipe) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        config = json.loads((_folder(recipe) / "config.json").read_bytes())
        return config.get("text_config", config) if isinstance(config, dict) else None
    return None


def _parameters(recipe: Recipe) -> int | None:
    """From the headers of the weights' files, which say each tensor's shape."""
    files = sorted(_folder(recipe).glob("*.safetensors"))
    total = 0
    for path in files:
        with suppress(OSError, ValueError, struct.error), path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(size, 100 << 20)))
            total += sum(_count(one["shape"]) for name, one in header.items() if name != "__metadata__")
    return total or None


def _folder(recipe: Recipe) -> Path:
    """Of the policy's files: its directory, or the one where a download from the hub left them."""
    name = Run(recipe).starting_policy()
    if not Path(name).is_dir():
        from huggingface_hub import snapshot_download

        with suppress(OSError, ValueError):  # never downloaded, or no name of the hub's
            return Path(snapshot_download(name, local_files_only=True))
    return Path(name)


def _count(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
