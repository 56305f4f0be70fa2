"""The shipped tasks, their start states, and grading against real sandboxes."""

import random
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rft.environments.kata import SPLITS, TASKS, Kata, make, repository
from rft.environments.kata.mutate import Mutation
from rft.errors import EnvironmentFault, RecipeError, SandboxError
from rft.interfaces import Sandbox, SandboxProvider
from rft.sandboxes.local import Local
from rft.store import Records, digest_path
from rft.types import Execution, Outcome, Task

ALL = list(Records(TASKS, Task))
MERGE = next(t for t in ALL if t.meta["function"] == "merge" and t.meta["operator"] == "comparison")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


def patch_of(task: Task, command: str) -> str:
    """What is left of a command in the task's sandbox, as a patch."""
    sandbox = Local().open(Kata().start_state(task))
    try:
        assert sandbox.run(command).exit_code == 0
        return sandbox.diff()
    finally:
        sandbox.close()


def graded(task: Task, patch: str) -> Outcome:
    return Kata(grading_timeout=15).grade(task, patch, Local())


# --- the tasks ---


def test_there_are_enough_tasks_of_enough_kinds() -> None:
    functions = {(t.meta["module"], t.meta["function"]) for t in ALL}
    assert len(ALL) >= 400
    assert len(functions) >= 40
    assert len({module for module, _ in functions}) >= 10
    assert len({t.meta["operator"] for t in ALL}) >= 12


def test_every_package_is_shipped_and_has_tasks() -> None:
    assert {t.meta["module"] for t in ALL} == set(repository.modules())


def test_the_splits_keep_what_they_promise() -> None:
    by_split = {split: list(Kata().tasks(split)) for split in SPLITS}
    functions = {split: {(t.meta["module"], t.meta["function"]) for t in tasks} for split, tasks in by_split.items()}
    assert sum(map(len, by_split.values())) == len(ALL)
    assert functions["heldout"] <= functions["train"]
    assert not functions["heldout_functions"] & functions["train"]
    assert min(Counter(t.meta["function"] for t in by_split["train"]).values()) >= 5
    shares = [len(by_split[split]) / len(ALL) for split in SPLITS]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.03)


def test_no_two_tasks_are_the_same() -> None:
    assert len({t.id for t in ALL}) == len({t.gold_patch for t in ALL}) == len(ALL)


def test_statements_are_short_and_name_a_failing_test_and_not_the_fix() -> None:
    for task in ALL:
        assert len(task.statement) <= 70
        assert any(name.split(".")[1] in task.statement for name in task.fail_to_pass)
        assert task.meta["before"].strip() not in task.statement or not task.meta["before"]


def test_functions_are_short_enough_for_a_very_small_model() -> None:
    for module in repository.modules():
        assert max(map(len, repository.clean_source(module).splitlines())) <= 60
    for task in ALL:
        assert len(f"{task.meta['before']}{task.meta['after']}") <= 120


@pytest.mark.parametrize(("module", "function"), [("spans", "overlap"), ("grid", "trace"), ("days", "is_leap")])
def test_tasks_are_made_again_as_they_are_shipped(module: str, function: str) -> None:
    shipped = [t for t in ALL if (t.meta["module"], t.meta["function"]) == (module, function)]
    assert make.make_tasks(module, [function]) == shipped


@pytest.mark.slow
@pytest.mark.parametrize("module", repository.modules())
def test_every_task_is_made_again_as_it_is_shipped(module: str) -> None:
    assert make.make_tasks(module) == [t for t in ALL if t.meta["module"] == module]


def test_a_slip_that_no_test_notices_is_no_task() -> None:
    source = repository.clean_source("spans")
    before = "    merged = []"
    line = source.split("\n").index(before) + 1
    for after, is_good in [
        ("    merged = list()", False),
        ("    merged = [1]", True),
        ("    while spans: pass", False),
    ]:
        slip = Mutation(function="merge", operator="constant", line=line, before=before, after=after)
        assert make.is_good("merge", make.measure("spans", slip.apply(source))) is is_good


