"""What the recipe's `train` section means to TRL, peft and DeepSpeed: their own options, checked by name."""

import dataclasses
import inspect
import json
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from rft.errors import RecipeError, did_you_mean
from rft.plugins import first_line
from rft.recipe import Recipe, Train, shipped_content

OURS = {
    "output_dir": "the run's folder decides it",
    "deepspeed": "set train.deepspeed",
    "resume_from_checkpoint": "the same command resumes by itself",
    "dataset_kwargs": "examples come with their exact tokens",
    "assistant_only_loss": "examples say exactly what is learnt",
    "completion_only_loss": "examples say exactly what is learnt",
    "chat_template_path": "the tokens are the policy's own",
    "eos_token": "the tokens are the policy's own",
    "dataloader_drop_last": "it leaves out examples",
    "truncation_mode": "examples are never cut",
    "seed": "set seed",
    "data_seed": "set seed",
    "logging_strategy": "every update is logged",
    "logging_steps": "every update is logged",
    "logging_nan_inf_filter": "every update is logged",
    "ignore_data_skip": "an interrupted training goes on to the same weights",
    "save_only_model": "an interrupted training goes on to the same weights",
    "auto_find_batch_size": "the recipe says what an update learns from; set train.batch_tokens",
    "eval_strategy": "held-out tasks measure the policy; see evaluate",
    "load_best_model_at_end": "held-out tasks measure the policy; see evaluate",
}
"""Options of TRL that would break exactness or the run's order, and why they are not the recipe's to set."""
_NEIGHBOURS, _ROUND = "kto compares neighbours", "the reference is the policy that the round starts from"
_OWN_LOSS = "grpo has its own loss, of unpacked rows"
OURS_IN: dict[str, dict[str, str]] = {
    "sft": {},
    "dpo": {"padding_free": "TRL's dpo pads", "sync_ref_model": _ROUND},
    "kto": {"train_sampling_strategy": _NEIGHBOURS, "precompute_ref_batch_size": _NEIGHBOURS, "sync_ref_model": _ROUND},
    "grpo": dict.fromkeys(
        ("loss_type", "label_smoothing_factor", "packing", "padding_free", "router_aux_loss_coef"), _OWN_LOSS
    ),
}
"""`train.method` to the options that are not the recipe's to set with it."""
CONFIGS = {"sft": "SFTConfig", "dpo": "DPOConfig", "kto": "KTOConfig", "grpo": "SFTConfig"}
"""`train.method` to TRL's config class."""
TAUGHT = {"sft": {"imitate"}, "dpo": {"pairs", "step_pairs"}, "kto": {"labels"}, "grpo": {"advantages"}}
"""`train.method` to the shipped names of `select.teach` that it learns from."""

ONE_SIDED = {"resolved", "min_score", "best_of_group", "top_fraction"}
"""Shipped rules that leave the better attempts alone."""

BATCH_KEYS = {"per_device_train_batch_size", "gradient_accumulation_steps"}
DEEPSPEED_BATCH = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size")
"""DeepSpeed's names of the rows that a process reads at once, of how often before an update, and of all of them."""
OF_A_BATCH = {"aot", "aot_unpaired", "sft"}
"""Losses of DPOConfig that are no mean over pairs."""
GATHERS = "stage3_gather_16bit_weights_on_model_save"
"""DeepSpeed's option without which ZeRO-3 saves no weights that another program reads."""


class Batching(Protocol):
    """What says how many rows are read: a recipe's `train`, or a training's spec."""

    @property
    def method(self) -> str: ...
    @property
    def trl(self) -> dict[str, Any]: ...
    @property
    def workers(self) -> int: ...
    @property
    def update(self) -> int | None: ...


def batch(train: Batching, *, gpu: bool) -> tuple[int, int]:
    """Rows (of dpo pairs) that a process reads at once, and how often it does before an update.

    Raises RecipeError where `update` rows cannot be shared out evenly.
    """
    trl = train.trl
    rows, steps = 8, 1
    if train.method == "kto" and not trl.keys() & BATCH_KEYS:
        rows, steps = 4, 2  # neighbours are compared
    elif gpu and not trl.keys() & {"packing", "padding_free", "per_device_train_batch_size"}:
        rows, steps = 1, 8  # attempts are long: eight of them at once is what fills a GPU's memory
    given = trl.get("per_device_train_batch_size")
    if train.update is None:
        return rows if given is None else given, trl.get("gradient_accumulation_steps", steps)
    return _shared_out(train, train.update, given, rows)


def _shared_out(train: Batching, update: int, given: int | None, most: int) -> tuple[int, int]:
    """An update's rows over the workers: as many at once as is given, or as divides them, up to `most`."""
    if "gradient_accumulation_steps" in train.trl:
        raise RecipeError("train.trl.gradient_accumulation_steps: follows from train.update. Leave one of the two out.")
    each, left = divmod(update, train.workers)
    least = given or (2 if train.method == "kto" else 1)
    if left or each < 1 or each % least:
        at_once = f" that read {least} at once" if least > 1 else ""
        raise RecipeError(
            f"train.update: {update} rows cannot be shared by {train.workers} workers{at_once}; "
            f"expected a multiple of {train.workers * least}."
        )
    rows = given or next(size for size in range(most, 0, -1) if each % size == 0)
    return rows, each // rows


