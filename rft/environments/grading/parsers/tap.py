"""The Test Anything Protocol, nested as node and others write it."""

import re

from rft.environments.grading.parsers.said import Said, lines

_PLAN = re.compile(r"^1\.\.(\d+)(?: .*)?$")
_POINT = re.compile(r"^(not )?ok\b(?: +(\d+))?(?: +-)? *((?:[^#\\]|\\.)*?) *(?:# *(skip|todo)\b.*)?$", re.IGNORECASE)
_SUBTEST = re.compile(r"^# Subtest: (.*)$")


def read(log: str) -> Said:
    """What a TAP producer said. A name is the description, after those of the tests around it and ` > `.

    A point without a description is called by its number.
    """
    said = Said(total=0)
    around: list[tuple[int, str]] = []
    for line in lines(log):
        text = line.lstrip(" ")
        depth = len(line) - len(text)
        if text.startswith("Bail out!"):
            return Said()
        if subtest := _SUBTEST.match(text):
            around = [(at, name) for at, name in around if at < depth] + [(depth, subtest[1])]
        elif plan := _PLAN.match(text):
            said.total = (said.total or 0) + int(plan[1])
            said.is_finished = said.is_finished or depth == 0
        elif point := _POINT.match(text):
            names = [name for at, name in around if at < depth]
            said.add(" > ".join([*names, point[3] or point[2] or str(said.results + 1)]), _status(point))
    return said


def _status(point: re.Match[str]) -> str:
    directive = (point[4] or "").lower()
    if directive == "skip":
        return "skipped"
    if directive == "todo":
        return "xfailed" if point[1] else "xpassed"
    return "failed" if point[1] else "passed"
