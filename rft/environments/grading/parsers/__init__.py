"""What a command's output says of its tests, for each kind of test program, and whether it is to be believed.

An output is text that the code under test can print to. So it is held against itself: a summary must be there, no
result more than it counts, and the exit code must say the same. What is forged through and through is for the
canaries to catch.
"""

import re
from collections.abc import Callable

from rft.environments.grading.parsers import junit, pytest_log, sympy, tap, unittest
from rft.environments.grading.parsers.said import BAD, Said
from rft.environments.grading.results import LOG, Results, cut_short
from rft.types import Execution

EXIT_CODE = "exit_code"
"""The parser, and the one test, of a command that tells by its exit code alone."""
PARSERS: dict[str, Callable[[str], Said]] = {
    "pytest_log": pytest_log.read,
    "unittest": unittest.read,
    "django": unittest.read_described,
    "sympy": sympy.read,
    "junit": junit.read,
    "tap": tap.read,
}
NAMES = ("pytest", *PARSERS, EXIT_CODE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read(parser: str, execution: Execution) -> Results:
    """The results in a command's output. Never raises: what cannot be believed is a `problem`."""
    log = execution.output[-LOG:]
    if problem := cut_short(execution):
        return Results(started=True, problem=problem, log=log)
    if parser == EXIT_CODE:
        status = "passed" if execution.exit_code == 0 else "failed"
        return Results(tests={EXIT_CODE: status}, started=execution.exit_code not in (126, 127), log=log)
    said = PARSERS[parser](_COLOUR.sub("", execution.output).replace("\r\n", "\n"))
    problem = _contradiction(said, execution.exit_code)
    return Results(
        tests=said.tests,
        started=bool(said.tests) or said.is_finished,
        problem=problem,
        forged=[problem] if problem and execution.exit_code == 0 else [],
        log=log,
    )


def _contradiction(said: Said, exit_code: int | None) -> str:
    """What shows that the output does not tell of a whole run; empty when nothing does."""
    if not said.is_finished:
        return f"the run ended early with exit code {exit_code}"
    if said.total is not None and said.results > said.total:
        return f"{said.results} results were printed of {said.total} tests"
    has_bad = any(status in BAD for status in said.tests.values())
    has_failed = has_bad if said.has_failed is None else said.has_failed
    if has_bad and not has_failed:
        return "tests failed and the summary says that none did"
    if has_failed and exit_code == 0:
        return "tests failed and the exit code says that none did"
    if not has_failed and exit_code != 0:
        return f"no test failed and the exit code is {exit_code}"
    return ""
