"""Runs a repository's tests inside a sandbox and reports one line for each, marked with a word only the caller knows.

It is sent as text to `python -I -S -`, so it imports the standard library only. The code under test shares its
process: a source that takes the interpreter apart can forge a result, one that merely prints or exits cannot.
"""

import os
import signal
import sys
import unittest


class Result(unittest.TestResult):
    """The status of each test by name."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: dict[str, str] = {}

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.statuses[name_of(test)] = "error"

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.statuses[name_of(test)] = "passed"

    def addFailure(self, test: unittest.TestCase, err: object) -> None:
        self.statuses[name_of(test)] = "failed"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.statuses[name_of(test)] = "skipped"


def name_of(test: unittest.TestCase) -> str:
    """`MergeTest.test_touching`."""
    return f"{type(test).__name__}.{test.id().rsplit('.', 1)[-1]}"


def main(word: str, module: str) -> None:
    """Say `word begin`, then `word broken` or a line for each test and `word end COUNT`; exit 0 if all passed."""
    report = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    leave = os._exit

    def say(text: str) -> None:
        os.write(report, f"\n{word} {text}\n".encode())

    def give_up(number: int, frame: object) -> None:
        say("timeout")
        leave(1)

    say("begin")
    signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, 2.0)
    sys.dont_write_bytecode = True
    sys.path.append(os.getcwd())  # noqa: PTH109 - pathlib costs milliseconds here
    try:
        suite = unittest.defaultTestLoader.loadTestsFromModule(__import__(module))
        result = Result()
        suite.run(result)
    except BaseException:
        say("broken")
        leave(1)
    for name, status in sorted(result.statuses.items()):
        say(f"{status} {name}")
    say(f"end {len(result.statuses)}")
    leave(0 if set(result.statuses.values()) == {"passed"} else 1)
