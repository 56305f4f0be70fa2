"""Every measurement, one after the other: `python -m benchmarks [--quick]`."""

import subprocess
import sys

for name in (
    "collector",
    "workers",
    "sandboxes",
    "inference",
    "judging",
    "judge_local",
    "recorder",
    "training",
    "mutate",
    "memory",
):
    print(f"== {name}", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)
