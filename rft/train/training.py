"""A training from its start to a plain checkpoint: what every `train.method` has in common."""

import contextlib
import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import msgspec
import torch
import transformers
from accelerate import PartialState
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, TrainerCallback
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.utils import (
    GENERATION_CONFIG_NAME,
    IMAGE_PROCESSOR_NAME,
    PROCESSOR_NAME,
    VIDEO_PROCESSOR_NAME,
    cached_file,
)

from rft.errors import RecipeError, StageError
from rft.plugins import first_line
from rft.store import write_atomic
from rft.train.leaks import check_learnt_text
from rft.train.options import batch, check_lora, check_trl
from rft.train.process import Result, Spec
from rft.train.resume import mark_complete
from rft.train.rows import Row, check_lengths, context_of, to_budget


class Method(Protocol):
    """One `train.method`, made for a Spec."""

    config: Any
    """TRL's config class."""

    def rows(self) -> list[Row]:
        """Everything there is to learn from, in order. Raises StageError for what cannot be learnt from exactly."""

    def options(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Options of `config` that stand over the recipe's."""

    def dataset(self, rows: Sequence[Row], place: Path) -> Any:
        """The rows' tokens as a `datasets.Dataset`, laid out in a file at `place`."""

    def trainer(self, config: Any, rows: Sequence[Row], common: dict[str, Any]) -> Any:
        """TRL's trainer, from what all methods give it."""


METHODS = {
    "sft": "rft.train.sft:Sft",
    "dpo": "rft.train.preferences:Dpo",
    "kto": "rft.train.preferences:Kto",
    "grpo": "rft.train.grpo:Grpo",
}
"""`train.method` to its class; importing one takes seconds, so the others are left alone."""

KEPT = (GENERATION_CONFIG_NAME, PROCESSOR_NAME, IMAGE_PROCESSOR_NAME, VIDEO_PROCESSOR_NAME)
"""Files beside a policy's weights that go with a checkpoint as they are: transformers writes no generation config that
it would not accept from a user, and servers ask for what prepares images even where nobody sends one."""


def method_of(spec: Spec) -> Method:
    """The method that a spec names."""
    module, _, name = METHODS[spec.method].partition(":")
    made: Method = getattr(import_module(module), name)(spec)
    return made


def train(spec: Spec) -> None:
    """Train as `spec` says and leave `checkpoint/` and `result.json` in its folder. Runs once in each rank."""
    check_trl(spec.trl, budget=spec.tokens, method=spec.method)
    if spec.lora is not None:
        check_lora(spec.lora)
    if spec.quantization is not None and not torch.cuda.is_available():
        raise RecipeError("train.quantization: needs a CUDA GPU, and there is none here. Leave it out.")
    method = method_of(spec)
    rows = read(spec, method)
    if spec.deepspeed and not torch.cuda.is_available():
        import deepspeed

        deepspeed.init_distributed("gloo")  # before the config, which else counts one process for ZeRO-3
    trainer = build_trainer(spec, method, rows)
    _check_processes(spec, trainer)
    before = time.monotonic()
    with naming_the_longest(rows):
        trainer.train(resume_from_checkpoint=spec.resume)
    seconds = time.monotonic() - before
    trainer.save_model(str(Path(spec.folder) / "trainer" / "final"))
    if trainer.accelerator.num_processes > 1:
        trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        write_checkpoint(spec)
        result = result_of(spec, rows, trainer, seconds)
        write_atomic(Path(spec.folder) / "result.json", msgspec.json.encode(result))


@contextlib.contextmanager
def naming_the_longest(rows: Sequence[Row]) -> Iterator[None]:
    """Raises StageError where memory runs out, with the row that it is likely to be, the longest."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        longest = max(rows, key=lambda row: row.length)
        raise StageError(
            f"train: a GPU's memory is full; the longest row, {longest.id}, has {longest.length} tokens "
            f"({first_line(error)}). Set train.batch_tokens and run the same command again; or drop long rows "
            "({use: max_tokens, tokens: …} in select.rules), or set train.lora or train.deepspeed, with --redo."
        ) from error


def read(spec: Spec, method: Method) -> list[Row]:
    """The rows to train on. Raises StageError for one too long, or that learns what the policy did not write."""
    rows = method.rows()
    limit = context_of(AutoConfig.from_pretrained(spec.model))
    if limit is not None:
        check_lengths(rows, limit, "the model's context")
    if spec.trl.get("max_length") is not None:
        check_lengths(rows, spec.trl["max_length"], "train.trl.max_length")
    if spec.trajectories is not None:
        check_learnt_text(Path(spec.examples), Path(spec.trajectories), AutoTokenizer.from_pretrained(spec.model))
    return rows if spec.tokens is None else to_budget(rows, spec.tokens, spec.seed)


def options_of(spec: Spec, method: Method, rows: Sequence[Row]) -> dict[str, Any]:
    """The arguments of TRL's config class: the recipe's over defaults that suit the machine, and the method's own."""
    together, times = batch(spec, gpu=torch.cuda.is_available())
    return {
        **_machine_defaults(),
        "train_sampling_strategy": "group_by_length",
        "seed": spec.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is no number must be seen
        "save_strategy": "steps",
        "save_steps": 0.2,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "ddp_find_unused_parameters": _has_parts_unread(spec),
        **({"num_train_epochs": 1} if spec.tokens is not None else {}),
        **spec.trl,
        **_quantized(spec),
        "per_device_train_batch_size": together,
        "gradient_accumulation_steps": times,
        **method.options(rows),
        "output_dir": str(Path(spec.folder) / "trainer"),
        "deepspeed": spec.deepspeed,
    }


def _has_parts_unread(spec: Spec) -> bool:
    """Whether the policy has weights that text does not reach: those for images, say."""
    config = AutoConfig.from_pretrained(spec.model)
    return config.get_text_config() is not config


def _machine_defaults() -> dict[str, Any]:
    if torch.cuda.is_available():
        return {}
    # Without variable-length kernels, attention over packed rows costs the square of what is packed: rows of like
    # length side by side waste less.
    return {
        "use_cpu": True,
        "bf16": computes_bfloat16(torch.cpu.get_capabilities()),
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
    }


def _quantized(spec: Spec) -> dict[str, Any]:
    """The policy held in few bits under its adapter (Dettmers et al., 2023, arXiv 2305.14314), loaded as the recipe
    says otherwise."""
    if spec.quantization is None:
        return {}
    from transformers import BitsAndBytesConfig

    given = spec.trl.get("model_init_kwargs") or {}
    return {"model_init_kwargs": {**given, "quantization_config": BitsAndBytesConfig(**spec.quantization)}}


def computes_bfloat16(capabilities: Mapping[str, Any]) -> bool:
    """Whether a processor multiplies bfloat16 itself; where it is emulated it is several times slower than float32."""
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def build_trainer(spec: Spec, method: Method, rows: Sequence[Row]) -> Any:
    """TRL's trainer on the rows' exact tokens. Raises RecipeError for values that its config class refuses."""
    try:
        config = method.config(**options_of(spec, method, rows))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"train.trl: {first_line(error)}.") from None
    lora = None
    if spec.lora is not None:
        from peft import LoraConfig

        lora = LoraConfig(**{"task_type": "CAUSAL_LM", **spec.lora})
    with PartialState().main_process_first():
        data = method.dataset(rows, Path(spec.folder) / "trainer" / "rows" / "rows.arrow")
    common = {
        "model": spec.model,
        "train_dataset": data,
        "processing_class": AutoTokenizer.from_pretrained(spec.model),
        "peft_config": lora,
        "callbacks": [Log(Path(spec.folder) / "log.jsonl"), Complete()],
    }
    trainer = method.trainer(config, rows, common)
    trainer.batch_tokens = spec.batch_tokens
    # What many models ship is refused when it is saved; the trainer's checkpoints need none.
    plain = trainer.model.get_base_model() if lora is not None else trainer.model
    plain.generation_config = GenerationConfig.from_model_config(plain.config)
    return trainer


