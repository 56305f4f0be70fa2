"""Milliseconds to open a sandbox, run a command, take the patch, start over and grade, beside what others take.

python -m benchmarks.sandboxes [--quick] [--image NAME]. The others are `docker run` and `docker exec`, and the
environments `local` and `docker` of mini-swe-agent, run by the Python that $RFT_MINI_PYTHON names. Docker takes part
where a daemon answers and an image with bash and git is named here or in $RFT_BENCH_IMAGE. A row that cannot be
measured says why.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rft.environments.grading import Suite, grade, run
from rft.environments.kata import Kata
from rft.interfaces import Sandbox, SandboxProvider
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.sandboxes.container import Docker
from rft.sandboxes.local import Local
from rft.types import Task

COLUMNS = ("open", "command", "patch", "start over", "grade, not resolved", "grade, resolved")


def a_task() -> Task:
    """One whose slip lets every test end."""
    return next(t for t in Kata().tasks("train") if (t.meta["function"], t.meta["operator"]) == ("merge", "comparison"))


def milliseconds(work: Callable[[], object], times: int) -> str:
    """Median and best."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return told(took)


def told(took: list[float]) -> str:
    """Median and best."""
    return f"{statistics.median(took):.1f} / {min(took):.1f}"


def suite(task: Task, provider: SandboxProvider) -> Suite:
    """The task's tests, as unittest names them."""
    command = f"python -m unittest -v test_{task.meta['module']}"
    plan = Suite(command=command, parser="unittest", fail_to_pass=[], pass_to_pass=[], timeout=20)
    start = Kata().start_state(task)
    before, after = (run(task.id, start, patch, plan, provider) for patch in ("", task.gold_patch))
    good = [name for name, status in after.items() if status == "passed"]
    broken = [name for name in good if before.get(name) != "passed"]
    return Suite(
        command=command,
        parser="unittest",
        fail_to_pass=broken,
        pass_to_pass=[name for name in good if name not in broken],
        timeout=20,
    )


def ours(provider: SandboxProvider, task: Task, times: int) -> list[str]:
    """A row of the table. To start over is to close a sandbox and open the next."""
    start, plan = Kata().start_state(task), suite(task, provider)
    with closing(provider.open(start)) as sandbox:
        commands = milliseconds(lambda: sandbox.run("true"), times * 3)
        sandbox.run("echo '# more' >> README.md")
        patches = milliseconds(sandbox.diff, times)
    opened: list[Sandbox] = []

    def reopen() -> None:
        if opened:
            opened.pop().close()
        opened.append(provider.open(start))

    first = milliseconds(lambda: opened.append(provider.open(start)), times)
    while len(opened) > 1:
        opened.pop().close()
    again = milliseconds(reopen, times)
    opened.pop().close()
    assert grade(task.id, start, task.gold_patch, plan, provider).resolved
    grades = [
        milliseconds(lambda patch=patch: grade(task.id, start, patch, plan, provider), times)  # type: ignore[misc]
        for patch in ("", task.gold_patch)
    ]
    return [first, commands, patches, again, *grades]


@contextmanager
def container(image: str) -> Iterator[str]:
    """A plain container that waits."""
    made = ["docker", "run", "-d", "--rm", "--network=none", "--entrypoint=sleep", image, "600"]
    name = subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)


def plain_docker(image: str, times: int) -> list[str]:
    """What `docker` takes by itself: a container for each command, and a command in one that waits."""
    once = ["docker", "run", "--rm", "--network=none", "--entrypoint=bash", image, "-c", "true"]
    opened = milliseconds(lambda: subprocess.run(once, check=True, capture_output=True), times)
    with container(image) as name:
        inside = ["docker", "exec", name, "bash", "-c", "true"]
        commands = milliseconds(lambda: subprocess.run(inside, check=True, capture_output=True), times)
    return [opened, commands, "", "", "", ""]


def mini(python: str, image: str, times: int) -> Iterator[list[str]]:
    """The rows of mini-swe-agent's environments; the others' columns are ours alone."""
    script = Path(__file__).with_name("mini_environments.py")
    quiet = os.environ | {"MSWEA_SILENT_STARTUP": "1"}
    done = subprocess.run([python, script, str(times), image], check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    for name, took in json.loads(done.stdout.splitlines()[-1]).items():
        yield [f"mini-swe-agent {name}", told(took["open"]), told(took["command"]), "", "", "", ""]


def rows(image: str, times: int) -> Iterator[list[str]]:
    """Every row of the table; one of a name and a reason where there is nothing to measure."""
    task = a_task()
    providers: dict[str, SandboxProvider] = {"local": Local(), "bubblewrap": Bubblewrap()}
    no_docker = Docker().missing() or ("" if image else "no image is named (--image)")
    if not no_docker:
        providers["docker"] = Docker(image=image, pull=False)
    for name, provider in providers.items():
        why = provider.missing()
        yield [name, why] if why else [name, *ours(provider, task, times)]
    yield ["docker run, exec", *([no_docker] if no_docker else plain_docker(image, times))]
    if python := os.environ.get("RFT_MINI_PYTHON", ""):
        yield from mini(python, "" if no_docker else image, times)
    else:
        yield ["mini-swe-agent", "RFT_MINI_PYTHON names no Python that has it"]


def main() -> None:
    """Print one table."""
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    options.add_argument("--image", default=os.environ.get("RFT_BENCH_IMAGE", ""))
    given = options.parse_args()
    table = Table("sandbox", *COLUMNS, title="milliseconds, median / best")
    began = os.getloadavg()[0]
    for row in rows(given.image, 5 if given.quick else 20):
        table.add_row(*row)
    console = Console(width=150)
    console.print(table)
    load = f"load {began:.1f} before and {os.getloadavg()[0]:.1f} after"
    console.print(f"{os.cpu_count()} cores, Linux {os.uname().release}, {load}", highlight=False)


if __name__ == "__main__":
    main()
