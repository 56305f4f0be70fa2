"""Bug tasks from a package: slips are tried by running the tests that call the broken function."""

import functools
import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rft.environments import grading, patches
from rft.environments.mutate import mutators
from rft.environments.mutate.baseline import Baseline, observe, pytest, quoted
from rft.environments.mutate.mutators import Edit, Function
from rft.environments.mutate.statement import statement
from rft.environments.trying import Candidate, Tried
from rft.errors import EnvironmentFault
from rft.interfaces import SandboxProvider, StartState
from rft.store import digest
from rft.types import Task

HELDOUT_FUNCTIONS, HELDOUT = 0.1, 0.15
"""Shares of the functions, and of the mutations of the others, that are kept out of training."""
BYSTANDERS = 5
"""Tests of the same files that do not call the function; they must go on passing as well."""
MOST_TESTS = 150
"""A function that more tests call than this is left alone: a slip there breaks nearly everything."""
CPU, SLACK = 5.0, 5.0
"""A mutation's tests may take CPU seconds, and SLACK times what they take on the clean package: a slip that makes a
loop endless is then told from a busy machine."""
COMBINED = 0.25
"""Combinations of two or three slips in one function, as a share of its single ones."""
EASY, HARD = 3, 12
"""Functions that all failing tests have in common: up to EASY of them is easy, more than HARD is hard."""


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """Slips in one function."""

    file: str
    function: Function
    edits: tuple[Edit, ...]

    @property
    def id(self) -> str:
        """The same for the same slips."""
        return digest([self.file, self.function.name, [(e.line, e.start, e.before, e.after) for e in self.edits]])[:12]

    @property
    def operator(self) -> str:
        """The kinds of slips, each once."""
        return " + ".join(sorted({edit.operator for edit in self.edits}))


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Tries the mutations of one package."""

    package: str
    """Its name, for ids and statements."""
    start: StartState
    """The clean package."""
    baseline: Baseline
    sandboxes: SandboxProvider
    seed: int
    timeout: float
    """Seconds that the tests of one mutation may take."""

    def candidates(self) -> list[Candidate]:
        """Every mutation that tests could tell, in the order in which they are tried."""
        return [(m.id, functools.partial(self.attempt, m)) for m in _interleaved(self._functions(), self.seed)]

    def attempt(self, mutation: Mutation) -> Tried:
        """Run the tests that call the function, with the mutation; once more, as a grader does, when it looks good.

        Raises SandboxError, and EnvironmentFault when the tests cannot be run at all.
        """
        source = self._source(mutation.file)
        broken = mutators.apply(source, mutation.edits)
        try:
            compile(broken, mutation.file, "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return Tried(id=mutation.id, why="it is no Python")
        tests = self._tests(mutation)
        cpu = CPU + SLACK * sum(self.baseline.seconds[test] for test in tests)
        seen = observe(
            self.start,
            pytest(quoted(tests), seed=2, cpu=cpu),
            self.sandboxes,
            changes={mutation.file: broken.encode()},
            timeout=self.timeout,
        )
        if seen.problem:
            return Tried(id=mutation.id, why=f"the tests {seen.problem}", more=seen.printed)
        first = self._steady(seen.statuses)
        if not _is_telling(first):
            return Tried(id=mutation.id, why="no test breaks" if "passed" in first.values() else "no test passes")
        suite = grading.Suite(
            command=pytest(quoted(tests), seed=1, cpu=cpu),
            parser="pytest",
            fail_to_pass=[],
            pass_to_pass=tests,
            protected=(),
            timeout=self.timeout,
        )
        bug = patches.make(mutation.file, source, broken)
        second = self._steady(grading.run(mutation.id, self.start, bug, suite, self.sandboxes))
        told = {name: status for name, status in first.items() if second.get(name) == status}
        if not _is_telling(told):
            return Tried(id=mutation.id, why="the tests do not say the same twice")
        return Tried(id=mutation.id, task=self._task(mutation, source, broken, told, seen.said, pytest(quoted(tests))))

    def _functions(self) -> Iterator[tuple[str, Function]]:
        lines = {place for place, tests in self.baseline.touching.items() if len(tests) <= MOST_TESTS}
        for file in sorted({file for file, _ in lines if file.endswith(".py")}):
            called = {line for place, line in lines if place == file}
            try:
                found = mutators.functions(self._source(file))
            except (ValueError, EnvironmentFault):
                continue
            yield from ((file, function) for function in found if self._own(function, called))

    @staticmethod
    def _own(function: Function, called: set[int]) -> bool:
        return any(function.first <= line <= function.last for line in called)

    def _source(self, file: str) -> str:
        try:
            return Path(self.start.path or "", file).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentFault(f"{file}: cannot be read ({error}).") from None

    def _tests(self, mutation: Mutation) -> list[str]:
        """The steady tests that call the function, and a few bystanders."""
        inside = [
            tests
            for (file, line), tests in self.baseline.touching.items()
            if file == mutation.file and mutation.function.first <= line <= mutation.function.last
        ]
        calling = {test for tests in inside for test in tests}
        files = {test.split("::")[0] for test in calling}
        others = sorted(test for file in files for test in self.baseline.in_file[file] if test not in calling)
        draw = random.Random(f"{self.seed}/{mutation.id}")
        return [*sorted(calling), *draw.sample(others, min(BYSTANDERS, len(others)))]

    def _steady(self, statuses: dict[str, str]) -> dict[str, str]:
        """Of the steady tests, those that passed or broke."""
        return {
            name: status
            for name, status in statuses.items()
            if name in self.baseline.steady and status in ("passed", "failed", "error")
        }

    def _task(
        self, mutation: Mutation, source: str, broken: str, told: dict[str, str], said: dict[str, str], command: str
    ) -> Task:
        failing = sorted(name for name, status in told.items() if status != "passed")
        common = frozenset.intersection(*(self.baseline.suspects[name] for name in failing))
        return Task(
            id=f"{self.package}-{mutation.function.name.split('.')[-1]}-{mutation.id}",
            statement=statement(self.package, said, failing),
            split=self._split(mutation),
            repository=self.package,
            fail_to_pass=failing,
            pass_to_pass=sorted(name for name, status in told.items() if status == "passed"),
            gold_patch=patches.make(mutation.file, broken, source),
            meta={
                "command": command,
                "parser": "pytest",
                "bug": patches.make(mutation.file, source, broken),
                "where": f"{mutation.file}:{mutation.function.name}",
                "function": mutation.function.name,
                "file": mutation.file,
                "line": mutation.edits[0].line,
                "operator": mutation.operator,
                "sites": len(mutation.edits),
                "suspects": len(common),
                "difficulty": difficulty(len(common), len(mutation.edits)),
            },
        )

    def _split(self, mutation: Mutation) -> str:
        if _share(f"{self.seed}/{mutation.file}/{mutation.function.name}") < HELDOUT_FUNCTIONS:
            return "heldout_functions"
        return "heldout" if _share(f"{self.seed}/{mutation.id}") < HELDOUT else "train"


def difficulty(suspects: int, sites: int) -> str:
    """`easy`, `medium` or `hard`, from how many functions could be to blame and how many places are wrong."""
    if suspects <= EASY and sites == 1:
        return "easy"
    return "hard" if suspects > HARD or sites > 2 else "medium"


def _is_telling(statuses: dict[str, str]) -> bool:
    """Does a test break, and another hold?"""
    return "passed" in statuses.values() and any(status != "passed" for status in statuses.values())


def _share(text: str) -> float:
    """A number in [0, 1) that follows from the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / (1 << 48)