def _check_processes(spec: Spec, trainer: Any) -> None:
    """A launcher that silently starts one plain process must not pass for a distributed training."""
    here = trainer.accelerator
    if here.num_processes != spec.workers or bool(spec.deepspeed) != (here.distributed_type == "DEEPSPEED"):
        raise StageError(
            f"train: runs in {here.num_processes} processes as {here.distributed_type}; expected {spec.workers}"
            f"{' with DeepSpeed' if spec.deepspeed else ''}. Look at the variables RANK and WORLD_SIZE."
        )


class Log(TrainerCallback):  # type: ignore[misc]
    """One line of `log.jsonl` for each logged step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any) -> None:
        if logs and "loss" in logs and not math.isfinite(logs["loss"]):
            raise StageError(
                f"train: the loss is {logs['loss']} at step {state.global_step}; expected a number. "
                "Lower train.trl.learning_rate and redo the stage with --redo."
            )
        if logs and "loss" in logs and state.is_world_process_zero:
            seconds = round(time.monotonic() - self.began, 3)
            line = {"step": state.global_step, "steps": state.max_steps, **logs, "seconds": seconds}
            with self.path.open("ab") as file:
                file.write(json.dumps(line, default=float).encode() + b"\n")


class Complete(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint when every rank has written its part."""

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def write_checkpoint(spec: Spec) -> None:
    """The trained weights as a plain model in the policy's own precision, with all that stands beside the policy's.

    Raises StageError when the model lacks a weight that was trained.
    """
    final = Path(spec.folder) / "trainer" / "final"
    fresh = Path(spec.folder) / "checkpoint.new"
    unset_hf_deepspeed_config()  # under ZeRO-3 every load would be split among ranks that are gone
    shutil.rmtree(fresh, ignore_errors=True)
    config = AutoConfig.from_pretrained(spec.model)
    if spec.lora is None:
        model = whole_model(final, config)
    else:
        model = merged(whole_model(spec.model, config), final)
        keep_adapter(final, Path(spec.folder) / "adapter")
    # Of models with several parts some tell it of their parts alone.
    model.to(config.dtype or config.get_text_config().dtype or torch.float32).save_pretrained(fresh)
    AutoTokenizer.from_pretrained(spec.model).save_pretrained(fresh)
    for name in KEPT:
        if path := cached_file(spec.model, name, _raise_exceptions_for_missing_entries=False):
            shutil.copy(path, fresh)
    shutil.rmtree(Path(spec.folder) / "checkpoint", ignore_errors=True)
    fresh.rename(Path(spec.folder) / "checkpoint")


