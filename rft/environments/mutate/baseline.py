"""What is known of a package before anything is broken: its steady tests, and which functions each of them calls."""

import contextlib
import json
import shlex
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rft.environments import grading, patches
from rft.errors import EnvironmentFault
from rft.interfaces import Sandbox, SandboxProvider, StartState
from rft.progress import say
from rft.store import write_atomic

OBSERVER = Path(__file__).with_name("observer.py")
OBSERVED = ".rft_observed.json"
OBSERVED_BYTES = 256 << 20
SEEDS = (1, 2)
"""Hash seeds of the runs that a test must pass, besides the one that is observed."""

Place = tuple[str, int]
"""A function: its file, relative, and the line of its `def` or first decorator."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The clean package."""

    steady: frozenset[str]
    """Tests that passed in every run."""
    flaky: tuple[str, ...]
    """Tests that passed in some runs and not in others."""
    touching: dict[Place, list[str]]
    """Function to the steady tests that call it, in the order of the suite."""
    in_file: dict[str, list[str]]
    """Test file to its steady tests."""
    suspects: dict[str, frozenset[Place]]
    """Steady test to the functions of the package that it calls."""


def pytest(tests: str, *, seed: int | None = None) -> str:
    """The command that runs some tests."""
    return (f"PYTHONHASHSEED={seed} " if seed is not None else "") + f"python -m pytest -q -p no:cacheprovider {tests}"


def quoted(tests: list[str]) -> str:
    """Test ids as arguments, those of one parametrised function together."""
    return " ".join(shlex.quote(name) for name in dict.fromkeys(test.split("[")[0] for test in tests))


def measure(
    where: str, start: StartState, tests: str, sandboxes: SandboxProvider, folder: Path, timeout: float
) -> Baseline:
    """Run the clean package's tests a few times; what came of it is kept in `folder`. Raises EnvironmentFault."""
    path = folder / "baseline.json"
    if not path.is_file():
        say(f"{where}: running its tests {len(SEEDS) + 1} times, once; kept in {folder}")
        seen = observe(where, start, "", pytest(tests), sandboxes, trace=True, timeout=4 * timeout)
        runs = [grading.run(where, start, "", _suite(pytest(tests, seed=seed), timeout), sandboxes) for seed in SEEDS]
        write_atomic(path, json.dumps(seen | {"runs": runs}).encode())
    return _baseline(where, json.loads(path.read_bytes()))


def _suite(command: str, timeout: float) -> grading.Suite:
    return grading.Suite(command=command, parser="pytest", fail_to_pass=[], pass_to_pass=[], timeout=timeout)


def _baseline(where: str, seen: dict) -> Baseline:  # type: ignore[type-arg]
    names = list(seen["touched"])
    passes = {name: [run.get(name) == "passed" for run in seen["runs"]] + [name not in seen["said"]] for name in names}
    steady = [name for name in names if all(passes[name])]
    if not steady:
        raise EnvironmentFault(f"{where}: none of its tests passes on the clean package; expected a suite that does.")
    places = [(file, line) for file, line in seen["places"]]
    touching: dict[Place, list[str]] = defaultdict(list)
    in_file: dict[str, list[str]] = defaultdict(list)
    suspects = {}
    for name in steady:
        in_file[name.split("::")[0]].append(name)
        own = [places[number] for number in seen["touched"][name]]
        suspects[name] = frozenset(place for place in own if not patches.matches(place[0], grading.PROTECTED))
        for place in suspects[name]:
            touching[place].append(name)
    return Baseline(
        steady=frozenset(steady),
        flaky=tuple(name for name in names if any(passes[name]) and not all(passes[name])),
        touching=dict(touching),
        in_file=dict(in_file),
        suspects=suspects,
    )


def observe(
    where: str,
    start: StartState,
    patch: str,
    command: str,
    sandboxes: SandboxProvider,
    *,
    trace: bool = False,
    timeout: float,
) -> dict:  # type: ignore[type-arg]
    """What the observer saw of one run of the package, with `patch`. Raises EnvironmentFault when it saw nothing."""
    with contextlib.closing(sandboxes.open(start)) as sandbox:
        _prepare(sandbox, patch)
        done = sandbox.run(f"RFT_TRACE={int(trace)} PYTHONPATH=.rft {command} -p rft_observer", timeout=timeout)
        try:
            seen: dict = json.loads(sandbox.read(OBSERVED, limit=OBSERVED_BYTES))  # type: ignore[type-arg]
        except (FileNotFoundError, ValueError):
            words = "it took too long" if done.timed_out else done.killed or done.output.strip()[-300:]
            raise EnvironmentFault(f"{where}: its tests could not be observed: {words}") from None
    return seen


def _prepare(sandbox: Sandbox, patch: str) -> None:
    sandbox.write(".rft/rft_observer.py", OBSERVER.read_bytes())
    if patch:
        sandbox.write(".rft/patch", patch.encode("utf-8", "surrogateescape"))
        sandbox.run("git apply --whitespace=nowarn .rft/patch")
