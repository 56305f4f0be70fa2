"""The output of SymPy's own `bin/test -C --verbose`."""

import re

from rft.environments.grading.parsers.said import BAD, Said, lines

_TEST = re.compile(r"^(test_\w+) (?:.* )?(ok|F|E|f|X|s|w|T|K)(?: +\[(?:OK|FAIL)\])?$")
_STATUS = {"ok": "passed", "F": "failed", "E": "error", "f": "xfailed", "X": "xpassed"}
_HEADED = re.compile(r"^_{3,} .*\.py::?(\w+) _{3,}$")
_END = re.compile(r"tests finished: ((?:\d+ [a-z ]{1,40},\s{1,2}){1,8})in [\d.]{1,20} seconds")


def read(log: str) -> Said:
    """What SymPy's runner said. A name is a function's; of two functions of one name the worse one counts."""
    said = Said()
    for raw in lines(log):
        line = raw.strip()
        if test := _TEST.match(line):
            said.add(test[1], _STATUS.get(test[2], "skipped"))
        elif (headed := _HEADED.match(line)) and said.tests.get(headed[1]) not in BAD:
            said.add(headed[1], "failed")
    for end in _END.finditer(log):
        counts = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z ]+),", end[1])}
        said.is_finished, said.total = True, sum(counts.values())
        said.has_failed = bool(counts.get("failed") or counts.get("exceptions"))
    return said
