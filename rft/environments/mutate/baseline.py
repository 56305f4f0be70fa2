"""What is known of a package before anything is broken: its steady tests, and which functions each of them calls."""

import contextlib
import math
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from rft.environments import grading, patches
from rft.errors import EnvironmentFault
from rft.interfaces import SandboxProvider, StartState
from rft.progress import progress, say
from rft.store import write_atomic

OBSERVER = Path(__file__).with_name("observer.py")
OBSERVED = ".rft_observed.json"
OBSERVED_BYTES = 256 << 20
SEEDS = (1, 2)
"""Hash seeds of the runs that a test must pass, besides the one that is observed."""
SLOW = 5.0
"""Tests that take more seconds than this are named to the user."""

T = TypeVar("T")

Place = tuple[str, int]
"""A function: its file, relative, and the line of its `def` or first decorator."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the package's tests as the observer saw it."""

    statuses: dict[str, str] = {}
    """Test to `passed`, `failed`, `error`, `skipped` or `xfailed`."""
    said: dict[str, str] = {}
    """Failing test to its message."""
    places: list[Place] = []
    """Functions that were called, where the run was traced."""
    touched: dict[str, list[int]] = {}
    """Test to the functions that it called, by their number in `places`, where the run was traced."""
    seconds: dict[str, float] = {}
    """Test to the CPU time that it took, where the run was traced."""
    problem: str = ""
    """Why nothing was seen: they `do not start` or `do not come to an end`."""
    printed: str = ""
    """What pytest printed then, or what ended it."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The clean package."""

    steady: frozenset[str]
    """Tests that passed in every run."""
    touching: dict[Place, list[str]]
    """Function to the steady tests that call it, in the order of the suite."""
    in_file: dict[str, list[str]]
    """Test file to its steady tests."""
    suspects: dict[str, frozenset[Place]]
    """Steady test to the functions of the package that it calls."""
    seconds: dict[str, float]
    """Test to the CPU time that it takes."""


def pytest(tests: str, *, seed: int | None = None, cpu: float | None = None) -> str:
    """The command that runs some tests, with a hash seed, in so many seconds of CPU time.

    Unlike time by the clock, CPU time hardly depends on what else a machine does. Tracebacks, which nobody reads, are
    left out: for a slip that breaks a hundred tests they take most of the time.
    """
    limit = f"ulimit -t {math.ceil(cpu)}; " if cpu is not None else ""
    hashes = f"PYTHONHASHSEED={seed} " if seed is not None else ""
    return f"{limit}{hashes}python -m pytest -q --tb=no -p no:cacheprovider {tests}"


def quoted(tests: list[str]) -> str:
    """Test ids as arguments, those of one parametrised function together."""
    return " ".join(shlex.quote(name) for name in dict.fromkeys(test.split("[")[0] for test in tests))


def measure(
    where: str, start: StartState, tests: str, sandboxes: SandboxProvider, folder: Path, *, timeout: float, workers: int
) -> Baseline:
    """Run the clean package's tests a few times; each run is kept in `folder`. Raises EnvironmentFault."""

    def observed() -> Observed:
        seen = observe(start, pytest(tests), sandboxes, is_traced=True, timeout=timeout)
        if seen.problem:
            raise EnvironmentFault(f"{where}: its tests {seen.problem}: {seen.printed}")
        return seen

    def statuses(seed: int) -> dict[str, str]:
        suite = grading.Suite(
            command=pytest(tests, seed=seed), parser="pytest", fail_to_pass=[], pass_to_pass=[], timeout=timeout
        )
        return grading.run(where, start, "", suite, sandboxes)

    title = f"clean runs of {where}"
    with ThreadPoolExecutor(workers) as pool, progress(title, 1 + len(SEEDS)) as advance:
        seen = pool.submit(_kept, folder / "observed.json", observed, Observed)
        runs = [
            pool.submit(_kept, folder / f"clean_{seed}.json", lambda seed=seed: statuses(seed), dict[str, str])
            for seed in SEEDS
        ]
        for run in runs:
            run.result()
            advance("")
        known = _baseline(where, seen.result(), [run.result() for run in runs])
        advance("")
    if slow := sorted((test for test in known.seconds if known.seconds[test] > SLOW), key=known.seconds.__getitem__):
        named = ", ".join(f"{test} ({known.seconds[test]:.0f} s)" for test in slow[::-1][:3])
        say(f"{where}: slow tests make slow tasks; environment.tests takes pytest's --deselect for them: {named}")
    return known


def _kept(path: Path, make: Callable[[], T], kind: type[T]) -> T:
    """What `make` gives, made once and kept in a file."""
    if not path.is_file():
        write_atomic(path, msgspec.json.encode(make()))
    return msgspec.json.decode(path.read_bytes(), type=kind)


def _baseline(where: str, seen: Observed, runs: list[dict[str, str]]) -> Baseline:
    every = [seen.statuses, *runs]
    steady = [name for name in seen.touched if all(run.get(name) == "passed" for run in every)]
    if not steady:
        raise EnvironmentFault(f"{where}: none of its tests passes on the clean package; expected a suite that does.")
    touching: dict[Place, list[str]] = defaultdict(list)
    in_file: dict[str, list[str]] = defaultdict(list)
    suspects = {}
    for name in steady:
        in_file[name.split("::")[0]].append(name)
        own = [seen.places[number] for number in seen.touched[name]]
        suspects[name] = frozenset(place for place in own if not patches.matches(place[0], grading.PROTECTED))
        for place in suspects[name]:
            touching[place].append(name)
    return Baseline(
        steady=frozenset(steady),
        touching=dict(touching),
        in_file=dict(in_file),
        suspects=suspects,
        seconds={name: seen.seconds[name] for name in steady},
    )


def observe(
    start: StartState,
    command: str,
    sandboxes: SandboxProvider,
    *,
    changes: Mapping[str, bytes] = MappingProxyType({}),
    is_traced: bool = False,
    timeout: float,
) -> Observed:
    """What the observer saw of one run of the package, with `changes` of its files. Raises SandboxError."""
    with contextlib.closing(sandboxes.open(start)) as sandbox:
        sandbox.write(".rft/rft_observer.py", OBSERVER.read_bytes())
        for path, content in changes.items():
            sandbox.write(path, content)
        variables = {"RFT_TRACE": str(int(is_traced)), "PYTHONPATH": ".rft"}
        done = sandbox.run(f"{command} -p rft_observer", timeout=timeout, variables=variables)
        try:
            return msgspec.json.decode(sandbox.read(OBSERVED, limit=OBSERVED_BYTES), type=Observed)
        except (FileNotFoundError, msgspec.DecodeError):
            if done.killed:
                return Observed(problem="do not come to an end", printed=f"ended by {done.killed}")
            return Observed(problem="do not start", printed=done.output.strip()[-300:])
