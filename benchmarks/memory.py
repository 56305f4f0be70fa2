"""Peak memory of each stage's driver at few and at many records: it must not grow with them.

python -m benchmarks.memory [--quick]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rft import recipe as recipes
from rft.recipe import Recipe
from rft.rundir import Run

SAMPLES = 8
STEPS = 6
STAGES = ("collect", "score", "select", "train", "evaluate")


def make(folder: Path, records: int) -> Recipe:
    """A run over attempts that cost nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    turns = ["```bash\npython check.py merge\n```"] * (STEPS - 1) + ["```bash\nsubmit\n```"]
    script = folder / "script.json"
    script.write_text(json.dumps({"default": turns}))
    path = folder / "recipe.yaml"
    path.write_text(
        f"""
name: memory
runs: {folder}
policy: {{model: {folder / "model"}, inference: {{use: scripted, path: {script}}}}}
environment: {{use: "benchmarks.fakes:NullEnvironment", count: {records // SAMPLES}}}
sandbox: {{use: "benchmarks.fakes:NullSandboxes"}}
collect: {{samples: {SAMPLES}, pool: {{use: threads, concurrency: 8}}}}
select: {{rules: [{{use: resolved}}]}}
train: {{trl: {{max_steps: 2}}}}
evaluate: {{splits: [heldout], samples: {SAMPLES}}}
"""
    )
    return recipes.load(str(path))


def one(folder: Path, records: int, stage: str) -> None:
    """Run one stage in this process and print its peak memory in MB, trainer processes apart."""
    import importlib

    recipe = make(folder, records)
    run = Run(recipe)
    importlib.import_module(f"rft.{stage}").run(recipe, run, 1)
    trainer = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss if stage == "train" else 0
    # The peak of this program alone: ru_maxrss would also remember the process that started it.
    status = Path("/proc/self/status").read_text()
    own = int(status.split("VmHWM:")[1].split()[0])
    print(max(own, trainer) // 1024)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "RECORDS", "STAGE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(Path(options.one[0]), int(options.one[1]), options.one[2])
        return
    sizes = (80, 400) if options.quick else (1_000, 50_000)
    peaks: dict[str, list[int]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as temporary:
        for size in sizes:
            folder = Path(temporary) / str(size)
            make(folder, size)
            fresh_model(folder / "model")
            for stage in STAGES:
                command = [sys.executable, "-m", "benchmarks.memory", "--one", str(folder), str(size), stage]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                peaks[stage].append(int(done.stdout.split()[-1]))
    table = Table("stage", *(f"MB at {size:,} records" for size in sizes), "ratio", title="peak memory")
    for stage, (few, many) in peaks.items():
        table.add_row(stage, str(few), str(many), f"{many / few:.2f}")
    Console().print(table)


def fresh_model(path: Path) -> None:
    """The smallest policy, so that what is measured is the records."""
    from rft.inference.fresh import TinyQwen3

    maker = TinyQwen3(vocab_size=300, hidden_size=16, layers=1, heads=1, kv_heads=1, intermediate_size=16)
    maker.make(path, ["python check.py merge submit bash"], 0)


if __name__ == "__main__":
    main()
