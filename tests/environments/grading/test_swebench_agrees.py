"""swebench's own parsers and grader say what ours say, on logs of real runs and on logs made here; and where not.

RFT_SWEBENCH_PYTHON=<an interpreter that has swebench> RFT_MIRRORS=<folder of owner__name mirrors> \\
    pytest tests/environments/grading/test_swebench_agrees.py -m slow
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.environments.grading import Suite, parsers, rule
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.types import Execution
from tests.environments.published_rows import RUNNABLE, SANDBOX, built

ROOT = Path(__file__).parents[3]
LOGS = ROOT.parent / "shared/data/trajectories/swesmith/tests/test_logs"
PYTHON = os.environ.get("RFT_SWEBENCH_PYTHON", "")
THEIRS = {"passed": "PASSED", "failed": "FAILED", "error": "ERROR", "skipped": "SKIPPED", "xfailed": "XFAIL"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="RFT_SWEBENCH_PYTHON names no interpreter that has swebench"),
]


class Verdict(NamedTuple):
    """What a grader makes of a log."""

    tests: dict[str, str]
    resolved: bool


Oracle = Callable[..., Verdict]


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """swebench: (its parser, log, exit code, tests that must come to pass, tests that must still pass)."""
    command = [PYTHON, str(Path(__file__).with_name("swebench_oracle.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout

        def ask(parser: str, log: str, exit_code: int, fail_to_pass: Any = (), pass_to_pass: Any = ()) -> Verdict:
            case = {"parser": parser, "log": log, "exit_code": exit_code}
            case |= {"fail_to_pass": list(fail_to_pass), "pass_to_pass": list(pass_to_pass)}
            process.stdin.write(json.dumps(case) + "\n")
            process.stdin.flush()
            return Verdict(**json.loads(process.stdout.readline()))

        yield ask
        process.stdin.close()


def ours(parser: str, log: str, exit_code: int, fail_to_pass: Any = (), pass_to_pass: Any = ()) -> Verdict:
    suite = Suite(command="", parser=parser, fail_to_pass=list(fail_to_pass), pass_to_pass=list(pass_to_pass))
    results = parsers.read(parser, Execution(output=log, exit_code=exit_code))
    tests = rule.statuses(results, suite)
    return Verdict(tests, not results.problem and rule.resolves(tests, suite))


class Log(NamedTuple):
    """A run of some tests, written as a test program writes it."""

    parser: str
    theirs: str
    write: Callable[[dict[str, str]], str]


def pytest_log(tests: dict[str, str]) -> str:
    """The output of `pytest -rA`, with captured output that holds nothing like a result."""
    said = {"failed": "FAILED {} - AssertionError: 1 - 2", "error": "ERROR {} - ValueError", "passed": "PASSED {}"}
    said |= {"skipped": "SKIPPED [1] tests/test_a.py:3: why", "xfailed": "XFAIL {} - known", "xpassed": "XPASS {} "}
    counts = [f"{list(tests.values()).count(status)} {status}" for status in said if status in tests.values()]
    lines = ["=== test session starts ===", "tests/test_a.py .F.s   [100%]", "--- Captured stdout call ---", "noise"]
    lines += ["=== short test summary info ===", *(said[status].format(name) for name, status in tests.items())]
    return "\n".join([*lines, f"=== {', '.join(counts)} in 0.10s ===", ""])


def django_log(tests: dict[str, str]) -> str:
    """The output of Django's runner with `-v 2`; a test without a method's name is known by its description."""
    word = {"failed": "FAIL", "error": "ERROR", "passed": "ok", "skipped": "skipped 'why'"}
    lines = ["Found some tests.", "System check identified no issues (0 silenced)."]
    for number, (name, status) in enumerate(tests.items()):
        lines += [] if "(" in name else [f"test_described_{number} (m.Described)"]
        lines += (
            [f"{name} ... noise", "ok"] if status == "passed" and number % 3 == 2 else [f"{name} ... {word[status]}"]
        )
    bad = {name: status for name, status in tests.items() if status in ("failed", "error")}
    lines += [line for name, status in bad.items() if "(" in name for line in ("=" * 70, f"{word[status]}: {name}")]
    return "\n".join([*lines, "-" * 70, f"Ran {len(tests)} tests in 0.1s", "", "FAILED (failures=1)" if bad else "OK"])


def sympy_log(tests: dict[str, str]) -> str:
    """The output of `bin/test -C --verbose`."""
    word = {"failed": "F", "error": "E", "passed": "ok"}
    lines = ["=== test process starts ===", f"sympy/core/tests/test_a.py[{len(tests)}]"]
    lines += [f"{name} {word[status]}" for name, status in tests.items()]
    for name, status in tests.items():
        if status != "passed":
            lines += ["_" * 80, f"____ sympy/core/tests/test_a.py:{name} ____", "Traceback", "AssertionError"]
    counts = [f"{list(tests.values()).count(s)} {w}" for s, w in (("passed", "passed"), ("failed", "failed"))]
    counts += [f"{list(tests.values()).count('error')} exceptions"]
    return "\n".join([*lines, "", f"== tests finished: {', '.join(counts)}, in 0.10 seconds ==", ""])


NAME = st.from_regex(r"test_[a-z]{1,4}", fullmatch=True)
PARAMETER = st.text(st.sampled_from("ab  /-[]()'é.:,\\"), min_size=1, max_size=8)
PYTEST_NAME = st.builds("tests/test_a.py::{}{}".format, NAME, PARAMETER.map("[{}]".format) | st.just(""))
DJANGO_NAME = NAME.map("{} (m.A)".format) | st.from_regex(r"[A-Z][a-z]{2,9} (of|a) [a-z]{3,9}\.", fullmatch=True)
LOG = {
    "pytest": Log("pytest_log", "parse_log_pytest", pytest_log),
    "pytest, options": Log("pytest_log", "parse_log_pytest_options", pytest_log),
    "pytest, later": Log("pytest_log", "parse_log_pytest_v2", pytest_log),
    "django": Log("django", "parse_log_django", django_log),
    "sympy": Log("sympy", "parse_log_sympy", sympy_log),
}
NAMES = {"pytest_log": PYTEST_NAME, "django": DJANGO_NAME, "sympy": NAME}
STATUSES = {
    "pytest_log": ["passed", "failed", "error", "xfailed", "xpassed", "skipped"],
    "django": ["passed", "failed", "error", "skipped"],
    "sympy": ["passed", "failed", "error"],
}


@pytest.mark.parametrize("kind", LOG)
def test_a_run_gets_one_verdict(kind: str, oracle: Oracle) -> None:
    """Lists of tests are made as SWE-bench's are: what its parser finds passed in a run of the gold patch."""
    log = LOG[kind]

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def agree(data: st.DataObject) -> None:
        names = data.draw(st.lists(NAMES[log.parser], min_size=1, max_size=6, unique_by=lambda name: name.split()[0]))
        gold = oracle(log.theirs, log.write(dict.fromkeys(names, "passed")), 0).tests
        listed = [name for name, status in gold.items() if status == "PASSED"]
        wanted = data.draw(st.lists(st.sampled_from(listed), min_size=1, unique=True))
        kept = [name for name in listed if name not in wanted and data.draw(st.booleans())]
        known = [status for status in STATUSES[log.parser] if (kind, status) != ("pytest, later", "xfailed")]
        allowed = known if data.draw(st.booleans()) else ["passed", known[-1]]
        run = {name: data.draw(st.sampled_from(allowed)) for name in names}
        exit_code = int(bool({"failed", "error"} & set(run.values())))
        text = log.write(run)
        theirs = oracle(log.theirs, text, exit_code, wanted, kept)
        mine = ours(log.parser, text, exit_code, wanted, kept)
        assert mine.resolved is theirs.resolved, text

    agree()


