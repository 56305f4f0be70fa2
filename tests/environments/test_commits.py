"""Tasks from a repository's history: which commits are some, what an attempt starts from, and what it is told."""

from pathlib import Path

import pytest

from rft.environments.commits import Commits
from rft.errors import EnvironmentFault, RecipeError
from rft.sandboxes.local import Local
from tests.environments.conftest import CLEAN, PYTEST, committed, write

TESTS = CLEAN["tests/test_counting.py"]


@pytest.fixture
def environment(tmp_path: Path) -> Commits:
    """A history of six commits, of which one is a task."""
    project = write(tmp_path / "counting", CLEAN | {"counting.py": CLEAN["counting.py"].replace("= 0", "= 1")})
    write(project, {"tests/test_counting.py": TESTS[: TESTS.index("\n\ndef test_total(")] + "\n"})
    committed(project, "base")
    committed(write(project, {"tests/test_more.py": "def test_more():\n    pass\n"}), "tests alone")
    committed(write(project, CLEAN), "Count from nothing\n\nSigned-off-by: T <t@t>")
    committed(write(project, {"counting.py": CLEAN["counting.py"] + "\n# a comment\n"}), "source alone")
    committed(write(project, {"counting.py": "x = 1\n" * 99, "tests/test_more.py": "y = 1\n"}), "too much")
    committed(
        write(project, {"counting.py": "", "tests/test_more.py": "def test_no():\n    assert 0\n"}), "too much again"
    )
    return Commits(
        path=str(project),
        packages=[PYTEST],
        install=False,
        count=None,
        heldout=0,
        sandbox={"use": "local", "timeout": 90},
    )


@pytest.mark.process
def test_the_fix_that_came_with_its_test_is_the_task(environment: Commits, cached: Path) -> None:
    [task] = environment.tasks("train")
    assert task.statement.startswith("Count from nothing\n") and "Signed-off-by" not in task.statement
    assert "tests/test_counting.py::test_total" in task.fail_to_pass
    assert "tests/test_counting.py::test_clamp_low" in task.pass_to_pass
    start = environment.start_state(task)
    assert "test_total" not in (start.path / "tests/test_counting.py").read_text()
    assert environment.grade(task, "", Local(timeout=90)).resolved is False
    assert environment.grade(task, task.gold_patch, Local(timeout=90)).resolved is True
    [tried] = (cached / "rft/commits").glob("counting-*/tried.jsonl")
    said = tried.read_text()
    for why in ("does not change source and tests together", "more than 40 lines"):
        assert why in said


def test_mistakes_are_said(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="expected a git repository"):
        list(Commits(path=str(tmp_path / "no")).tasks("train"))
    with pytest.raises(RecipeError, match="no split 'test'"):
        Commits(path="x").tasks("test")
    with pytest.raises(RecipeError, match=r"environment\.lines: 0; expected at least 1\."):
        Commits(path="x", lines=0)
