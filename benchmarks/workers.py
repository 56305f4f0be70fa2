"""Attempts per second with 1, 2 and 4 Ray workers, a model that takes 50 ms and sandboxes that cost nothing.

python -m benchmarks.workers [--quick]
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.collector import LATENCY, recipe
from rft.collect.stage import owed_attempts
from rft.collect.worker import Plan, lost
from rft.environments.kata import Kata
from rft.pools.ray import Ray
from rft.store import Records
from rft.types import Trajectory

CONCURRENCY = 8
TURNS = 6


def rate(folder: Path, workers: int, seconds: float) -> float:
    """Attempts per second that are made and stored, from the time when all places are taken."""
    wide = workers * CONCURRENCY
    script = folder / "script.json"
    script.write_text(json.dumps({"default": ["```bash\nls\n```"] * (TURNS - 1) + ["```bash\nsubmit\n```"]}))
    made = recipe(
        str(folder),
        CONCURRENCY,
        script,
        LATENCY,
        environment={"use": "benchmarks.fakes:NullEnvironment"},
        sandbox={"use": "benchmarks.fakes:NullSandboxes"},
    )
    plan = Plan(recipe=made, model="none", inference=made.policy.inference, who="none")
    tasks = list(Kata().tasks("train"))[:8]
    owed = owed_attempts(tasks, 2 + int((2 + seconds) * wide / (TURNS * LATENCY) / len(tasks)), 1, seed="")
    pool = Ray(workers=workers, concurrency=CONCURRENCY, cpus=0.5)
    warm = 2 * wide
    began = 0.0
    with Records(folder / f"{workers}.jsonl", Trajectory).writer() as append:
        for count, record in enumerate(pool.run(plan.make_worker, owed, lost)):
            append(record)
            if count == warm:
                began = time.monotonic()
    return (len(owed) - 1 - warm) / (time.monotonic() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    options = parser.parse_args()
    table = Table(
        "Ray workers", "attempts/s", "times one worker", "of what the model allows", title="collection by Ray"
    )
    rates: list[float] = []
    for workers in (1, 2) if options.quick else (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            rates.append(rate(Path(folder), workers, 1.0 if options.quick else 10.0))
        allowed = workers * CONCURRENCY / (TURNS * LATENCY)
        table.add_row(str(workers), f"{rates[-1]:.1f}", f"{rates[-1] / rates[0]:.2f}", f"{rates[-1] / allowed:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
