"""Supervised fine-tuning on exact tokens with TRL's SFTTrainer: reads examples, leaves a plain checkpoint."""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, TrainerCallback
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from trl import SFTConfig

from rft.errors import RecipeError, StageError
from rft.plugins import first_line
from rft.store import write_atomic
from rft.train.branches import BranchCollator
from rft.train.options import check_lora, check_trl
from rft.train.process import Result, Spec
from rft.train.resume import mark_complete
from rft.train.rows import IGNORED, Row, check_lengths, dataset, read_rows, to_budget
from rft.train.trainer import LearntLossTrainer, Trainer

PACK = 512
"""Where a recipe asks for packing: the least length of a packed row. Attention's cost grows with it."""


def train(spec: Spec) -> None:
    """Train as `spec` says and leave `checkpoint/` and `result.json` in its folder. Runs once in each rank."""
    check_trl(spec.trl, budget=spec.tokens)
    if spec.lora is not None:
        check_lora(spec.lora)
    rows = _rows(spec)
    if spec.deepspeed and not torch.cuda.is_available():
        import deepspeed

        deepspeed.init_distributed("gloo")  # before the config, which else counts one process for ZeRO-3
    options = sft_options(spec, rows)
    trainer = build_trainer(spec, options, rows)
    _check_processes(spec, trainer)
    _check_prepared(rows, trainer.train_dataset)
    before = time.monotonic()
    trainer.train(resume_from_checkpoint=spec.resume)
    seconds = time.monotonic() - before
    trainer.save_model(str(Path(spec.folder) / "trainer" / "final"))
    if trainer.accelerator.num_processes > 1:
        trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        write_checkpoint(spec)
        result = _result(spec, rows, trainer.state, seconds)
        write_atomic(Path(spec.folder) / "result.json", msgspec.json.encode(result))


def _rows(spec: Spec) -> list[Row]:
    rows = read_rows(Path(spec.examples), spec.learn)
    limit = getattr(AutoConfig.from_pretrained(spec.model).get_text_config(), "max_position_embeddings", None)
    if limit is not None:
        check_lengths(rows, limit, "the model's context")
    if spec.trl.get("max_length") is not None:
        check_lengths(rows, spec.trl["max_length"], "train.trl.max_length")
    return rows if spec.tokens is None else to_budget(rows, spec.tokens, spec.seed)


def sft_options(spec: Spec, rows: Sequence[Row]) -> dict[str, Any]:
    """The arguments of SFTConfig: the recipe's over defaults that suit the machine and the rows."""
    folder = Path(spec.folder)
    options = {
        **_machine_defaults(spec),
        "train_sampling_strategy": "group_by_length",
        "seed": spec.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is no number must be seen
        "save_strategy": "steps",
        "save_steps": 0.2,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "ddp_find_unused_parameters": False,
        **({"num_train_epochs": 1} if spec.tokens is not None else {}),
        **spec.trl,
        "output_dir": str(folder / "trainer"),
        "deepspeed": spec.deepspeed,
    }
    longest = max(row.length for row in rows)
    if options.get("packing"):
        options["max_length"] = spec.trl.get("max_length") or max(PACK, longest)
    else:
        options["max_length"] = None  # rows were checked; a limit here would cut them in silence
    return options


