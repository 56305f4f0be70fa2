"""The output of unittest's text runner with `-v`, and of Django's, which is the same with described tests."""

import re

from rft.environments.grading.parsers.said import Said, lines

_NAME = re.compile(r"^(\w+ \([\w.<>]+\))(.*)$")
_RESULT = re.compile(r"^(?:ok|OK)$|^(FAIL)$|^(ERROR)$|^(skipped)(?: .*)?$|^(expected failure)$|^(unexpected success)$")
_STATUSES = ("failed", "error", "skipped", "xfailed", "xpassed")
_HEADED = re.compile(r"^(FAIL|ERROR): (\w+ \([\w.<>]+\))")
_RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s$", re.MULTILINE)
_VERDICT = re.compile(r"^(OK|FAILED|NO TESTS RAN)(?: \(.*\))?$", re.MULTILINE)


def read(log: str) -> Said:
    """What unittest said. A name is `test_x (module.Class)` as it prints it, newer ones `(module.Class.test_x)`."""
    return _read(log, described=False)


def read_described(log: str) -> Said:
    """What Django's runner said: a described test is known by its description too, as SWE-bench lists it."""
    return _read(log, described=True)


def _read(log: str, *, described: bool) -> Said:
    said = Said()
    ran = list(_RAN.finditer(log))
    verdict = _VERDICT.search(log, ran[-1].end()) if ran else None
    if verdict:
        said.is_finished = True
        said.total = int(ran[-1][1])
        said.has_failed = verdict[1] == "FAILED"
    name = description = ""
    is_part = False
    for line in lines(log[: ran[-1].start()] if ran else log):
        if headed := _HEADED.match(line):
            known = headed[2] in said.tests
            said.add(headed[2], "failed" if headed[1] == "FAIL" else "error")
            said.results -= 1 if known or headed[2].startswith("setUp") else 0  # said before, or counted by nobody
            name = ""
            continue
        before, dots, after = line.partition(" ... ")
        if found := _NAME.match(before.lstrip()):
            name, description, is_part = found[1], "", bool(found[2])
        elif dots and name and not description:
            description = before.strip()
        status = _status(after.strip() if dots else line.strip())
        if name and status and (dots or line.strip()):
            said.add(name, status)
            said.results -= is_part  # a subtest is counted with its test
            if described and description:
                said.tests[description] = said.tests[name]
            name = description = ""
    return said


def _status(text: str) -> str:
    """The status that a word at the end of a line tells; empty for any other."""
    found = _RESULT.match(text)
    if not found:
        return ""
    return next((status for status, group in zip(_STATUSES, found.groups(), strict=True) if group), "passed")
