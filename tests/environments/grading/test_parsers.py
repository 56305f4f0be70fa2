"""What each parser makes of whole, cut, contradicted and hostile outputs; pytest's and unittest's are really made."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.environments.grading import parsers
from rft.environments.grading.parsers import PARSERS
from rft.environments.grading.rule import named
from rft.types import Execution

ROOT = Path(__file__).parents[3]
LOGS = ROOT.parent / "shared/data/trajectories/swesmith/tests/test_logs"
UNITTEST = '''
import sys, unittest
class A(unittest.TestCase):
    def test_ok(self): pass
    def test_doc(self):
        """Describes it."""
    def test_prints(self):
        print("hello"); sys.stderr.write("noise\\n")
    def test_fail(self): self.assertEqual(1, 2)
    def test_err(self): 1 / 0
    @unittest.skip("why not")
    def test_skip(self): pass
    @unittest.expectedFailure
    def test_xf(self): self.fail()
    @unittest.expectedFailure
    def test_xp(self): pass
    def test_sub(self):
        for i in range(4):
            with self.subTest(i=i): self.assertNotEqual(i % 2, 1)
class B(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise ValueError
    def test_never(self): pass
'''
PYTEST = """
import pytest
@pytest.mark.parametrize("text", ["a b", "c - d", "e [f]", "/x/y", "é"])
def test_text(text): print("PASSED inside::test_not_there")
@pytest.mark.parametrize("text", ["a b - c", "d"])
def test_fails(text): assert text == 0, "a - b"
@pytest.mark.skip(reason="why")
def test_skip(): pass
@pytest.mark.xfail(reason="known - so")
def test_xf(): assert 0
@pytest.mark.xfail
def test_xp(): pass
@pytest.fixture
def broken(): raise ValueError
def test_error(broken): pass
"""
SYMPY = """
============================= test process starts ==============================
executable:         /usr/bin/python  (3.9.18-final-0) [CPython]

sympy/core/tests/test_a.py[6]
test_add ok
test_twice F
test_raises E
test_known f
test_slow w
test_printing some words ok                                                [FAIL]
________________________________________________________________________________
____________________ sympy/core/tests/test_a.py:test_raises ____________________
Traceback (most recent call last):
ValueError
________________________________________________________________________________
____________________ sympy/core/tests/test_a.py::test_twice ____________________
Traceback (most recent call last):
AssertionError

= tests finished: 2 passed, 1 failed, 1 skipped, 1 expected to fail, 1 exceptions,
in 0.10 seconds =
DO *NOT* COMMIT!
"""
TAP = """
TAP version 13
# Subtest: sums
    # Subtest: adds
    ok 1 - adds
      ---
      duration_ms: 1
      ...
    # Subtest: divides
    not ok 2 - divides
    1..2
