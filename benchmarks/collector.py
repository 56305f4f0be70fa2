"""Attempts per second through the collector, against the bare cost of the same commands in the same sandboxes.

python -m benchmarks.collector [--quick]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from rft import collect
from rft.agents.bash import read_command
from rft.collect import Owed
from rft.environments.kata import Kata
from rft.plugins import build
from rft.recipe import Recipe, to_recipe
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.types import Completion, Task

LATENCY = 0.05
WIDE = 64


def replies(task: Task) -> list[str]:
    """What an agent that knows the answer does."""
    name, file = task.meta["function"], task.meta["file"]
    commands = [
        f"grep -n -A8 'def {name}' {file}",
        f"python check.py {name}",
        "git status --short",
        f"python check.py {name}",
    ]
    return [f"```bash\n{command}\n```" for command in [*commands, "submit"]]


def recipe(folder: str, concurrency: int, script: Path, latency: float = 0.0, **sections: Any) -> Recipe:
    """A recipe that replays a script through the thread pool."""
    fields = {
        "name": "bench",
        "runs": folder,
        "policy": {"model": "none", "inference": {"use": "scripted", "path": str(script), "latency": latency}},
        "environment": {"use": "kata"},
        "sandbox": {"use": "local" if Bubblewrap().missing() else "bubblewrap"},
        "collect": {"pool": {"use": "threads", "concurrency": concurrency}},
    }
    return to_recipe(OmegaConf.merge(OmegaConf.structured(Recipe), fields | sections), "bench")  # type: ignore[arg-type]


def through_collector(made: Recipe, owed: list[Owed]) -> float:
    """Seconds for all attempts."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        tally = collect.attempts(made, "none", owed, Path(folder) / "t.jsonl", title="bench")
        assert tally.failed == 0, tally.causes
        return time.monotonic() - began


def bare(made: Recipe, owed: list[Owed], concurrency: int, latency: float = 0.0) -> float:
    """Seconds for the same commands, diff and grading in the same sandboxes, with no collector around them."""
    environment = build("environment", made.environment, "environment")
    sandboxes = build("sandbox", made.sandbox, "sandbox")

    def one(item: Owed) -> None:
        sandbox = sandboxes.open(environment.start_state(item.task))
        for reply in replies(item.task):
            time.sleep(latency)
            command, _ = read_command(Completion(text=reply, finish_reason="stop"))
            if command != "submit":
                sandbox.run(str(command))
        patch = sandbox.diff()
        sandbox.close()
        environment.grade(item.task, patch, sandboxes)

    began = time.monotonic()
    with ThreadPoolExecutor(concurrency) as executor:
        list(executor.map(one, owed))
    return time.monotonic() - began


def in_turn(times: int, *runs: Callable[[], float]) -> list[float]:
    """Medians of several measurements taken in turn, so that the machine's moods fall on all alike."""
    rounds = [[run() for run in runs] for _ in range(times)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick
    times, count = (1, 8) if quick else (3, 60)
    tasks = list(Kata().tasks("train"))[:count]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.json"
        script.write_bytes(msgspec.json.encode({task.id: replies(task) for task in tasks}))
        owed = collect.owed_attempts(tasks, 1, 1, seed="bench")
        for task in tasks:
            Kata().start_state(task)
        narrow = recipe(folder, 2, script)
        wide = recipe(folder, WIDE, script, LATENCY)
        ours, without = in_turn(times, lambda: through_collector(narrow, owed), lambda: bare(narrow, owed, 2))
        ours_wide, without_wide = in_turn(
            times, lambda: through_collector(wide, owed), lambda: bare(wide, owed, WIDE, LATENCY)
        )
        null_rate, ideal = latency_bound(folder, 4 if quick else 40)
    table = Table("collector", "attempts/s", "bare or ideal", "ratio", "target", title="collector overhead")
    n = len(owed)
    table.add_row(
        "2 at once, real sandboxes",
        f"{n / ours:.1f}",
        f"{n / without:.1f}",
        f"{ours / without:.2f} x the time",
        "<= 1.3",
    )
    table.add_row(
        f"{WIDE} at once, {LATENCY * 1000:.0f} ms model, real sandboxes",
        f"{n / ours_wide:.1f}",
        f"{n / without_wide:.1f}",
        f"{without_wide / ours_wide:.0%} of bare",
        ">= 85 %",
    )
    table.add_row(
        f"{WIDE} at once, {LATENCY * 1000:.0f} ms model, sandboxes that cost nothing",
        f"{null_rate:.1f}",
        f"{ideal:.1f}",
        f"{null_rate / ideal:.0%} of ideal",
        ">= 85 %",
    )
    Console().print(table)


def latency_bound(folder: str, turns: int) -> tuple[float, float]:
    """Attempts per second where only the model takes time, and what 64 at once could reach at the most."""
    script = Path(folder) / "null.json"
    script.write_bytes(
        msgspec.json.encode({"default": ["```bash\ntrue\n```"] * (turns - 1) + ["```bash\nsubmit\n```"]})
    )
    made = recipe(
        folder,
        WIDE,
        script,
        LATENCY,
        environment={"use": "benchmarks.fakes:NullEnvironment"},
        sandbox={"use": "benchmarks.fakes:NullSandboxes"},
        agent={"use": "bash", "max_steps": turns},
    )
    tasks = list(build("environment", made.environment, "environment").tasks("train"))[: 4 * WIDE]
    seconds = through_collector(made, collect.owed_attempts(tasks, 1, 1, seed="bench"))
    return len(tasks) / seconds, WIDE / (turns * LATENCY)


if __name__ == "__main__":
    main()