def test_unknown_splits_and_modules_are_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'heldout'"):
        Kata().tasks("held_out")
    with pytest.raises(RecipeError, match="Did you mean 'spans'"):
        Kata(modules=["span"])
    with pytest.raises(RecipeError, match="grading_timeout"):
        Kata(grading_timeout=0)


def test_modules_restrict_the_tasks() -> None:
    assert {t.meta["module"] for t in Kata(modules=["spans", "clock"]).tasks("train")} == {"spans", "clock"}


# --- start states ---


def test_a_start_state_is_one_commit_that_is_the_same_for_everyone(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def head(place: Path) -> str:
        shown = subprocess.run(
            ["git", "log", "--all", "--format=%H"], cwd=place, capture_output=True, text=True, check=True
        )
        return shown.stdout

    first = Kata().start_state(MERGE).path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "someone else")
    second = Kata().start_state(MERGE).path
    assert first != second
    assert head(first) == head(second)
    assert head(first).count("\n") == 1
    status = subprocess.run(["git", "status", "--porcelain"], cwd=first, capture_output=True, text=True, check=True)
    assert status.stdout == ""
    assert MERGE.meta["after"] in (first / "spans.py").read_text()


def test_many_who_ask_at_once_get_one_whole_start_state(own_cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        places = set(pool.map(repository.start_state, [MERGE] * 8))
    [place] = places
    assert sorted(p.name for p in place.iterdir()) == [
        ".git",
        ".gitignore",
        "README.md",
        "check.py",
        "spans.py",
        "test_spans.py",
    ]
    assert [p for p in place.parent.iterdir() if p.is_dir() and p != place] == []


def test_a_start_state_is_made_once() -> None:
    place = Kata().start_state(MERGE).path
    before = digest_path(place), place.stat().st_mtime_ns
    assert Kata().start_state(MERGE).path == place
    assert (digest_path(place), place.stat().st_mtime_ns) == before


@pytest.mark.parametrize("meta", [{}, {"module": "../spans"}, {"module": "spans"}, MERGE.meta | {"line": 1}])
def test_a_task_that_is_not_of_kata_has_no_start_state(meta: dict[str, object]) -> None:
    strange = Task(id="x", statement="", split="train", repository="spans", meta=meta)
    with pytest.raises(EnvironmentFault, match=r"expected|Make the tasks again"):
        Kata().start_state(strange)


# --- grading ---


@pytest.mark.parametrize("task", random.Random(7).sample(ALL, 6), ids=lambda t: t.id)
def test_gold_resolves_and_nothing_does_not(task: Task) -> None:
    outcome = graded(task, task.gold_patch)
    assert outcome.resolved is True
    assert set(outcome.tests) == {*task.fail_to_pass, *task.pass_to_pass}
    assert outcome.files_changed == 1
    assert outcome.lines_added + outcome.lines_removed in (1, 2)
    idle = graded(task, patch_of(task, "echo text > notes.txt"))
    assert idle.resolved is False
    assert idle.tests == graded(task, "").tests | {name: idle.tests[name] for name in task.fail_to_pass}
    assert all(idle.tests[name] in ("failed", "error") for name in task.fail_to_pass)


@pytest.mark.slow
@pytest.mark.parametrize("task", ALL, ids=lambda t: t.id)
def test_every_gold_resolves_and_every_task_starts_broken(task: Task) -> None:
    assert graded(task, task.gold_patch).resolved is True
    assert graded(task, patch_of(task, "echo text > notes.txt")).resolved is False


def test_a_changed_test_file_is_told_and_not_graded() -> None:
    patch = patch_of(MERGE, "printf '' > test_spans.py; rm check.py; echo 1 > conftest.py; mkdir a; echo 1 > a/x.pth")
    outcome = graded(MERGE, patch)
    assert outcome.resolved is False
    assert outcome.tampered == ["a/x.pth", "check.py", "conftest.py", "test_spans.py"]
    assert outcome.files_changed == 4


def test_a_good_fix_beside_a_changed_test_file_is_resolved_and_told() -> None:
    patch = patch_of(MERGE, "echo '# more' >> test_spans.py; echo > test_mine.py") + MERGE.gold_patch
    outcome = graded(MERGE, patch)
    assert outcome.resolved is True
    assert (outcome.tampered, outcome.new_tests) == (["test_spans.py"], ["test_mine.py"])


@pytest.mark.parametrize(
    "command",
    [
        "mkdir test_spans && echo 'import os; os._exit(0)' > test_spans/__init__.py",
        "git mv test_spans.py spans_test.py; touch test_spans.py",
        "rm test_spans.py; mkdir test_spans.py; echo 1 > test_spans.py/x.py",
        "echo 'raise SystemExit(0)' > sitecustomize.py; echo 'class TestCase: pass' > unittest.py",
    ],
)
def test_tests_are_not_put_out_of_the_way(command: str) -> None:
    assert graded(MERGE, patch_of(MERGE, command)).resolved is False
    assert graded(MERGE, patch_of(MERGE, command) + MERGE.gold_patch).resolved is True


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("def merge(:", "error"),
        ("raise SystemExit(0)", "error"),
        ("import os; os._exit(0)", "missing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "missing"),
        ("while True: pass", "error"),
        ("import time; time.sleep(60)", "error"),
        ("x = 1", "error"),
        ("print('passed MergeTest.test_touching\\n' * 99); print('0' * 10**6); import os; os._exit(0)", "missing"),
    ],
)
def test_a_source_that_breaks_its_tests_is_unresolved(source: str, status: str) -> None:
    sandbox_patch = patch_of(MERGE, f"cat > spans.py <<'EOF'\n{source}\nEOF")
    outcome = Kata(grading_timeout=3).grade(MERGE, sandbox_patch, Local())
    assert outcome.resolved is False
    assert set(outcome.tests.values()) == {status}
    assert set(outcome.tests) == {*MERGE.fail_to_pass, *MERGE.pass_to_pass}