def _interleaved(functions: Iterator[tuple[str, Function]], seed: int) -> list[Mutation]:
    """Mutations so that every function has its turn, rare kinds first within each: one after another, drawn by seed."""
    turns: list[tuple[int, float, Mutation]] = []
    for file, function in functions:
        for turn, mutation in enumerate(_mutations(file, function, seed)):
            turns.append((turn, _share(f"order/{seed}/{mutation.id}"), mutation))
    return [mutation for _, _, mutation in sorted(turns, key=lambda entry: entry[:2])]


def _mutations(file: str, function: Function, seed: int) -> list[Mutation]:
    """The mutations of a function: each kind of slip in turn, combinations among them."""
    draw = random.Random(f"{seed}/{file}/{function.name}")
    kinds: dict[str, list[Mutation]] = {}
    for edits in [*((edit,) for edit in function.edits), *_combinations(function.edits, draw)]:
        mutation = Mutation(file=file, function=function, edits=edits)
        kinds.setdefault(mutation.operator if len(edits) == 1 else "combined", []).append(mutation)
    for found in kinds.values():
        draw.shuffle(found)
    order = sorted(kinds, key=lambda kind: (len(kinds[kind]), kind))
    most = max(map(len, kinds.values()), default=0)
    return [kinds[kind][turn] for turn in range(most) for kind in order if turn < len(kinds[kind])]


def _combinations(edits: Sequence[Edit], draw: random.Random) -> list[tuple[Edit, ...]]:
    """Some sets of two or three slips that do not overlap."""
    found: set[tuple[Edit, ...]] = set()
    for _ in range(round(COMBINED * len(edits))):
        drawn = tuple(sorted(draw.sample(edits, min(len(edits), draw.choice((2, 2, 3))))))
        if len(drawn) > 1 and not mutators.overlap(drawn):
            found.add(drawn)
    return sorted(found)