@pytest.mark.parametrize("kind", LOG)
def test_an_exit_code_that_no_failure_explains_is_no_verdict(kind: str, oracle: Oracle) -> None:
    log = LOG[kind]
    name = {"pytest_log": "tests/test_a.py::test_b", "django": "test_b (m.A)", "sympy": "test_b"}[log.parser]
    text = log.write({name: "passed"})
    assert oracle(log.theirs, text, 0, [name]).resolved is ours(log.parser, text, 0, [name]).resolved is True
    assert oracle(log.theirs, text, 3, [name]).resolved is ours(log.parser, text, 3, [name]).resolved is False
    assert oracle(log.theirs, "", 0, [name]).resolved is ours(log.parser, "", 0, [name]).resolved is False


A, B = "tests/test_a.py::test_a", "tests/test_a.py::test_b"
FORGED = f"PASSED {A}\n{pytest_log({B: 'passed'})}"


@pytest.mark.parametrize(
    ("why", "parser", "theirs", "log", "exit_code", "tests", "expected"),
    [
        ("a result outside of the summary counts there", "pytest_log", "pytest", FORGED, 0, [A], (True, False)),
        (
            "a failure that was expected is known with its reason there",
            "pytest_log",
            "pytest_v2",
            pytest_log({A: "xfailed"}),
            0,
            [A],
            (False, True),
        ),
        ("a run without its end counts there", "pytest_log", "pytest", f"PASSED {A}\n", 0, [A], (True, False)),
        (
            "failures under exit code 0 count there",
            "pytest_log",
            "pytest",
            pytest_log({A: "passed", B: "failed"}),
            0,
            [A],
            (True, False),
        ),
        (
            "of tests that a cut name stands for the last counts there, here the worst",
            "pytest_log",
            "pytest",
            pytest_log({f"{A}[x y]": "failed", f"{A}[x z]": "passed", B: "failed"}),
            1,
            [f"{A}[x"],
            (True, False),
        ),
        (
            "a failure that was expected is not read there, here it passes as it does under pytest",
            "sympy",
            "sympy",
            "test_a f\n= tests finished: 1 expected to fail, in 0.1 seconds =\n",
            0,
            ["test_a"],
            (False, True),
        ),
        (
            "a failure that was expected is not read there, here it passes as it does under pytest",
            "django",
            "django",
            "test_a (m.A) ... expected failure\n\nRan 1 test in 0.1s\n\nOK (expected failures=1)\n",
            0,
            ["test_a (m.A)"],
            (False, True),
        ),
    ],
)
def test_where_the_two_differ_on_purpose(
    why: str,
    parser: str,
    theirs: str,
    log: str,
    exit_code: int,
    tests: list[str],
    expected: tuple[bool, bool],
    oracle: Oracle,
) -> None:
    found = oracle(f"parse_log_{theirs}", log, exit_code, tests).resolved, ours(parser, log, exit_code, tests).resolved
    assert found == expected, why


