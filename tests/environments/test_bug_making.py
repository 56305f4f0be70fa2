"""Bugs put into a package: what the mutators offer, which are kept, what is said, and that a kill loses little."""

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.check import Check
from rft.environments import trying
from rft.environments.mutate import SPLITS, Mutate
from rft.environments.mutate.making import difficulty
from rft.environments.mutate.statement import statement
from rft.environments.trying import Tried
from rft.errors import EnvironmentFault, RecipeError
from rft.recipe import load
from rft.sandboxes.local import Local
from rft.types import Task
from tests.environments.conftest import CLEAN, PYTEST, write

mutators = pytest.importorskip("rft.environments.mutate.mutators")

SOURCE = '''
CONSTANT = 3


class Box:
    @property
    def size(self, scale=2, deep=False):
        """Its size, 7 wide."""
        if self.parts is None:
            return 0
        if scale > 1 and not deep:
            self.grow(scale)
        else:
            scale -= 1
        self.kept = [part for part in range(len(self.parts)) if part + 1 <= scale]
        return max(self.kept, scale) if deep else sorted(self.kept)[1:]


def jumps(values):
    for value in values:
        if value == "é":
            continue
        while value:
            value = value * 2 - 1
    raise ValueError(1 + 1)
'''


def edits(source: str) -> list[Any]:
    return [edit for function in mutators.functions(source) for edit in function.edits]


def test_every_kind_of_slip_is_offered_and_nothing_outside_functions() -> None:
    kinds = {edit.operator for edit in edits(SOURCE)}
    assert kinds == {
        "operator", "condition", "missing condition", "off by one", "constant", "removed guard", "swapped branches",
        "removed call", "removed statement", "wrong default", "swapped arguments", "wrong jump",
    }  # fmt: skip
    lines = {edit.line for edit in edits(SOURCE)}
    rows = SOURCE.split("\n")
    assert not any(word in rows[line - 1] for line in lines for word in ("CONSTANT", "wide", "raise", "@property"))


@pytest.mark.parametrize("edit", edits(SOURCE), ids=lambda edit: f"{edit.line}-{edit.operator}")
def test_a_slip_changes_the_program_and_leaves_it_python(edit: Any) -> None:
    broken = mutators.apply(SOURCE, [edit])
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(SOURCE))
    before, after = SOURCE.split("\n"), broken.split("\n")
    assert before[: edit.line - 1] == after[: edit.line - 1], "what stands before it is untouched"


@given(st.data())
def test_slips_that_do_not_overlap_can_be_made_together(data: st.DataObject) -> None:
    every = edits(SOURCE)
    chosen = data.draw(st.lists(st.sampled_from(every), min_size=2, max_size=3, unique=True))
    if not mutators.overlap(chosen):
        broken = mutators.apply(SOURCE, chosen)
        ast.parse(broken)
        assert all(edit.after in broken for edit in chosen)


def test_a_file_that_is_no_python_has_no_slips() -> None:
    with pytest.raises(ValueError, match=r"."):
        mutators.functions("def f(:\n")


# --- made and verified ---


@pytest.fixture
def environment(tmp_path: Path) -> Mutate:
    flaky = "\n\ndef test_of_the_day():\n    import os\n    assert os.environ['PYTHONHASHSEED'] == '0'\n"
    files = CLEAN | {"tests/test_counting.py": CLEAN["tests/test_counting.py"] + flaky}
    return Mutate(
        path=str(write(tmp_path / "counting", files)),
        packages=[PYTEST],
        count=3,
        install=False,
        sandbox={"use": "local", "timeout": 120},
    )


def every(environment: Mutate) -> list[Task]:
    return [task for split in SPLITS for task in environment.tasks(split)]


@pytest.mark.process
def test_tasks_are_verified_and_the_same_again(environment: Mutate, cached: Path) -> None:
    assert environment.owed() == "3 tasks are still to be made; in the cache are 0 good ones of 0 tried"
    tasks = every(environment)
    assert environment.owed() == ""
    assert len(tasks) == 3 == len({task.id for task in tasks})
    for task in tasks:
        assert task.fail_to_pass and task.pass_to_pass
        assert not any("of_the_day" in name for name in [*task.fail_to_pass, *task.pass_to_pass]), "flaky"
        assert "assert" in task.statement or "Error" in task.statement, "what a test said"
        assert " counting.py" not in task.statement and "counting misbehaves" in task.statement
        assert environment.grade(task, task.gold_patch, Local(timeout=120)).resolved is True
        assert environment.grade(task, "", Local(timeout=120)).resolved is False
    [folder] = (cached / "rft/mutate").glob("counting-*")
    whole = (folder / "tasks_3.jsonl").read_bytes()
    (folder / "tasks_3.jsonl").unlink()
    lines = (folder / "tried.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "tried.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])  # as a kill leaves it
    assert environment.owed().startswith("3 tasks are still to be made; in the cache are ")
    environment.workers = 1
    assert every(environment) == tasks
    assert (folder / "tasks_3.jsonl").read_bytes() == whole


