"""The command that grades a repository, and what its output means; reads `grader.py`, which runs inside the sandbox."""

import re
from functools import cache
from pathlib import Path

from rft.errors import EnvironmentFault
from rft.types import Execution


def command(word: str, module: str) -> str:
    """The bash command that runs the module's tests; its report's lines start with `word`."""
    return f"python -I -S - <<'{word}'\n{script(word, module)}{word}\n"


def script(word: str, module: str) -> str:
    """The Python program that `command` runs."""
    return f"{_grader()}\n\nmain({word!r}, {'test_' + module!r})\n"


@cache
def _grader() -> str:
    return Path(__file__).with_name("grader.py").read_text(encoding="utf-8")


def statuses(execution: Execution, word: str, expected: list[str], where: str) -> dict[str, str]:
    """Test name to status, for every expected test and every other that ran.

    A report that contradicts itself, or ends early, makes its tests `missing`: nothing in it counts as passed.
    Raises EnvironmentFault when the tests were never started.
    """
    lines = re.findall(rf"^{word} (\S+)(?: (.+))?$", execution.output, re.MULTILINE)
    said = [kind for kind, _ in lines]
    if execution.timed_out or execution.killed or "timeout" in said or "broken" in said:
        return dict.fromkeys(expected, "error")
    if "begin" not in said:
        raise EnvironmentFault(
            f"{where}: its tests were not started (exit code {execution.exit_code}): "
            f"{execution.output.strip()[-200:]}. Check that 'python' runs in the sandbox."
        )
    found = {name: kind for kind, name in lines if kind in ("passed", "failed", "error", "skipped")}
    all_passed = set(found.values()) == {"passed"}
    agrees = ("end", str(len(found))) in lines and execution.exit_code == (0 if all_passed else 1)
    if not agrees:
        return dict.fromkeys(expected, "missing")
    return dict.fromkeys(expected, "missing") | found
