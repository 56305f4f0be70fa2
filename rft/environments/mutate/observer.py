"""A pytest plugin that runs inside a sandbox: how each test ends, what it says, calls and costs."""

# mypy: ignore-errors

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

FILE = ".rft_observed.json"
root = str(Path.cwd()) + os.sep
is_tracing = os.environ.get("RFT_TRACE") == "1"
places = {}
"""(file, line) of a function to its number."""
touched = {}
"""Test to the numbers of the functions that it called."""
statuses = {}
"""Test to how it ended, as the grader's plugin would have it."""
said = {}
"""Failing test to the message of its failure."""
seconds = {}
"""Test to the CPU time that it took."""


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_protocol(item):
    if not is_tracing:
        yield
        return
    calls = set()
    began = time.process_time()
    stop = watch(calls)
    try:
        yield
    finally:
        stop()
        seconds[item.nodeid] = time.process_time() - began
        inside = [code for code in calls if code.co_filename.startswith(root)]
        keys = {(code.co_filename[len(root) :], code.co_firstlineno) for code in inside}
        touched[item.nodeid] = sorted(places.setdefault(key, len(places)) for key in keys)


def watch(calls):
    """Collect the code of every function that is called, until what this returns is called."""
    if hasattr(sys, "monitoring"):
        return monitor(calls)

    def profile(frame, event, argument):
        if event == "call":
            calls.add(frame.f_code)

    def stop():
        sys.setprofile(None)
        threading.setprofile(None)

    threading.setprofile(profile)
    sys.setprofile(profile)
    return stop


def monitor(calls):
    """The same where Python can tell of a function's first call alone, which costs next to nothing."""
    tool, start = sys.monitoring.PROFILER_ID, sys.monitoring.events.PY_START

    def first_call(code, offset):
        calls.add(code)
        return sys.monitoring.DISABLE

    def stop():
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.free_tool_id(tool)

    sys.monitoring.use_tool_id(tool, "rft")
    sys.monitoring.register_callback(tool, start, first_call)
    sys.monitoring.restart_events()
    sys.monitoring.set_events(tool, start)
    return stop


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        bad = "failed" if report.when == "call" else "error"
        status = bad if report.failed else "xfailed" if hasattr(report, "wasxfail") else report.outcome
        if statuses.get(report.nodeid) not in ("failed", "error"):
            statuses[report.nodeid] = status
    if report.failed and report.nodeid not in said:
        crash = getattr(report.longrepr, "reprcrash", None)
        said[report.nodeid] = str(getattr(crash, "message", report.longrepr))[:2000]


def pytest_sessionfinish():
    seen = {"places": list(places), "touched": touched, "statuses": statuses, "said": said, "seconds": seconds}
    Path(root, FILE).write_text(json.dumps(seen))
