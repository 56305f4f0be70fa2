"""What the shipped `check.py` tells whoever runs it in a repository."""

import subprocess
import sys
from pathlib import Path

import pytest

from rft.environments.kata import repository


@pytest.fixture
def spans(tmp_path: Path) -> Path:
    """The clean repository of `spans`, without git."""
    for name, text in repository.files("spans", repository.clean_source("spans")).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def check(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "check.py", *arguments], cwd=folder, capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "spans.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_all_tests_or_those_of_one_function(spans: Path) -> None:
    assert check(spans) == (0, ["OK 19 tests"])
    assert check(spans, "merge") == (0, ["OK 5 tests"])


def test_a_failing_test_is_one_short_line(spans: Path) -> None:
    edit(spans, "start <= merged", "start < merged")
    assert check(spans, "merge") == (1, ["FAIL test_touching: [(1, 3), (3, 5)] != [(1, 5)]", "FAILED 1 of 5 tests"])


def test_of_many_failing_tests_three_are_told(spans: Path) -> None:
    edit(spans, "return merged", "return merge")
    code, lines = check(spans, "merge")
    assert code == 1
    assert lines[-2:] == ["... and 2 more", "FAILED 5 of 5 tests"]
    assert len(lines) == 5
    assert all(len(line) <= 80 for line in lines)


def test_other_errors_are_told_by_kind(spans: Path) -> None:
    edit(spans, "merged.append", "merge.append")
    assert check(spans, "merge")[1][0] == "FAIL test_apart: AttributeError: 'function' object has no attribute 'append'"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("    merged = []", "    merged = [", "ERROR SyntaxError: '[' was never closed (spans.py, line 5)"),
        ("    merged = []", "  merged = []", "ERROR IndentationError: unexpected indent (spans.py, line 6)"),
        ("def gaps", "def holes", "ERROR ImportError: cannot import name 'gaps' from 'spans'"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_short_line(spans: Path, old: str, new: str, line: str) -> None:
    edit(spans, old, new)
    code, [told] = check(spans)
    assert code == 1
    assert told.startswith(line)
    assert len(told) <= 80


def test_an_endless_loop_ends(spans: Path) -> None:
    edit(spans, "    merged = []", "    while spans is not None: pass")
    assert check(spans) == (1, ["ERROR timeout"])


def test_an_unknown_function_is_an_error(spans: Path) -> None:
    assert check(spans, "nothing") == (1, ["ERROR no tests for nothing"])