not ok 1 - sums
ok 2 - later # SKIP no network
not ok 3 - known # TODO not yet
ok 4
1..4
"""
JUNIT = """some noise
<?xml version="1.0"?><testsuites><testsuite name="s" tests="4">
<testcase classname="pkg.A" name="one"/><testcase classname="pkg.A" name="two"><failure>t</failure></testcase>
<testcase classname="pkg.A" name="three"><skipped/></testcase><testcase name="four"><error/></testcase>
</testsuite></testsuites>
more noise
"""


def run(folder: Path, source: str, *arguments: str) -> Execution:
    """Really run Python on a source."""
    (folder / "test_it.py").write_text(textwrap.dedent(source))
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, env=environment, check=False
    )
    return Execution(output=done.stdout + done.stderr, exit_code=done.returncode)


@pytest.mark.process
def test_unittest(tmp_path: Path) -> None:
    execution = run(tmp_path, UNITTEST, "-m", "unittest", "-v", "test_it")
    results = parsers.read("unittest", execution)
    assert not results.problem
    short = {name.split(" ")[0]: status for name, status in results.tests.items()}
    assert short == {
        "test_ok": "passed",
        "test_doc": "passed",
        "test_prints": "passed",
        "test_fail": "failed",
        "test_err": "error",
        "test_skip": "skipped",
        "test_xf": "xfailed",
        "test_xp": "xpassed",
        "test_sub": "failed",
        "setUpClass": "error",
    }
    assert parsers.read("django", execution).tests["Describes it."] == "passed"


@pytest.mark.process
@pytest.mark.parametrize("options", [["-rA"], ["-v"], ["-rA", "-v"], ["-rA", "--color=yes"]])
def test_pytest_log(tmp_path: Path, options: list[str]) -> None:
    arguments = ["-m", "pytest", "-p", "no:cacheprovider", "--rootdir=.", *options, "test_it.py"]
    results = parsers.read("pytest_log", run(tmp_path, PYTEST, *arguments))
    assert not results.problem
    assert results.tests["test_it.py::test_text[a b]"] == "passed"
    assert results.tests["test_it.py::test_text[c - d]"] == "passed"
    assert results.tests["test_it.py::test_text[e [f]]"] == "passed"
    assert results.tests["test_it.py::test_fails[d]"] == "failed"
    assert results.tests["test_it.py::test_fails[a b - c]"] == "failed"
    assert results.tests["test_it.py::test_error"] == "error"
    assert results.tests["test_it.py::test_xf"] == "xfailed"
    assert results.tests["test_it.py::test_xp"] == "xpassed"
    assert not any("not_there" in name for name in results.tests) or options != ["-v"]


def test_sympy() -> None:
    results = parsers.read("sympy", Execution(output=SYMPY, exit_code=1))
    assert not results.problem
    assert results.tests == {
        "test_add": "passed",
        "test_twice": "failed",
        "test_raises": "error",
        "test_known": "xfailed",
        "test_slow": "skipped",
        "test_printing": "passed",
    }


def test_tap() -> None:
    results = parsers.read("tap", Execution(output=TAP, exit_code=1))
    assert not results.problem
    assert results.tests == {
        "sums > adds": "passed",
        "sums > divides": "failed",
        "sums": "failed",
        "later": "skipped",
        "known": "xfailed",
        "4": "passed",
    }


def test_junit() -> None:
    results = parsers.read("junit", Execution(output=JUNIT, exit_code=1))
    assert not results.problem
    assert results.tests == {"pkg.A::one": "passed", "pkg.A::two": "failed", "pkg.A::three": "skipped", "four": "error"}


def test_no_entity_is_expanded() -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE t [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + JUNIT.split("?>")[1]
    results = parsers.read("junit", Execution(output=bomb, exit_code=0))
    assert results.problem and not results.tests


@pytest.mark.parametrize(
    ("parser", "output", "exit_code", "problem"),
    [
        ("sympy", SYMPY, 0, "exit code says that none did"),
        ("sympy", SYMPY.split("= tests finished")[0], 0, "ended early"),
        ("sympy", SYMPY.replace("test_add ok", "test_add ok\ntest_more ok"), 1, "7 results were printed of 6"),
        ("tap", TAP.replace("1..4", "1..3"), 1, "results were printed"),
        ("tap", TAP + "Bail out! no more\n", 1, "ended early"),
        ("unittest", "test_a (m.A) ... ok\n", 0, "ended early"),
        ("unittest", "test_a (m.A) ... ok\n\nRan 1 test in 0.1s\n\nOK\n", 3, "the exit code is 3"),
        ("unittest", "test_a (m.A) ... ok\ntest_b (m.A) ... ok\n\nRan 1 test in 0.1s\n\nOK\n", 0, "2 results"),
        ("unittest", "test_a (m.A) ... FAIL\n\nRan 1 test in 0.1s\n\nOK\n", 0, "the summary says that none did"),
        ("pytest_log", "PASSED a::b\nPASSED a::c\n==== 1 passed in 0.1s ====\n", 0, "2 results"),
        ("pytest_log", "PASSED a::b\n", 0, "ended early"),
        ("junit", JUNIT, 0, "exit code says that none did"),
    ],
)
def test_an_output_that_contradicts_itself_says_nothing(parser: str, output: str, exit_code: int, problem: str) -> None:
    results = parsers.read(parser, Execution(output=output, exit_code=exit_code))
    assert problem in results.problem
    assert bool(results.forged) is (exit_code == 0)


WORDS = st.sampled_from(
    [*SYMPY.split("\n"), *TAP.split("\n"), *JUNIT.split("\n"), "Ran 3 tests in 0.1s", "OK", "::::" * 99]
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(PARSERS)), st.lists(WORDS | st.text(max_size=20), max_size=15).map("\n".join))
def test_no_output_breaks_a_parser(parser: str, output: str) -> None:
    results = parsers.read(parser, Execution(output=output, exit_code=0))
    assert set(results.tests.values()) <= {"passed", "failed", "error", "skipped", "xfailed", "xpassed"}


@pytest.mark.parametrize("parser", sorted(PARSERS))
@pytest.mark.parametrize("unit", ["::", "test_a ok ", "<testsuite ", "ok # ", "1 a, ", ".py:a", "PASSED ["])
def test_a_line_without_end_costs_no_time(parser: str, unit: str) -> None:
    parsers.read(parser, Execution(output=unit * (2_000_000 // len(unit)), exit_code=0))


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        ("t.py::a[x y]", "passed"),
        ("t.py::a[x", "failed"),  # stands for two, of which one failed
        ("t.py::b[p(q", "passed"),
        ("t.py::c[/last]", "passed"),
        ("t.py::a", "missing"),
        ("t.py::d[", "missing"),
        ("t.py::f[a b]", "passed"),
        ("t.py::e[q", "skipped"),  # stands for two, of which one was not run: nothing that had to pass has passed
    ],
)
def test_names_that_others_cut_are_found(expected: str, status: str) -> None:
    found = {
        "t.py::a[x y]": "passed",
        "t.py::a[x z]": "failed",
        "t.py::b[p(q)]": "passed",
        "t.py::c[/a/last]": "passed",
        "t.py::f[a  b]": "passed",
        "t.py::e[q r]": "passed",
        "t.py::e[q s]": "skipped",
    }
    assert named(found, expected) == status


# --- logs that others made ---


@pytest.mark.real
@pytest.mark.parametrize(
    ("log", "good", "bad"),
    [
        ("run_evaluation/getmoto__moto.694ce1f4.pr_7331/test_output.txt", 210, 0),
        ("run_evaluation/pandas-dev__pandas.95280573.pr_53652/test_output.txt", 11, 0),
        ("run_validation/test_output.txt", 9, 2),
        ("run_validation/test_output_pre_gold.txt", 11, 0),
        ("test_output/django-money__django-money.835c1ab8.combine_file__7znr0kum.txt", 420, 9),
    ],
)
def test_logs_of_real_runs(log: str, good: int, bad: int) -> None:
    if not LOGS.is_dir():
        pytest.skip(f"{LOGS} is not here")
    said = PARSERS["pytest_log"]((LOGS / log).read_text())
    assert said.is_finished and said.has_failed is bool(bad)
    statuses = list(said.tests.values())
    assert (statuses.count("passed"), statuses.count("failed") + statuses.count("error")) == (good, bad)
