"""Honest answers, broken answers and broken suites, graded in real sandboxes."""

import sys
from pathlib import Path

import pytest
from sums_bench import FAIL_TO_PASS, FIXED, GOLD, PASS_TO_PASS, SOURCE, answer, graded, repository, suite

from rft.environments import patches
from rft.environments.grading import run
from rft.errors import EnvironmentFault
from rft.interfaces import StartState
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.sandboxes.local import Local

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> StartState:
    return repository(tmp_path_factory.mktemp("sums"))


def test_the_gold_patch_resolves_and_nothing_does_not(start: StartState) -> None:
    resolved = graded(start, GOLD, suite())
    assert resolved.resolved is True
    assert {resolved.tests[name] for name in [*FAIL_TO_PASS, *PASS_TO_PASS]} == {"passed"}
    assert (resolved.files_changed, resolved.lines_added, resolved.lines_removed) == (1, 1, 1)
    assert not resolved.tampered and not resolved.forged
    nothing = graded(start, "", suite())
    assert nothing.resolved is False
    assert nothing.tests[FAIL_TO_PASS[0]] == "failed"
    assert nothing.tests[PASS_TO_PASS[0]] == "passed"
    assert not nothing.forged


def test_bubblewrap_gives_the_same_verdicts(start: StartState) -> None:
    if reason := Bubblewrap().missing():
        pytest.skip(reason)
    software = (*start.software, Path(sys.base_prefix).resolve())
    start = StartState(start.path, software)
    assert graded(start, GOLD, suite(), Bubblewrap(timeout=300)).resolved is True
    assert graded(start, "", suite(), Bubblewrap(timeout=300)).resolved is False


def test_run_tells_every_test_and_no_verdict(start: StartState) -> None:
    tests = run("sums", start, GOLD, suite(), Local(timeout=300))
    assert tests["tests/test_sums.py::test_text[a b]"] == "passed"
    assert len(tests) == 5


def test_a_name_that_was_cut_at_a_space_is_found(start: StartState) -> None:
    plan = suite(fail_to_pass=["tests/test_sums.py::test_text[a"])
    assert graded(start, GOLD, plan).resolved is True
    assert graded(start, "", plan).resolved is False


def test_a_test_that_is_not_there_is_missing(start: StartState) -> None:
    outcome = graded(start, GOLD, suite(pass_to_pass=["tests/test_sums.py::test_gone"]))
    assert outcome.resolved is False
    assert outcome.tests["tests/test_sums.py::test_gone"] == "missing"


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("def double(:\n", "missing"),
        ("import no_such_module\n", "missing"),
        ("def double(n):\n    return n * 2\n", "missing"),  # half is gone: the tests cannot be imported
    ],
)
def test_an_answer_that_breaks_the_import_is_not_resolved(start: StartState, source: str, status: str) -> None:
    outcome = graded(start, patches.make("sums.py", SOURCE, source), suite())
    assert outcome.resolved is False
    assert outcome.tests[FAIL_TO_PASS[0]] == status


def test_an_answer_that_hangs_is_not_resolved(start: StartState) -> None:
    slow = patches.make("sums.py", SOURCE, FIXED + "\n\nimport time\n\ntime.sleep(60)\n")
    plan = suite(command="python -c 'import sums'", parser="exit_code", fail_to_pass=["exit_code"], timeout=2)
    outcome = graded(start, slow, plan)
    assert outcome.resolved is False
    assert set(outcome.tests.values()) == {"missing"}


def test_tests_that_the_answer_changed_are_the_graders(start: StartState) -> None:
    patch = answer(start, "echo 'def test_double(): pass' > tests/test_sums.py; echo > conftest.py")
    outcome = graded(start, patch, suite())
    assert outcome.resolved is False
    assert outcome.tampered == ["conftest.py", "tests/test_sums.py"]


def test_an_honest_answer_that_also_adds_tests_resolves(start: StartState) -> None:
    patch = answer(start, "sed -i 's/3/2/' sums.py; echo 'def test_mine(): pass' > tests/test_mine.py")
    outcome = graded(start, patch, suite())
    assert outcome.resolved is True
    assert (outcome.tampered, outcome.new_tests) == ([], ["tests/test_mine.py"])


def test_an_honest_answer_that_also_edits_tests_resolves_and_is_reported(start: StartState) -> None:
    patch = answer(start, "sed -i 's/3/2/' sums.py; echo '# more' >> tests/test_sums.py")
    outcome = graded(start, patch, suite())
    assert outcome.resolved is True
    assert outcome.tampered == ["tests/test_sums.py"]


@pytest.mark.parametrize(
    "patch",
    [
        GOLD.replace("\n", "\r\n"),
        GOLD.split("\n", 1)[1],
        "Here is the fix:\n\n" + GOLD.split("\n", 1)[1],
        GOLD.rstrip("\n"),
        GOLD.replace("@@ -1,5 +1,5 @@", "@@ -1,9 +1,7 @@"),
        GOLD.replace("@@ -1,5 +1,5 @@", "@@ -2,5 +2,5 @@"),
        GOLD.replace("--- a/", "--- ").replace("+++ b/", "+++ ").split("\n", 1)[1],
        GOLD.replace("def half(number):", "def half(the_number):"),  # a context line that is not quite there
    ],
    ids=["dos", "headless", "prose", "cut", "counts", "offset", "bare", "fuzz"],
)
def test_patches_as_models_write_them_apply(start: StartState, patch: str) -> None:
    outcome = graded(start, patch, suite())
    assert outcome.resolved is True
    assert (outcome.files_changed, outcome.lines_added, outcome.lines_removed) == (1, 1, 1)


@pytest.mark.parametrize("patch", ["no patch", GOLD.replace("number * 3", "number * 4").replace("sums.py", "x.py")])
def test_a_patch_that_does_not_apply_leaves_its_tests_missing(start: StartState, patch: str) -> None:
    outcome = graded(start, patch, suite())
    assert outcome.resolved is False
    assert set(outcome.tests.values()) == {"missing"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fail_to_pass": []}, "lists no test that must come to pass"),
        ({"command": "no-such-program"}, "does not report its tests"),
        ({"command": "true"}, "does not report its tests"),
        ({"test_patch": GOLD.replace("number * 3", "number * 7")}, "test patch does not apply"),
        ({"command": suite().command + " || true"}, "does not report its tests"),
    ],
)
def test_a_suite_that_is_wrong_is_a_fault_and_no_verdict(
    start: StartState, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(EnvironmentFault, match=message):
        graded(start, "" if "|| true" in str(changes) else GOLD, suite(**changes))


def test_a_command_can_be_the_only_test(start: StartState) -> None:
    plan = suite(
        command="python -c 'import sums; assert sums.double(4) == 8'",
        parser="exit_code",
        fail_to_pass=["exit_code"],
        pass_to_pass=[],
    )
    assert graded(start, GOLD, plan).resolved is True
    assert graded(start, "", plan).resolved is False