def check_deepspeed(recipe: Recipe, *, gpu: bool) -> None:
    """Raises RecipeError where a DeepSpeed configuration names other batches than the recipe, or saves no weights."""
    train = recipe.train
    if train.deepspeed is None:
        return
    given = json.loads(deepspeed_path(train.deepspeed).read_bytes())
    zero = given.get("zero_optimization", {})
    if zero.get("stage") == 3 and not zero.get(GATHERS):
        raise RecipeError(
            f"train.deepspeed: {train.deepspeed} splits the weights among processes (ZeRO-3) and does not gather them "
            f'to be saved; expected "{GATHERS}": true in zero_optimization. Add it.'
        )
    rows, steps = batch(train, gpu=gpu)
    for key, ours in zip(DEEPSPEED_BATCH, (rows, steps, rows * steps * train.workers), strict=True):
        if given.get(key, "auto") not in ("auto", ours):
            raise RecipeError(
                f"train.deepspeed: {key} is {given[key]}, and the recipe makes it {ours} ({rows} rows x {steps} steps "
                f'x {train.workers} processes). Write "auto" there, or change train.trl or train.workers.'
            )


def has_gpu() -> bool:
    """Whether this machine shows a GPU; asks the driver's files, since importing torch takes seconds."""
    return Path("/dev/nvidia0").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1")


def on_gpu(train: Train) -> bool:
    """Whether training will find a GPU: workers on a cluster do when they ask for one, whatever this machine has."""
    return has_gpu() if train.ray is None else bool(train.ray.get("use_gpu"))


def check(recipe: Recipe) -> None:
    """Raises RecipeError for an option of `train` that its library does not know. Imports TRL, and peft for `lora`."""
    check_method(recipe)
    check_trl(recipe.train.trl, budget=recipe.train.tokens, method=recipe.train.method)
    if recipe.train.lora is not None:
        check_lora(recipe.train.lora)
    if recipe.train.quantization is not None:
        check_quantization(recipe.train.quantization, lora=recipe.train.lora is not None)
    if recipe.train.batch_tokens is not None:
        check_parts(recipe.train)
    if recipe.train.ray is not None:
        check_ray(recipe.train.ray)
    batch(recipe.train, gpu=on_gpu(recipe.train))
    check_deepspeed(recipe, gpu=on_gpu(recipe.train))
    if recipe.train.tokens is not None and recipe.train.tokens < 1:
        raise RecipeError(f"train.tokens: is {recipe.train.tokens}; expected at least 1, or leave it out.")


def check_method(recipe: Recipe) -> None:
    """Raises RecipeError where what is taught, or how it was drawn, is nothing that the method learns from."""
    method, teach, sampling = recipe.train.method, recipe.select.teach.get("use"), recipe.policy.sampling
    shipped = set().union(*TAUGHT.values())
    if teach in shipped and teach not in TAUGHT[method]:
        expected = " or ".join(f"{{use: {name}}}" for name in sorted(TAUGHT[method]))
        raise RecipeError(f"train.method: {method} learns nothing from select.teach '{teach}'; expected {expected}.")
    if method != "sft" and recipe.train.learn != "replies":
        raise RecipeError(f"train.learn: is {recipe.train.learn}; {method} learns replies alone. Leave it out.")
    if method != "sft" and recipe.policy.judging is not None:
        raise RecipeError(f"train.method: is {method}; a policy that judges learns by sft. Leave it out.")
    if recipe.train.learn == "everything" or recipe.policy.judging is not None:
        _check_alike(recipe)
    if method == "grpo" and (sampling.top_p < 1 or sampling.temperature <= 0):
        raise RecipeError(
            f"policy.sampling: temperature {sampling.temperature:g}, top_p {sampling.top_p:g}; grpo needs the whole "
            "distribution that was drawn from: a temperature above 0 and top_p 1."
        )


def _check_alike(recipe: Recipe) -> None:
    """Raises RecipeError for steps set apart where there are no steps, or where all is learnt whoever wrote it."""
    why = "train.learn is everything" if recipe.policy.judging is None else "a policy that judges learns verdicts"
    if recipe.select.mask_steps:
        raise RecipeError(f"select.mask_steps: masks nothing, since {why}. Leave it out.")
    weights = recipe.select.teach.keys() & {"weight", "step_weights"}
    if recipe.select.teach.get("use") == "imitate" and weights:
        raise RecipeError(f"select.teach.{min(weights)}: weighs nothing, since {why}. Leave it out.")


def one_sided(recipe: Recipe) -> str:
    """Which rules leave a method that learns from worse attempts as well without them, in words."""
    rules = [str(rule.get("use")) for rule in recipe.select.rules if rule.get("use") in ONE_SIDED]
    if recipe.train.method == "sft" or not rules:
        return ""
    return f"select.rules keep the better attempts alone ({', '.join(rules)}); {recipe.train.method} learns from both"


