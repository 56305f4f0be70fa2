"""Prints how fast SFT trains here with rft's defaults and with TRL's own on the same rows, taken in turns.

python benchmarks/training.py [--quick] [--rounds N] [--rows N]; needs no network, writes to a temporary folder.
Tokens per second are of training steps alone: imports, loading and data preparation are left out.
"""

import argparse
import gc
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rft.inference.fresh import TinyQwen3
from rft.store import Records
from rft.train.process import Spec
from rft.train.rows import Row, read_rows
from rft.types import Example

Arm = tuple[str, dict[str, Any], bool]
"""A name, options of SFTConfig over rft's defaults, and whether the loss is rft's own."""


def main() -> None:
    """Run every arm once a round, in turns, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, one round, two arms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--all", action="store_true", help="also the settings that were tried and not chosen")
    given = parser.parse_args()
    count, rounds = (48, 1) if given.quick else (given.rows, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        TinyQwen3().make(policy, ["def solve(values): return sorted(values)"] * 50, seed=0)
        examples = Path(folder) / "examples.jsonl"
        write_examples(examples, count)
        rows = read_rows(examples)
        speeds: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for arm in arms(all_of_them=given.all):
                speeds.setdefault(arm[0], []).append(measure(arm, examples, rows, policy, Path(folder)))
    report(rows, speeds)


def write_examples(path: Path, count: int) -> None:
    """Examples as long as short attempts are, about 190 tokens of which a third are learnt."""
    draw = random.Random(0)
    with Records(path, Example).writer() as append:
        for number in range(count):
            length = draw.randint(120, 260)
            ids = [draw.randrange(3, 259) for _ in range(length)]
            spans = [(start, start + 22) for start in range(length // 3, length - 22, 60)]
            name = str(number)
            append(Example(id=name, trajectory_id=name, task_id=name, ids=ids, spans=spans, provenance="recorded"))


def arms(*, all_of_them: bool) -> list[Arm]:
    """What is held against each other; TRL's defaults are those of SFTConfig, made to run on a CPU."""
    plain = {"train_sampling_strategy": "random"}
    chosen: list[Arm] = [("rft", {}, True), ("TRL's defaults", {**plain, "gradient_checkpointing": True}, False)]
    if not all_of_them:
        return chosen
    packed = {**plain, "packing": True, "per_device_train_batch_size": 1}
    tried: list[Arm] = [
        ("rft, TRL's loss", {}, False),
        ("rft, rows at random", plain, True),
        ("rft, batches of 16", {"per_device_train_batch_size": 16}, True),
        *(
            (f"packed to {n}", {**packed, "max_length": n, "gradient_accumulation_steps": 2048 // n}, True)
            for n in (512, 2048)
        ),
        ("bfloat16", {"bf16": True}, True),
        ("float32", {"bf16": False}, True),
    ]
    return chosen + tried


def measure(arm: Arm, examples: Path, rows: list[Row], policy: Path, folder: Path) -> tuple[float, float]:
    """Tokens read per second, and per second of processor time, of one epoch; a short training warms up before."""
    from transformers.utils import logging

    from rft.train import sft, training

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    _, given, own_loss = arm
    trl = {"num_train_epochs": 1, "save_strategy": "no", "packing_strategy": "bfd", **given}
    spec = Spec(
        model=str(policy), examples=str(examples), folder=str(folder), seed=0, tokens=None, workers=1,
        deepspeed=None, lora=None, trl=trl, resume=None, parent=0,
    )  # fmt: skip
    sft.trainer_class = lambda config, rows: sft.LearntLossTrainer if own_loss else sft.Trainer
    method = training.method_of(spec)
    training.build_trainer(spec, method, rows[:16]).train()
    trainer = training.build_trainer(spec, method, rows)
    clock, processor = time.perf_counter(), time.process_time()
    trainer.train()
    tokens = sum(row.length for row in rows)
    speed = tokens / (time.perf_counter() - clock), tokens / (time.process_time() - processor)
    del trainer
    gc.collect()
    return speed


def report(rows: list[Row], speeds: dict[str, list[tuple[float, float]]]) -> None:
    """One line an arm; the ratio is of processor time, which other programs on the machine disturb the least."""
    tokens, learnt = sum(row.length for row in rows), sum(row.learnt for row in rows)
    print(f"{len(rows)} rows, {tokens} tokens, {learnt} learnt; {os.environ['OMP_NUM_THREADS']} threads")
    print(f"{'':<30}{'tokens/s':>10}{'learnt/s':>10}{'tokens/cpu-s':>14}{'ratio':>8}   tokens/cpu-s of each round")
    baseline = statistics.median(processor for _, processor in speeds["TRL's defaults"])
    for name, found in speeds.items():
        wall, processor = (statistics.median(column) for column in zip(*found, strict=True))
        each = " ".join(f"{speed:.0f}" for _, speed in found)
        ratio = processor / baseline
        print(f"{name:<30}{wall:>10.0f}{wall * learnt / tokens:>10.0f}{processor:>14.0f}{ratio:>8.2f}   {each}")


if __name__ == "__main__":
    main()
