"""What a command's output says of its tests, for each kind of test program."""

from collections.abc import Callable

from rft.environments.grading.channel import LOG, Results
from rft.errors import RecipeError, did_you_mean
from rft.types import Execution

EXIT_CODE = "exit_code"
"""The one test of a command that tells by its exit code alone."""


def read(parser: str, execution: Execution) -> Results:
    """The results in a command's output. Raises RecipeError for a parser that is not known."""
    if parser not in PARSERS:
        known = ["pytest", *PARSERS]
        raise RecipeError(f"parser: is '{parser}'; expected {', '.join(known)}.{did_you_mean(parser, known)}")
    log = execution.output[-LOG:]
    if execution.timed_out or execution.killed:
        return Results(started=True, problem=f"the run was ended: {execution.killed or 'time'}", log=log)
    return PARSERS[parser](execution)


def exit_code(execution: Execution) -> Results:
    """One test, `exit_code`, which passes when the command ends with 0. A command that is not there did not start."""
    status = "passed" if execution.exit_code == 0 else "failed"
    return Results(
        tests={EXIT_CODE: status}, started=execution.exit_code not in (126, 127), log=execution.output[-LOG:]
    )


PARSERS: dict[str, Callable[[Execution], Results]] = {"exit_code": exit_code}
