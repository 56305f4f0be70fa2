"""Generated tokens per second of `local` against plain transformers.generate, on conversations of several turns.

    python -m benchmarks.inference [--quick] [--model DIR] [--threads N]

Both run the same model on the same messages, alternately, in one process; the table shows medians. generate reads the
whole left-padded context again each turn, which is how a loop around it works; local reads the new tokens alone.
"""

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rft.inference.fresh import TinyQwen3
from rft.inference.local import Local
from rft.recipe import Sampling
from rft.types import Message, Task

TASK = Task(id="benchmark", statement="", split="train", repository="")
OPENING = "The tests of this package fail. Find the defect, mend it, and show that the tests pass.\n" * 6
OBSERVATION = "tests/test_text.py::test_wrap FAILED\nE  assert 'one two' == 'one\\ntwo'\n" * 3
DTYPES = ("float32", "bfloat16")
FOREVER = 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: one repeat, small batches")
    parser.add_argument("--model", help="a checkpoint; a fresh tiny one when left out")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--batch", type=int, nargs="+", help="conversations at the same time")
    parser.add_argument("--repeats", type=int, help="measurements of each; the table shows medians")
    arguments = parser.parse_args()
    batches, turns, repeats = ((1, 4), 2, 1) if arguments.quick else ((1, 8, 32), 4, 3)
    batches, repeats = arguments.batch or batches, arguments.repeats or repeats
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or fresh_model(Path(folder) / "model")
        table = Table(
            "dtype", "batch", "generate, tokens/s", "local, tokens/s", "ratio", title="Generation, multi-turn"
        )
        for dtype in DTYPES:
            for batch in batches:
                plain, ours = compare(model, dtype, batch, turns, repeats, arguments.threads)
                console.print(f"{dtype}, batch {batch}: generate {plain:.0f}, local {ours:.0f} tokens/s")
                table.add_row(dtype, str(batch), f"{plain:.0f}", f"{ours:.0f}", f"{ours / plain:.2f}")
    Console().print(table)


def fresh_model(path: Path) -> str:
    """A random model of the quickstart's size; how fast it answers does not depend on what it learnt."""
    TinyQwen3(max_position=4096).make(path, [OPENING, OBSERVATION, Path(__file__).read_text()], seed=0)
    return str(path)


def compare(model: str, dtype: Any, batch: int, turns: int, repeats: int, threads: int) -> tuple[float, float]:
    """Median tokens per second of generate and of local, measured in turn about."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    sampling = Sampling(max_tokens=64)
    local = Local(dtype=dtype, max_batch=batch, threads=threads)
    local.load(model, sampling)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).to(local.engine.device).eval()
    rates: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats):
        measured = (
            rate_of_generate(network, local.chat, sampling, batch, turns),
            rate_of_local(local, batch, turns, repeat),
        )
        for kept, rate in zip(rates, measured, strict=True):
            kept.append(rate)
    local.close()
    return statistics.median(rates[0]), statistics.median(rates[1])


def rate_of_generate(network: Any, chat: Any, sampling: Sampling, batch: int, turns: int) -> float:
    """Tokens per second of transformers.generate on a left-padded batch, turn after turn."""
    import torch

    conversations = [opening(n) for n in range(batch)]
    tokens, start = 0, time.perf_counter()
    for _ in range(turns):
        prompts = [chat.prompt(messages, None)[1] for messages in conversations]
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=network.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=network.device)
        with torch.inference_mode():
            out = network.generate(
                ids, attention_mask=mask, max_new_tokens=sampling.max_tokens, do_sample=True, top_k=0, temperature=1.0
            )
        for messages, answer in zip(conversations, out[:, width:].tolist(), strict=True):
            ends = [place for place, token in enumerate(answer) if token in network.generation_config.eos_token_id]
            answer = answer[: ends[0] + 1] if ends else answer
            tokens += len(answer)
            carry_on(messages, chat.decode(answer))
    return tokens / (time.perf_counter() - start)


def rate_of_local(local: Local, batch: int, turns: int, seed: int) -> float:
    """Tokens per second of `local`, each conversation a thread that waits for its answers."""
    counts = [0] * batch

    def converse(number: int) -> None:
        messages = opening(number)
        conversation = local.open(TASK, seed=seed * batch + number)
        for _ in range(turns):
            completion = conversation.reply(messages, deadline=time.monotonic() + FOREVER)
            counts[number] += completion.completion_tokens
            carry_on(messages, completion.text)
        conversation.close()

    start = time.perf_counter()
    threads = [threading.Thread(target=converse, args=(number,)) for number in range(batch)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def opening(number: int) -> list[Message]:
    """A conversation's first messages, of unequal length."""
    return [
        Message(role="system", content=OPENING),
        Message(role="user", content=f"Task {number}. " * (1 + number % 9)),
    ]


def carry_on(messages: list[Message], answer: str) -> None:
    """Add a turn."""
    messages += [Message(role="assistant", content=answer), Message(role="user", content=OBSERVATION)]


if __name__ == "__main__":
    main()
