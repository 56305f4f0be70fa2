"""Bug tasks verified a minute on a real package: `python -m benchmarks.mutate [--quick]`. Fetches more-itertools once.

The package, its environment and its baseline are made before the clock starts; every mutation is tried anew.
"""

import argparse
import time
from collections import Counter

from rich.console import Console
from rich.table import Table

from rft.environments import trying
from rft.environments.mutate import Mutate
from rft.plugins import build
from rft.recipe import load
from rft.store import Records


def main() -> None:
    """Make tasks with two workers, and print the rate and why mutations were dropped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    options = {**load("mutate").environment, "count": 5 if quick else 30}
    environment: Mutate = build("environment", options, "environment")
    candidates = environment.candidates()
    folder = environment.folder() / "benchmark"
    for file in folder.glob("*.jsonl"):
        file.unlink()
    began = time.monotonic()
    tasks = list(trying.tasks(folder, lambda: candidates, environment.count, workers=2, title="tasks"))
    minutes = (time.monotonic() - began) / 60
    tried = list(Records(folder / trying.TRIED, trying.Tried))
    table = Table("mutations tried a minute", "tasks verified a minute", "tried", "kept")
    table.add_row(f"{len(tried) / minutes:.1f}", f"{len(tasks) / minutes:.1f}", str(len(tried)), str(len(tasks)))
    console = Console()
    console.print(table)
    console.print(dict(Counter(record.why or "good" for record in tried)))


if __name__ == "__main__":
    main()
