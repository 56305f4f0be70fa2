"""What of an answer is graded, what is left out as its own new tests, and what is left out and called tampering."""

import pytest
from sums_bench import FILES, SOURCE, suite

from rft.environments import facts, patches
from rft.environments.grading.answer import part


def new(path: str, text: str = "x = 1\n") -> str:
    return f"diff --git a/{path} b/{path}\nnew file mode 100644\n" + (
        f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{text}" if text else ""
    )


@pytest.mark.parametrize(
    "path",
    [
        "tests/test_mine.py",
        "test_mine.py",
        "src/pkg/mine_test.py",
        "tests/helpers.py",
        "tests/data/case.json",
        "web/button.spec.ts",
        "tests/test_sums.py",  # of the same name as the hidden one: nobody can know
    ],
)
def test_new_tests_are_left_out_and_no_tampering(path: str) -> None:
    answer = part(new(path), suite())
    assert (answer.patch, answer.tampered, answer.new_tests) == ("", [], [path])


def test_an_empty_package_file_beside_new_tests_is_none_either() -> None:
    answer = part(new("tests/more/__init__.py", "") + new("tests/more/test_more.py"), suite())
    assert answer.tampered == [] and len(answer.new_tests) == 2


@pytest.mark.parametrize(
    "path",
    [
        "conftest.py",
        "tests/conftest.py",
        "tests/__init__.py",
        "tests/pytest.ini",
        "tests/sitecustomize.py",
        "tests/a.pth",
        "tests/json.py",  # its folder is on the path of what is imported
        "tests/pytest.py",
        "tests/test_sums.so",
        "pyproject.toml",
        "runtests.py",
        "grading.sh",
    ],
)
def test_new_files_that_something_runs_unasked_are_tampering(path: str) -> None:
    answer = part(new(path), suite(command="bash ./grading.sh"))
    assert (answer.patch, answer.tampered, answer.new_tests) == ("", [path], [])


def test_tests_that_were_there_may_not_be_changed_removed_or_replaced() -> None:
    seen = FILES["tests/test_sums.py"]
    gone = patches.make("tests/test_sums.py", seen, "")
    moved = "diff --git a/tests/test_sums.py b/tests/kept.py\nsimilarity index 100%\n"
    moved += "rename from tests/test_sums.py\nrename to tests/kept.py\n"
    assert part(patches.make("tests/test_sums.py", seen, "x = 1\n"), suite()).tampered == ["tests/test_sums.py"]
    assert part(gone + new("tests/test_sums.py"), suite()).tampered == ["tests/test_sums.py"]
    assert part(moved, suite()).tampered == ["tests/kept.py", "tests/test_sums.py"]


def test_what_the_fix_itself_changes_is_source_but_for_configuration() -> None:
    fix = patches.make("sums/test/client.py", SOURCE, "") + patches.make("setup.cfg", "a\n", "b\n")
    plan = suite(source=facts.source(fix))
    assert part(fix, plan).tampered == ["setup.cfg"]
    assert part(patches.make("sums/test/other.py", SOURCE, ""), plan).tampered == ["sums/test/other.py"]
