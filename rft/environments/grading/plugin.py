"""A pytest plugin that reports each test on a descriptor of its own; sent as text into the sandbox.

It runs on every Python and pytest that a task may need, so it is written for the oldest (2.7, 3.0). Loaded before
any file of the repository, it takes the word that signs its lines from one descriptor, hides the other, and takes
its traces out of the environment. It shares its process with the code under test: a source that searches the
process's memory can find what it holds. What such a source then reports is for the canaries to catch.
"""

# mypy: ignore-errors

import fcntl
import json
import os
import sys

import pytest

SECRET, CHANNEL = 8, 9


def _signed():
    """Takes the word and the channel; gives the function that reports, which alone holds them."""
    word = os.read(SECRET, 200).strip()
    os.close(SECRET)
    channel = fcntl.fcntl(CHANNEL, fcntl.F_DUPFD, 100)
    os.close(CHANNEL)
    fcntl.fcntl(channel, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    write, pack = os.write, json.dumps

    def say(*fields):
        line = b"\n" + word + b" " + pack(fields).encode("ascii") + b"\n"
        while line:
            line = line[write(channel, line) :]

    return say


def _leave_no_traces():
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [path for path in sys.path if path != folder]
    for name in ("PYTEST_ADDOPTS", "PYTHONPATH"):
        before = os.environ.pop("RFT_" + name, "")
        if before:
            os.environ[name] = before
        else:
            os.environ.pop(name, None)


try:
    _say = _signed()
except OSError:  # started by the tests themselves: the first run has the word
    _say = None
_leave_no_traces()


class _Reporter(object):  # noqa: UP004
    def __init__(self, say):
        self.said = 0
        self.say = say
        say("begin")

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.said += 1
            self.say("test", report.nodeid, report.when, report.outcome, hasattr(report, "wasxfail"))

    def pytest_collectreport(self, report):
        if report.outcome == "failed":
            self.say("broken", report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        self.say("finish", self.said, int(exitstatus))


def pytest_configure(config):
    global _say
    say, _say = _say, None
    if say is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Reporter(say))
