"""SWE-bench's rule: which tests must have passed, by the names under which a task lists them."""

import re

from rft.environments.grading.results import Results
from rft.environments.grading.suite import Suite

_AS_OUTCOME = {"xfailed": "passed", "xpassed": "failed"}
"""A test that fails as it is expected to has passed; one that should fail and does not has failed."""
_WORST_LAST = ("passed", "xfailed", "skipped", "xpassed", "failed", "error")


def statuses(results: Results, suite: Suite) -> dict[str, str]:
    """Every test that is expected, and every other that was found, to its status.

    A status is `passed`, `failed`, `error`, `skipped` or `missing`; results that say nothing leave all `missing`.
    """
    if results.problem:
        return dict.fromkeys(suite.expected, "missing")
    found = results.tests | {name: named(results.tests, name) for name in suite.expected}
    return {name: _AS_OUTCOME.get(status, status) for name, status in found.items()}


def resolves(tests: dict[str, str], suite: Suite) -> bool:
    """Every `fail_to_pass` test passes, and every `pass_to_pass` test passes or is skipped."""
    return all(tests[name] == "passed" for name in suite.fail_to_pass) and all(
        tests[name] in ("passed", "skipped") for name in suite.pass_to_pass
    )


def named(found: dict[str, str], expected: str) -> str:
    """The status of an expected test, `missing` when there is none.

    Lists that were made from pytest's summary cut a name at its first white space, or make it one space each, and
    shorten a path in it, and R2E-Gym's leave out the file; where such a name stands for several tests, the worst of
    them counts.
    """
    if expected in found:
        return found[expected]
    alike = [status for name, status in found.items() if expected in _spellings(name)]
    if not alike and expected.count("[") > expected.count("]"):
        alike = [status for name, status in found.items() if name.startswith(expected)]
    return max(alike, key=_WORST_LAST.index, default="missing")


def _spellings(name: str) -> tuple[str, ...]:
    return _cut(name), _spaced(name), _shortened(name), _without_file(name)


def _without_file(name: str) -> str:
    """`file.py::Class::test` as `Class.test`."""
    return ".".join(name.split("::")[1:])


def _cut(name: str) -> str:
    return re.split(r"\s", name, maxsplit=1)[0]


def _spaced(name: str) -> str:
    return " ".join(name.split())


def _shortened(name: str) -> str:
    """`test[/a/b]` as `test[/b]`."""
    found = re.match(r"(.*?)\[(.*)\]", _cut(name))
    if found is None:
        return _cut(name)
    is_path = found[2].startswith("/") and not found[2].startswith("//") and "*" not in found[2]
    return f"{found[1]}[/{found[2].rpartition('/')[2]}]" if is_path else f"{found[1]}[{found[2]}]"
