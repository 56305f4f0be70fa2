"""The output of pytest: its short summary under `-rA`, else the lines of `-v`.

For commands that start pytest where the grader's plugin cannot follow, such as `tox`, and for logs from elsewhere.
"""

import re

from rft.environments.grading.parsers.said import BAD, Said, lines

_STATUS = {
    "PASSED": "passed",
    "FAILED": "failed",
    "ERROR": "error",
    "SKIPPED": "skipped",
    "XFAIL": "xfailed",
    "XPASS": "xpassed",
}
_WORDS = "|".join(_STATUS)
_SUMMARY = re.compile(r"^=+ short test summary info =+$", re.MULTILINE)
_SAID = re.compile(rf"^({_WORDS}) (.+)$")
_VERBOSE = re.compile(rf"^(\S+::.*?) ({_WORDS})(?: \(.*\))?(?: +\[ *\d+%\])?$")
_END = re.compile(r"^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.:]+ ?s.*$|^=+ no tests ran in .*$", re.MULTILINE)
_COUNTED = {
    "passed": "passed",
    "failed": "failed",
    "error": "error",
    "errors": "error",
    "skipped": "skipped",
    "xfailed": "xfailed",
    "xpassed": "xpassed",
}


def read(log: str) -> Said:
    """What pytest said. A name is a node's whole id."""
    said = Said()
    ends = list(_END.finditer(log))
    if ends:
        counts = {}
        for number, word in re.findall(r"(\d+) ([a-z]+)", ends[-1][1] or ""):
            if word in _COUNTED:
                counts[_COUNTED[word]] = int(number)
        said.is_finished, said.total = True, sum(counts.values())
        said.has_failed = any(counts.get(status) for status in BAD)
    *_, body = _SUMMARY.split(log[: ends[-1].start()] if ends else log)
    summary = [found.groups() for line in lines(body) if (found := _SAID.match(line))]
    if not any(status == "PASSED" for status, _ in summary):
        verbose = [found.groups() for line in lines(log) if (found := _VERBOSE.match(line))]
        summary = [(status, name) for name, status in verbose] or summary
    for status, rest in summary:
        if status == "SKIPPED" and (places := re.match(r"\[(\d+)\] ", rest)):
            said.results += int(places[1])  # names no test, only where it was skipped
        else:
            said.add(_name(rest), _STATUS[status])
    return said


def _name(rest: str) -> str:
    """The node's id before ` - ` and a message; a parameter may hold ` - ` too."""
    inside = re.match(r"[^ \[]*(?:\[.*?\](?= - |$))?", rest)
    name = inside[0] if inside else ""
    return name if name and (len(name) == len(rest) or rest[len(name) :].startswith(" - ")) else rest.split(" - ")[0]