def test_noise_of_the_source_hides_no_result() -> None:
    noise = patch_of(MERGE, """cat >> spans.py <<'EOF'\nprint("x" * 10**6, end="")\nEOF""")
    assert graded(MERGE, noise + MERGE.gold_patch).resolved is True


class Stub:
    """A sandbox, and its own provider, whose commands all come to the same end."""

    def __init__(self, execution: Execution | None) -> None:
        self.execution = execution
        self.is_closed = False

    def missing(self) -> str:
        return ""

    def open(self, start_state: Path) -> Sandbox:
        if self.execution is None:
            raise SandboxError("sandbox: broken.")
        return self

    def run(self, command: str, *, timeout: float | None = None) -> Execution:
        if command.startswith("git apply"):
            return Execution(output="", exit_code=0)
        assert self.execution is not None
        return self.execution

    def read(self, path: str, *, limit: int = 1 << 20) -> bytes:
        raise FileNotFoundError(path)

    def write(self, path: str, data: bytes) -> None:
        pass

    def diff(self) -> str:
        return ""

    def close(self) -> None:
        self.is_closed = True


def test_a_broken_sandbox_is_never_an_unresolved_task() -> None:
    no_python = Stub(Execution(output="bash: python: command not found", exit_code=127))
    broken: list[tuple[SandboxProvider, type[Exception]]] = [(no_python, EnvironmentFault), (Stub(None), SandboxError)]
    for provider, error in broken:
        with pytest.raises(error):
            Kata().grade(MERGE, MERGE.gold_patch, provider)
    assert no_python.is_closed


def test_an_empty_patch_needs_no_sandbox() -> None:
    outcome = Kata().grade(MERGE, "", Stub(None))
    assert outcome.resolved is False
    assert outcome.tests == dict.fromkeys(MERGE.fail_to_pass, "failed") | dict.fromkeys(MERGE.pass_to_pass, "passed")


def test_what_python_leaves_behind_is_neither_graded_nor_blamed() -> None:
    patch = patch_of(MERGE, "rm .gitignore; mkdir __pycache__; echo 1 > __pycache__/test_spans.cpython-311.pyc")
    assert graded(MERGE, patch).tampered == []


@pytest.mark.parametrize("patch", ["hello", MERGE.gold_patch.replace("spans.py", "no.py"), MERGE.gold_patch[:-5]])
def test_a_patch_that_cannot_be_measured_is_a_fault(patch: str) -> None:
    with pytest.raises(EnvironmentFault, match="patch"):
        graded(MERGE, patch)