@pytest.mark.process
def test_a_slip_that_makes_a_loop_endless_is_ended_and_no_task(tmp_path: Path, cached: Path) -> None:
    source = "def count(n):\n    while n > 5:\n        n -= 1\n    return n\n"
    tests = "from counting import count\n\n\ndef test_count():\n    assert count(9) == 5\n"
    folder = write(tmp_path / "counting", {"counting.py": source, "tests/test_counting.py": tests})
    environment = Mutate(path=str(folder), packages=[PYTEST], install=False, sandbox={"use": "local", "timeout": 300})
    [attempt] = [work for _, work in environment.candidates() if work.args[0].edits[0].after == "n += 1"]  # type: ignore[attr-defined]
    tried = attempt()
    assert (tried.task, tried.why) == (None, "the tests do not come to an end")


def test_checking_fetches_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = dict(Check(load("mutate")).rows())
    assert rows["tasks"].startswith("60 tasks are still to be made; nothing of them is in the cache")
    assert not list(tmp_path.rglob("*.jsonl")) and not (tmp_path / "rft/sources").exists()


def test_options_without_a_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="either `package` or `path`"):
        Mutate()
    with pytest.raises(RecipeError, match="no split 'dev'; expected train"):
        Mutate(path=str(tmp_path)).tasks("dev")
    with pytest.raises(RecipeError, match="is not there; expected a checkout"):
        Mutate(path=str(tmp_path / "no")).tasks("train")
    with pytest.raises(RecipeError, match=r"environment\.count: 0; expected more than 0\."):
        Mutate(path="x", count=0)


# --- trying ---


def task(identity: str, where: str = "", tests: tuple[str, ...] = ("t",)) -> Task:
    facts = {"where": where or identity}
    return Task(id=identity, statement="s", split="train", repository="r", fail_to_pass=list(tests), meta=facts)


def test_only_what_is_new_is_tried_and_the_order_decides(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()

    def candidate(identity: str) -> trying.Candidate:
        def work() -> Tried:
            calls[identity] += 1
            good = int(identity) % 2 == 0
            return Tried(id=identity, task=task(identity) if good else None, why="" if good else "odd")

        return identity, work

    every = [candidate(str(number)) for number in range(20)]
    two = list(trying.tasks(tmp_path, lambda: every, 2, workers=3, title="t"))
    assert [t.id for t in two] == ["0", "2"]
    assert calls["19"] == 0
    five = list(trying.tasks(tmp_path, lambda: every, 5, workers=1, title="t"))
    assert [t.id for t in five] == ["0", "2", "4", "6", "8"]
    assert calls["0"] == calls["2"] == 1
    assert len(list(trying.tasks(tmp_path, lambda: every, None, workers=2, title="t"))) == 10
    with pytest.raises(EnvironmentFault, match="none of the candidates"):
        trying.tasks(tmp_path / "odd", lambda: [candidate("1")], 1, workers=1, title="t")


def test_two_slips_that_break_the_same_tests_in_one_place_are_one_task(tmp_path: Path) -> None:
    made = [task("a", "f"), task("b", "f"), task("c", "g"), task("d", "f", ("t", "u"))]
    every = [(t.id, lambda t=t: Tried(id=t.id, task=t)) for t in made]
    kept = trying.tasks(tmp_path, lambda: every, None, workers=1, title="t")
    assert [t.id for t in kept] == ["a", "c", "d"]


# --- what is said ---


def test_a_statement_tells_behaviour_and_no_place() -> None:
    said = {"t::a": "AssertionError: <C at 0x7f00aabbccdd> in /tmp/x/deep/file.py\n\n" + "x" * 500, "t::b": ""}
    text = statement("pkg", said, ["t::a", "t::b", "t::c", "t::d", "t::e"])
    assert "0x…" in text and "/tmp" not in text and "file.py" in text
    assert max(map(len, text.split("\n"))) <= 170
    assert "4 more tests fail" in text
    assert "t::b" in statement("pkg", {}, ["t::b"])


def test_difficulty_grows_with_suspects_and_places() -> None:
    assert [difficulty(*case) for case in ((1, 1), (1, 2), (5, 1), (13, 1), (1, 3))] == [
        "easy", "medium", "medium", "hard", "hard",
    ]  # fmt: skip
