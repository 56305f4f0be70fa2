"""Measures an answer out of band: a fresh sandbox, source changes only, results that the graded code does not hold.

suite = Suite(command="python -m pytest tests/test_x.py", parser="pytest", fail_to_pass=[…], pass_to_pass=[…])
outcome = grade(task.id, start, patch, suite, sandboxes)
"""

import time

from rft.environments.grading import rule
from rft.environments.grading.answer import Answer, part
from rft.environments.grading.measure import Bench, NotApplied
from rft.environments.grading.results import Results
from rft.environments.grading.suite import PROTECTED, Suite
from rft.errors import EnvironmentFault
from rft.interfaces import SandboxProvider, StartState
from rft.types import Outcome

__all__ = ["PROTECTED", "Suite", "grade", "run"]


def grade(where: str, start: StartState, patch: str, suite: Suite, sandboxes: SandboxProvider) -> Outcome:
    """Whether a patch resolves a task, by SWE-bench's rule: every `fail_to_pass` test passes, and every
    `pass_to_pass` test passes or is skipped.

    `where` names the task in messages. A patch that is none, or does not apply, leaves every test `missing`.
    Raises EnvironmentFault or SandboxError when it cannot be measured.
    """
    if not suite.fail_to_pass:
        raise EnvironmentFault(f"{where}: lists no test that must come to pass; expected one in fail_to_pass.")
    began = time.monotonic()
    bench = Bench(where, start, suite, sandboxes)
    answer, results = _measured(bench, patch)
    tests = rule.statuses(results, suite)
    forged = list(results.forged)
    resolved = not results.problem and not forged and rule.resolves(tests, suite)
    if resolved:
        forged += bench.forgery(answer.patch)
    return Outcome(
        resolved=resolved and not forged,
        tests=tests,
        tampered=answer.tampered,
        new_tests=answer.new_tests,
        forged=forged,
        files_changed=answer.files,
        lines_added=answer.added,
        lines_removed=answer.removed,
        seconds=time.monotonic() - began,
    )


def run(where: str, start: StartState, patch: str, suite: Suite, sandboxes: SandboxProvider) -> dict[str, str]:
    """Every test to `passed`, `failed`, `error`, `skipped` or `missing`, with no verdict and no canaries.

    A test that fails as it is expected to (xfail) has passed, one that passes against expectation has failed.
    Raises EnvironmentFault or SandboxError when it cannot be measured.
    """
    _, results = _measured(Bench(where, start, suite, sandboxes), patch)
    return rule.statuses(results, suite)


def _measured(bench: Bench, patch: str) -> tuple[Answer, Results]:
    """What is graded of a patch, and what the suite says of it."""
    try:
        answer = part(patch, bench.suite)
    except ValueError:
        answer = Answer(patch="", tampered=[], new_tests=[], files=0, added=0, removed=0)
        return answer, Results(started=True, problem="the patch cannot be read")
    try:
        results = bench.run(answer.patch)
    except NotApplied:
        return answer, Results(started=True, problem="the patch does not apply")
    if not results.started or (results.forged and not answer.patch):
        _blame(bench, results, has_answer=bool(answer.patch))
    return answer, results


def _blame(bench: Bench, results: Results, *, has_answer: bool) -> None:
    """Tests that say nothing are the answer's doing when they speak without it; else the suite's own fault.

    Raises EnvironmentFault.
    """
    if has_answer:
        results = bench.run("")
        if results.started and not results.forged:
            return
    why = results.problem or "; ".join(results.forged)
    last = " ".join(results.log.split())[-300:]
    raise EnvironmentFault(
        f"{bench.where}: its command does not report its tests to the parser '{bench.suite.parser}' ({why}): {last}"
    )
