"""Makes `tasks.jsonl` from the shipped packages: `python -m rft.environments.kata.make`. The same bytes every time."""

import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rft.environments import patches
from rft.environments.kata import TASKS, grading, repository
from rft.environments.kata.mutate import Mutation, mutations
from rft.errors import EnvironmentFault
from rft.store import digest, encode_line, write_atomic
from rft.types import Execution, Task

PER_FUNCTION = 12
"""The most tasks of one function."""
MOST_DROPPED_LINES = 1
"""The most tasks of one function that want a whole line written."""
HELDOUT_SHARE = 0.18
"""The share of a function's tasks that are kept out of training."""
LEAST_TRAIN = 5
HELDOUT_FUNCTIONS = {
    "shared",
    "squeeze",
    "covered",
    "add_tax",
    "transpose",
    "month_days",
    "rotate",
    "unquote",
    "blend",
    "duration",
    "moving_sum",
}
"""Functions of which no task is in training, from different modules."""


def main() -> None:
    """Make, check and write all tasks, and say what they are."""
    modules = repository.modules()
    tasks: list[Task] = []
    for module in modules:
        tasks += make_tasks(module)
        print(f"{module:9} {len(tasks):4} tasks", file=sys.stderr, flush=True)
    write_atomic(TASKS, b"".join(encode_line(task) for task in tasks))
    print(f"{len(tasks)} tasks of {len({(t.repository, t.meta['function']) for t in tasks})} functions in {TASKS}")
    for kind in ("split", "operator"):
        counts = Counter(task.split if kind == "split" else task.meta["operator"] for task in tasks)
        print(f"{kind}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))


def make_tasks(module: str, functions: Iterable[str] | None = None) -> list[Task]:
    """The tasks of a module, or of some of its functions, every one of them checked by running its tests."""
    source = repository.clean_source(module)
    clean = measure(module, source)
    if set(clean.values()) != {"passed"}:
        raise EnvironmentFault(f"{module}: its clean source does not pass its own tests: {clean}.")
    wanted = [m for m in mutations(source) if functions is None or m.function in functions]
    with ThreadPoolExecutor(2) as pool:
        measured = list(pool.map(lambda m: measure(module, m.apply(source)), wanted))
    by_function: dict[str, list[tuple[Mutation, dict[str, str]]]] = defaultdict(list)
    for mutation, tests in zip(wanted, measured, strict=True):
        if is_good(mutation.function, tests):
            by_function[mutation.function].append((mutation, tests))
    tasks = []
    for function, candidates in by_function.items():
        chosen = choose(candidates, seed=f"{module}.{function}")
        for (mutation, tests), split in zip(chosen, splits(chosen, function), strict=True):
            tasks.append(task_of(module, mutation, tests, split))
    return tasks


def measure(module: str, source: str) -> dict[str, str]:
    """Status by test of a source of our own, run in a temporary folder; empty when it cannot be run to its end."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in repository.files(module, source).items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-"],
                cwd=folder,
                input=grading.script("report", module),
                capture_output=True,
                text=True,
                timeout=60,
            )
        except subprocess.TimeoutExpired:
            return {}
    return grading.statuses(Execution(output=done.stdout, exit_code=done.returncode), "report", [], module)


def is_good(function: str, tests: dict[str, str]) -> bool:
    """Does the slip break a test of its own function, and leave another test whole?"""
    own = [status for name, status in tests.items() if name.split(".")[0] == case_of(function)]
    return any(status != "passed" for status in own) and "passed" in tests.values()


def case_of(function: str) -> str:
    """The test case of a function: `MergeTest` for `merge`."""
    return "".join(word.title() for word in function.split("_")) + "Test"


def choose(candidates: list[tuple[Mutation, dict[str, str]]], *, seed: str) -> list[tuple[Mutation, dict[str, str]]]:
    """At most PER_FUNCTION of them, drawn so that rare kinds of slips come first, in the order of the lines."""
    draw = random.Random(seed)
    shuffled = draw.sample(candidates, len(candidates))
    seen: Counter[str] = Counter()
    ranked = []
    for position, (mutation, tests) in enumerate(shuffled):
        if mutation.operator == "dropped line" and seen[mutation.operator] == MOST_DROPPED_LINES:
            continue
        ranked.append((seen[mutation.operator], position, mutation, tests))
        seen[mutation.operator] += 1
    kept = sorted(ranked, key=lambda entry: entry[:2])[:PER_FUNCTION]
    return [(mutation, tests) for _, _, mutation, tests in sorted(kept, key=lambda entry: (entry[2].line, entry[1]))]


def splits(chosen: list[tuple[Mutation, dict[str, str]]], function: str) -> list[str]:
    """The split of each, by seed: a whole function goes to one side, or a share of its slips does."""
    if function in HELDOUT_FUNCTIONS:
        return ["heldout_functions"] * len(chosen)
    count = max(0, min(round(len(chosen) * HELDOUT_SHARE), len(chosen) - LEAST_TRAIN))
    held = set(random.Random(f"heldout.{function}").sample(range(len(chosen)), count))
    return ["heldout" if index in held else "train" for index in range(len(chosen))]


def task_of(module: str, mutation: Mutation, tests: dict[str, str], split: str) -> Task:
    """The record of a checked slip."""
    file = f"{module}.py"
    source = repository.clean_source(module)
    broken = sorted(name for name, status in tests.items() if status != "passed")
    told = next(name for name in broken if name.startswith(case_of(mutation.function) + "."))
    identity = digest([module, mutation.line, mutation.before, mutation.after])[:8]
    return Task(
        id=f"{module}-{mutation.function}-{identity}",
        statement=f"`{mutation.function}` in {file} is wrong: {told.split('.')[1]} fails.",
        split=split,
        repository=module,
        fail_to_pass=broken,
        pass_to_pass=sorted(name for name, status in tests.items() if status == "passed"),
        gold_patch=patches.make(file, mutation.apply(source), source),
        meta={
            "module": module,
            "function": mutation.function,
            "file": file,
            "line": mutation.line,
            "operator": mutation.operator,
            "before": mutation.before,
            "after": mutation.after,
        },
    )


if __name__ == "__main__":
    main()