def check_trl(given: dict[str, Any], *, budget: int | None, method: str = "sft") -> None:
    """Raises RecipeError for options that TRL's config class does not know, or that are not the recipe's to set."""
    if not given:
        return  # importing TRL takes seconds
    import trl

    config = getattr(trl, CONFIGS[method])
    _check_names(
        given, (field.name for field in dataclasses.fields(config) if field.init), "train.trl", CONFIGS[method]
    )
    for key, why in (OURS | OURS_IN[method]).items():
        if key in given:
            raise RecipeError(f"train.trl.{key}: cannot be set, {why}. Leave it out.")
    if given.get("packing") and given.get("packing_strategy", "bfd") != "bfd":
        raise RecipeError(
            f"train.trl.packing_strategy: '{given['packing_strategy']}' cuts examples in pieces; expected bfd."
        )
    if "revision" in (given.get("model_init_kwargs") or ()):
        raise RecipeError(
            "train.trl.model_init_kwargs.revision: cannot be set, engines, references and adapters would be those of "
            "another. Download the revision and set policy.model to its folder."
        )
    epochs = given.get("num_train_epochs", 1)
    if isinstance(epochs, int | float) and epochs <= 0 and "max_steps" not in given:
        raise RecipeError(
            f"train.trl.num_train_epochs: is {epochs}; expected more than 0, since nothing is learnt else."
        )
    if budget is not None and (clash := given.keys() & {"num_train_epochs", "max_steps"}):
        raise RecipeError(f"train.trl.{min(clash)}: train.tokens decides how long to train. Leave one of the two out.")


def check_lora(given: dict[str, Any]) -> None:
    """Raises RecipeError for options that peft.LoraConfig does not know or refuses."""
    from peft import LoraConfig

    _check_names(given, (field.name for field in dataclasses.fields(LoraConfig) if field.init), "train.lora", "peft")
    try:
        LoraConfig(**given)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"train.lora: {first_line(error)}.") from None


def check_quantization(given: dict[str, Any], *, lora: bool) -> None:
    """Raises RecipeError for options that transformers does not know, without an adapter, or without bitsandbytes."""
    from transformers import BitsAndBytesConfig

    if not lora:
        raise RecipeError("train.quantization: only an adapter learns on weights in few bits. Set train.lora.")
    known = [name for name in inspect.signature(BitsAndBytesConfig).parameters if name != "kwargs"]
    _check_names(given, known, "train.quantization", "BitsAndBytesConfig")
    if find_spec("bitsandbytes") is None:
        raise RecipeError("train.quantization: bitsandbytes is not installed. Run `pip install 'rft[qlora]'`.")


def check_parts(train: Train) -> None:
    """Raises RecipeError where batches cannot be read in parts."""
    if train.batch_tokens is not None and train.batch_tokens < 1:
        raise RecipeError(f"train.batch_tokens: is {train.batch_tokens}; expected at least 1, or leave it out.")
    if train.method == "kto":
        raise RecipeError(
            "train.batch_tokens: kto compares the rows of a batch. Set train.trl.per_device_train_batch_size."
        )
    asked = train.trl.get("loss_type", [])
    together = sorted(OF_A_BATCH.intersection([asked] if isinstance(asked, str) else asked))
    if train.method == "dpo" and together:
        raise RecipeError(f"train.batch_tokens: {together[0]} compares the pairs of a batch. Leave one of the two out.")
    if train.trl.get("packing") or train.trl.get("padding_free"):
        raise RecipeError("train.batch_tokens: packed rows have one length, train.trl.max_length. Leave one out.")


def check_ray(given: dict[str, Any]) -> None:
    """Raises RecipeError for options that ray.train.ScalingConfig does not know or refuses."""
    from ray.train import ScalingConfig

    known = (field.name for field in dataclasses.fields(ScalingConfig) if field.name != "num_workers")
    _check_names(given, known, "train.ray", "ray.train.ScalingConfig, beside train.workers,")
    try:
        ScalingConfig(**given)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"train.ray: {first_line(error)}.") from None


def deepspeed_path(name: str) -> Path:
    """The DeepSpeed configuration of a name in launch/deepspeed, or at a path. Raises RecipeError."""
    shipped = shipped_content("launch") / "deepspeed"
    path = shipped / f"{name}.json" if (shipped / f"{name}.json").is_file() else Path(name)
    known = sorted(p.stem for p in shipped.glob("*.json"))
    try:
        if isinstance(json.loads(path.read_bytes()), dict):
            return path.resolve()
    except OSError:
        raise RecipeError(
            f"train.deepspeed: no configuration '{name}'; expected one of {', '.join(known)}, or a path."
            f"{did_you_mean(name, known)}"
        ) from None
    except ValueError as error:
        raise RecipeError(f"train.deepspeed: {path} is not JSON ({first_line(error)}). Mend it.") from None
    raise RecipeError(f"train.deepspeed: {path} holds no object; expected DeepSpeed's keys and values.")


def _check_names(given: dict[str, Any], known: Iterable[str], where: str, owner: str) -> None:
    names = list(known)
    for key in given:
        if key not in names:
            raise RecipeError(f"{where}.{key}: {owner} has no such option.{did_you_mean(key, names)}")
