"""A small repository with one slip, its hidden tests, and answers to it that are made by running commands."""

import subprocess
from pathlib import Path
from typing import Any

from rft.environments import patches
from rft.environments.grading import Suite, grade
from rft.interfaces import SandboxProvider, StartState
from rft.sandboxes.local import Local
from rft.types import Outcome

ROOT = Path(__file__).parents[3]
SOURCE = "def double(number):\n    return number * 3\n\n\ndef half(number):\n    return number / 2\n"
FIXED = SOURCE.replace("* 3", "* 2")
SEEN = "from sums import half\n\n\ndef test_half():\n    assert half(4) == 2\n"
HIDDEN = (
    "import unittest\n\nimport pytest\n\nfrom sums import double, half\n\n\n"
    "def test_half():\n    assert half(4) == 2\n\n\n"
    "def test_double():\n    assert double(4) == 8\n\n\n"
    '@pytest.mark.parametrize("text", ["a b", "c"])\ndef test_text(text):\n    assert double(text) == text + text\n\n\n'
    "class TestMore(unittest.TestCase):\n    def test_more(self):\n        self.assertEqual(double(5), 10)\n"
)
FILES = {"sums.py": SOURCE, "tests/test_sums.py": SEEN, "README.md": "# Sums\n"}
GOLD = patches.make("sums.py", SOURCE, FIXED)
TEST_PATCH = patches.make("tests/test_sums.py", SEEN, HIDDEN)
FAIL_TO_PASS = ["tests/test_sums.py::test_double", "tests/test_sums.py::TestMore::test_more"]
PASS_TO_PASS = ["tests/test_sums.py::test_half"]


def repository(folder: Path, files: dict[str, str] = FILES) -> StartState:
    """A git repository of one commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        git = ["git", "-c", "user.name=tester", "-c", "user.email=tester@localhost", *arguments]
        subprocess.run(git, cwd=folder, check=True, capture_output=True)
    return StartState(folder, (ROOT / ".venv",))


def suite(**changes: Any) -> Suite:
    """The suite of the repository."""
    facts: dict[str, Any] = {
        "command": "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest -q -p no:cacheprovider tests/test_sums.py",
        "parser": "pytest",
        "fail_to_pass": FAIL_TO_PASS,
        "pass_to_pass": PASS_TO_PASS,
        "test_patch": TEST_PATCH,
        "timeout": 300,
    }
    return Suite(**facts | changes)


def graded(start: StartState, patch: str, plan: Suite, sandboxes: SandboxProvider | None = None) -> Outcome:
    """The outcome, in a sandbox of this machine unless another is given."""
    return grade("sums", start, patch, plan, sandboxes or Local(timeout=300))


def answer(start: StartState, command: str) -> str:
    """The patch that is left of a command in a sandbox."""
    sandbox = Local(timeout=300).open(start)
    try:
        done = sandbox.run(command)
        assert done.exit_code == 0, done.output
        return sandbox.diff()
    finally:
        sandbox.close()
