"""Milliseconds to open a sandbox, run a command, take the patch, start over and grade, beside `docker run` and `exec`.

python -m benchmarks.sandboxes [--quick] [--image NAME]: docker takes part where a daemon answers and an image is named.
"""

import argparse
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

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


def main() -> None:
    """Print one table."""
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    options.add_argument("--image", default="")
    given = options.parse_args()
    times = 5 if given.quick else 20
    task = a_task()
    table = Table("sandbox", *COLUMNS, title="milliseconds, median / best")
    providers: dict[str, SandboxProvider] = {"local": Local(), "bubblewrap": Bubblewrap()}
    if given.image:
        providers["docker"] = Docker(image=given.image, pull=False)
    for name, provider in providers.items():
        if why := provider.missing():
            table.add_row(name, why)
            continue
        table.add_row(name, *ours(provider, task, times))
    if given.image and not providers["docker"].missing():
        table.add_row("docker run, exec", *plain_docker(given.image, times))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