def _machine_defaults(spec: Spec) -> dict[str, Any]:
    if torch.cuda.is_available():
        # Attempts are long: eight of them at once is what fills a GPU's memory.
        batch_is_given = spec.trl.keys() & {"packing", "padding_free", "per_device_train_batch_size"}
        return {} if batch_is_given else {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    # Without variable-length kernels, attention over packed rows costs the square of what is packed: rows of like
    # length side by side waste less.
    return {
        "use_cpu": True,
        "bf16": computes_bfloat16(torch.cpu.get_capabilities()),
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
    }


def computes_bfloat16(capabilities: Mapping[str, Any]) -> bool:
    """Whether a processor multiplies bfloat16 itself; where it is emulated it is several times slower than float32."""
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def build_trainer(spec: Spec, options: dict[str, Any], rows: Sequence[Row]) -> Trainer:
    """TRL's trainer on the rows' exact tokens. Raises RecipeError for values that SFTConfig refuses."""
    try:
        config = SFTConfig(**options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"train.trl: {first_line(error)}.") from None
    lora = None
    if spec.lora is not None:
        from peft import LoraConfig

        lora = LoraConfig(**{"task_type": "CAUSAL_LM", **spec.lora})
    branching = any(row.branching for row in rows)
    tokenizer = AutoTokenizer.from_pretrained(spec.model)
    return trainer_class(config, branching)(
        model=spec.model,
        args=config,
        train_dataset=dataset(Path(spec.examples), rows, spec.learn, _own_file(spec)),
        processing_class=tokenizer,
        data_collator=BranchCollator(_padding(tokenizer)) if branching else None,
        peft_config=lora,
        callbacks=[Log(Path(spec.folder) / "log.jsonl"), Complete()],
    )


def _own_file(spec: Spec) -> Path:
    """Where this process lays out its rows; gone with the trainer's folder."""
    return Path(spec.folder) / "trainer" / f"rows-{os.environ.get('RANK', '0')}" / "rows.arrow"


def _padding(tokenizer: Any) -> int:
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def trainer_class(config: SFTConfig, branching: bool = False) -> type[Trainer]:
    """TRL's own loss where it has a kernel for the learnt tokens alone, or where the recipe asks for another loss.

    Raises RecipeError for rows that branch and options that cannot keep the branches apart.
    """
    plain = config.loss_type == "nll" and not config.label_smoothing_factor and config.router_aux_loss_coef is None
    if branching and (not plain or config.packing or config.padding_free):
        raise RecipeError(
            "train.trl: examples that branch take the plain loss of unpacked rows. Leave other options out."
        )
    return LearntLossTrainer if plain and (branching or not torch.cuda.is_available()) else Trainer


def _check_processes(spec: Spec, trainer: Trainer) -> None:
    """A launcher that silently starts one plain process must not pass for a distributed training."""
    here = trainer.accelerator
    if here.num_processes != spec.workers or bool(spec.deepspeed) != (here.distributed_type == "DEEPSPEED"):
        raise StageError(
            f"train: runs in {here.num_processes} processes as {here.distributed_type}; expected {spec.workers}"
            f"{' with DeepSpeed' if spec.deepspeed else ''}. Look at the variables RANK and WORLD_SIZE."
        )


def _check_prepared(rows: Sequence[Row], prepared: Any) -> None:
    """TRL's own preparation lost no row and no learnt token."""
    sequences = learnt = 0
    for batch in prepared.with_format("numpy").iter(batch_size=256):
        packed = batch.get("seq_lengths")
        sequences += sum(len(lengths) for lengths in packed) if packed is not None else len(batch["labels"])
        learnt += sum(int((labels != IGNORED).sum()) for labels in batch["labels"])
    expected = sum(row.learnt for row in rows)
    if (sequences, learnt) != (len(rows), expected):
        raise StageError(
            f"train: TRL prepared {sequences} rows with {learnt} learnt tokens; expected {len(rows)} with {expected}. "
            "An option in train.trl cuts or drops examples: leave it out."
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
    """The trained weights as a plain model in the policy's own precision, with the policy's own tokenizer."""
    final = Path(spec.folder) / "trainer" / "final"
    fresh = Path(spec.folder) / "checkpoint.new"
    unset_hf_deepspeed_config()  # under ZeRO-3 every load would be split among ranks that are gone
    shutil.rmtree(fresh, ignore_errors=True)
    config = AutoConfig.from_pretrained(spec.model)
    if spec.lora is None:
        model = AutoModelForCausalLM.from_pretrained(final, config=config, dtype=torch.float32)
    else:
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(spec.model, dtype=torch.float32)
        model = PeftModel.from_pretrained(base, final).merge_and_unload()
    if Path(spec.model, "generation_config.json").exists() or not Path(spec.model).exists():
        model.generation_config = GenerationConfig.from_pretrained(spec.model)
    model.to(config.dtype or torch.float32).save_pretrained(fresh)
    AutoTokenizer.from_pretrained(spec.model).save_pretrained(fresh)
    shutil.rmtree(Path(spec.folder) / "checkpoint", ignore_errors=True)
    fresh.rename(Path(spec.folder) / "checkpoint")


def _result(spec: Spec, rows: Sequence[Row], state: Any, seconds: float) -> Result:
    started = int(Path(spec.resume).name.rpartition("-")[2]) if spec.resume else 0
    tokens = round(sum(row.length for row in rows) * state.epoch)
    here = tokens * (state.global_step - started) / max(1, state.global_step)
    return Result(
        examples=len(rows),
        learnt_tokens=round(sum(row.learnt for row in rows) * state.epoch),
        tokens=tokens,
        steps=state.global_step,
        seconds=round(seconds, 3),
        tokens_per_second=round(here / seconds, 1),
    )