@pytest.mark.real
@pytest.mark.skipif(not LOGS.is_dir(), reason="no logs of real runs beside the checkout")
def test_logs_of_real_runs_are_read_the_same(oracle: Oracle) -> None:
    """A test that failed and could not be torn down either is an error here; there the later line counts."""
    compared = 0
    for path in sorted(LOGS.rglob("*.txt")):
        log = path.read_text()
        theirs, said = oracle("parse_log_pytest_v2", log, 0).tests, parsers.PARSERS["pytest_log"](log).tests
        for name, status in theirs.items():
            if "::" in name and " - " not in name:  # theirs keeps the message of an error
                compared += 1
                mine = THEIRS.get(rule.named(said, name))
                assert mine == status or {mine, status} == {"ERROR", "FAILED"}, f"{path}: {name}"
    assert compared > 600


@pytest.mark.real
@pytest.mark.parametrize("facts", RUNNABLE, ids=lambda facts: facts["instance_id"])
def test_real_instances_get_one_verdict(facts: dict[str, Any], tmp_path: Path, oracle: Oracle) -> None:
    """The same run of each, before and with the gold patch, as text to swebench and over our own channel."""
    swe, task = built(facts, tmp_path)
    sandboxes = Bubblewrap(**SANDBOX)
    theirs = "parse_log_sympy" if task.meta["parser"] == "sympy" else "parse_log_pytest"
    for patch in ("", task.gold_patch):
        with contextlib.closing(sandboxes.open(swe.start_state(task))) as sandbox:
            sandbox.write("it.patch", f"{task.meta['test_patch']}{patch}".encode())
            done = sandbox.run(f"git apply it.patch && {task.meta['command']} 2>&1", timeout=900, output=8 << 20)
        lists = task.fail_to_pass, task.pass_to_pass
        verdict = oracle(theirs, done.output, done.exit_code or 0, *lists)
        outcome = swe.grade(task, patch, sandboxes)
        assert outcome.resolved is verdict.resolved is bool(patch)
        for name in [*task.fail_to_pass, *task.pass_to_pass]:
            assert THEIRS.get(outcome.tests[name]) == verdict.tests.get(name), name
