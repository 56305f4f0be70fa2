"""Ten questions about a transcript: its text read once for all, against a whole prompt for each question.

python -m benchmarks.judge_local [--quick]
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from reward_models.judges import Local
from reward_models.judges.batches import Asked
from reward_models.types import Criterion, Transcript, TranscriptStep
from rft.inference.fresh import TinyQwen3

QUESTIONS = [Criterion(id=f"q{n}", question=f"Did the agent do what is asked for in point {n}?") for n in range(10)]


def transcript(number: int, steps: int) -> Transcript:
    """Steps of some 400 characters each."""
    made = [
        TranscriptStep(
            index=n,
            text=f"I look at part {n} of file {number}, to see how the values are read.",
            command=f"sed -n '{n * 10},{n * 10 + 9}p' src/module_{number}.py",
            output="\n".join(f"{n * 10 + row}: value = read(source, {row})" for row in range(8)),
            exit_code=0,
        )
        for n in range(1, steps + 1)
    ]
    return Transcript(id=str(number), statement="The values are read wrongly.", steps=made, patch="", stop="submitted")


def seconds(judge: Local, jobs: list[Asked]) -> float:
    """To answer all of them, a job at a time."""
    began = time.monotonic()
    for job in jobs:
        judge.run(job)
    return time.monotonic() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick
    table = Table("tokens of the transcript", "whole prompts, s", "shared prefix, s", "ratio", "target")
    table.title = f"{len(QUESTIONS)} questions about a transcript, {torch.get_num_threads()} threads"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        lines = [step.output + step.text + str(step.command) for step in transcript(0, 5).steps]
        TinyQwen3(max_position=8192).make(path, [*lines, *(q.question for q in QUESTIONS)], seed=1)
        judge = Local(model=str(path), reason_tokens=12)
        for steps in (4,) if quick else (6, 16):
            views = [transcript(number, steps) for number in range(1)]
            shared = [judge.fitted(one, "trajectory", QUESTIONS)[1] for one in views]
            whole = [judge.fitted(one, "trajectory", [question])[1] for one in views for question in QUESTIONS]
            seconds(judge, [judge.fitted(views[0], "trajectory", QUESTIONS[:1])[1]])
            apart, together = seconds(judge, whole), seconds(judge, shared)
            count = sum(len(job.prefix) for job in shared) // len(shared)
            table.add_row(f"{count:,}", f"{apart:.2f}", f"{together:.2f}", f"{apart / together:.1f} x", ">= 4 x")
    Console().print(table)


if __name__ == "__main__":
    main()