def whole_model(place: str | Path, config: Any) -> Any:
    """A model in float32, of the class that was trained. Raises StageError where a weight is missing."""
    named = getattr(transformers, (config.architectures or [""])[0], AutoModelForCausalLM)
    model, report = named.from_pretrained(place, config=config, dtype=torch.float32, output_loading_info=True)
    model.generation_config = GenerationConfig.from_model_config(config)
    missing = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
    if missing:
        raise StageError(
            f"train: {place} lacks {len(missing)} weights of a {type(model).__name__}, {missing[0]} for one; expected "
            "every one. Look at train.trl and train.deepspeed for options of saving, and redo the stage with --redo."
        )
    return model


def merged(model: Any, adapter: Path) -> Any:
    """A model with its adapter in it."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    adapted = PeftModel.from_pretrained(model, adapter)
    if isinstance(adapted.get_input_embeddings(), LoraLayer):
        # Merging changes a weight in place, and tied embeddings are one weight: the output was trained without it.
        head = model.get_output_embeddings()
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    return adapted.merge_and_unload()


def keep_adapter(final: Path, place: Path) -> None:
    """The adapter by itself, as PEFT and vLLM (`--lora-modules`) read it; it goes on top of the round's start."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for path in final.glob("adapter_*"):
        shutil.copy(path, place)


def result_of(spec: Spec, rows: Sequence[Row], trainer: Any, seconds: float) -> Result:
    """What a trainer that has come to its end did in `seconds`."""
    state = trainer.state
    together = trainer.args.train_batch_size * trainer.accelerator.num_processes
    started = int(Path(spec.resume).name.rpartition("-")[2]) if spec.resume else 0
    tokens = round(sum(row.tokens for row in rows) * state.epoch)
    here = tokens * (state.global_step - started) / max(1, state.global_step)
    return Result(
        examples=len(rows),
        learnt_tokens=round(sum(row.learnt for row in rows) * state.epoch),
        tokens=tokens,
        repeated=-len(trainer.train_dataset) % together if trainer.accelerator.num_processes > 1 else 0,
        steps=state.global_step,
        seconds=round(seconds, 3),
        tokens_per_second=round(here / seconds, 1),
    )
