"""Prints how fast each method trains here with rft's defaults and with TRL's own on the same rows, taken in turns.

python benchmarks/training.py [--quick] [--rounds N] [--rows N]; needs no network, writes to a temporary folder.
Tokens per second are of training steps alone: imports, loading and data preparation are left out. TRL has no policy
gradient on stored attempts; grpo is held against our own loss under TRL's defaults of order and recomputation. Last,
rows of a group apart, and as one row that branches behind what they share.
"""

import argparse
import gc
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from msgspec.structs import replace

from rft.inference.fresh import TinyQwen3
from rft.store import Records
from rft.train import sft
from rft.train.process import Spec
from rft.train.rows import read_rows
from rft.types import Example

Arm = tuple[str, dict[str, Any], bool]
"""A name, options of TRL's config over rft's defaults, and whether the loss of sft is rft's own."""
Speed = tuple[float, float]
"""Tokens read per second, and per second of processor time."""
BRANCHED = {"rows apart": {}, "what they share once": {"per_device_train_batch_size": 1}}
CHOOSES = sft.trainer_class


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
        plain = Bench("sft", policy, examples, Path(folder))
        compare("sft", rounds, {arm[0]: partial(plain.measure, arm) for arm in arms(all_of_them=given.all)})
        for method in ("dpo", "grpo"):
            made = Path(folder) / f"{method}.jsonl"
            write_taught(made, examples, method)
            bench = Bench(method, policy, made, Path(folder))
            compare(method, rounds, {arm[0]: partial(bench.measure, arm) for arm in arms(all_of_them=False)})
        for shared in (40, 160):
            apart, once = (Path(folder) / f"{name}-{shared}.jsonl" for name in ("apart", "once"))
            write_groups(apart, once, count // 8, shared)
            benches = {"rows apart": apart, "what they share once": once}
            tokens = Bench("sft", policy, apart, Path(folder)).tokens
            compare(
                f"groups of 8 that share {shared} tokens of about {shared + 100}",
                rounds,
                {
                    name: partial(
                        Bench("sft", policy, path, Path(folder), tokens).measure, (name, BRANCHED[name], True)
                    )
                    for name, path in benches.items()
                },
                baseline="rows apart",
            )


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


def write_taught(path: Path, examples: Path, method: str) -> None:
    """The same rows as pairs of which the worse side is the better one's neighbour, or with advantages."""
    rows = list(Records(examples, Example))
    with Records(path, Example).writer() as append:
        for number, row in enumerate(rows):
            if method == "grpo":
                learnt = sum(end - start for start, end in row.spans)
                advantages = [(-1.0) ** number] * len(row.spans)
                append(replace(row, weights=advantages, logprobs=[-5.5] * learnt))
            elif number % 2 == 0:
                append(replace(row, good=True, pair=row.id))
                append(replace(rows[number + 1], good=False, pair=row.id))


def write_groups(apart: Path, once: Path, groups: int, shared: int) -> None:
    """Eight attempts a group that begin alike and learn their last 22 tokens: each a row, and all one row."""
    draw = random.Random(0)
    with Records(apart, Example).writer() as append, Records(once, Example).writer() as append_one:
        for group in range(groups):
            begin = [draw.randrange(3, 259) for _ in range(shared)]
            whole, spans = list(begin), []
            for number in range(8):
                rest = [draw.randrange(3, 259) for _ in range(draw.randint(60, 140))]
                whole += rest
                spans.append((len(whole) - 22, len(whole)))
                name = f"{group}/{number}"
                ids = begin + rest
                spot = [(len(ids) - 22, len(ids))]
                append(Example(id=name, trajectory_id=name, task_id="t", ids=ids, spans=spot, provenance="recorded"))
            name = str(group)
            append_one(
                Example(
                    id=name,
                    trajectory_id=name,
                    task_id="t",
                    ids=whole,
                    spans=spans,
                    shared=shared,
                    provenance="recorded",
                )
            )


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


@dataclass
class Bench:
    """Rows of one method, trained on in several ways."""

    method: str
    policy: Path
    examples: Path
    folder: Path
    reads: int | None = None
    """What is counted as read; the rows' own tokens when left out."""

    @property
    def tokens(self) -> int:
        """Those that an epoch reads."""
        if self.reads is not None:
            return self.reads
        return sum(row.length for row in read_rows(self.examples))

    def measure(self, arm: Arm) -> Speed:
        """One epoch; a short training warms up before."""
        from transformers import PrinterCallback
        from transformers.utils import logging

        from rft.train import training

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        _, given, own_loss = arm
        packing = {"packing_strategy": "bfd"} if self.method == "sft" else {}
        trl = {"num_train_epochs": 1, "save_strategy": "no", **packing, **given}
        spec = Spec(
            model=str(self.policy), examples=str(self.examples), folder=str(self.folder), seed=0, tokens=None,
            workers=1, deepspeed=None, lora=None, trl=trl, resume=None, parent=0, method=self.method,
        )  # fmt: skip
        if not own_loss:
            sft.trainer_class = lambda config, rows: sft.Trainer
        method = training.method_of(spec)
        rows = method.rows()
        warm, trainer = (training.build_trainer(spec, method, some) for some in (rows[:16], rows))
        for each in (warm, trainer):
            each.remove_callback(PrinterCallback)
        warm.train()
        clock, processor = time.perf_counter(), time.process_time()
        trainer.train()
        speed = self.tokens / (time.perf_counter() - clock), self.tokens / (time.process_time() - processor)
        del warm, trainer
        gc.collect()
        sft.trainer_class = CHOOSES
        return speed


def compare(title: str, rounds: int, arms: dict[str, Callable[[], Speed]], baseline: str = "TRL's defaults") -> None:
    """One line an arm; the ratio is of processor time, which other programs on the machine disturb the least."""
    speeds: dict[str, list[Speed]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, measure in arms.items():
            speeds[name].append(measure())
    print(f"\n{title}; {os.environ['OMP_NUM_THREADS']} threads, load {os.getloadavg()[0]:.1f}")
    print(f"{'':<30}{'tokens/s':>10}{'tokens/cpu-s':>14}{'ratio':>8}   tokens/cpu-s of each round")
    against = statistics.median(processor for _, processor in speeds[baseline])
    for name, found in speeds.items():
        wall, processor = (statistics.median(column) for column in zip(*found, strict=True))
        each = " ".join(f"{speed:.0f}" for _, speed in found)
        print(f"{name:<30}{wall:>10.0f}{processor:>14.0f}{processor / against:>8.2f}   {each}", flush=True)


if __name__ == "__main__":
    main()
