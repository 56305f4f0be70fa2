"""Each shipped rule: there, not there, unknown; and that a rule that breaks down is an unknown verdict."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transcripts import EDIT, FAILED, LOOK, PASSED, PATCH, SUBMIT, UNDO, WORSE, transcript

from reward_models.rules import RULES, answer, bind
from reward_models.types import Criterion, Finding, Transcript, TranscriptStep, Verdict

NEW_FILE = "--- /dev/null\n+++ b/{}\n@@ -0,0 +1 @@\n+x\n"


def verdict(rule: str, subject: Transcript, **options: Any) -> Verdict:
    return answer(Criterion(id="c", rule=rule, options=options), subject)


def value(rule: str, *steps: tuple[str | None, str, int | None], options: dict[str, Any] | None = None, **changes: Any):
    return verdict(rule, transcript(*steps, **changes), **(options or {})).value


@pytest.mark.parametrize(("resolved", "expected"), [(True, 1.0), (False, 0.0), (None, None)])
def test_tests_pass(resolved: bool | None, expected: float | None) -> None:
    assert value("tests_pass", EDIT, resolved=resolved) == expected


def test_submitted() -> None:
    assert value("submitted", EDIT, SUBMIT) == 1.0
    assert value("submitted", EDIT, stop="step_limit") == 0.0
    assert value("submitted", EDIT, stop="") is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([FAILED, LOOK, EDIT, PASSED, SUBMIT], 1.0),
        ([("python -m pytest -x", "1 failed, 3 passed", 1), EDIT, SUBMIT], 1.0),
        ([("pytest | tail -1", "1 failed, 3 passed in 0.1s", 0), EDIT], 1.0),
        ([("python check.py f; sed -i s/a/b/ days.py", "FAILED 1 of 2 tests", 0)], 1.0),
        ([LOOK, EDIT, FAILED, SUBMIT], 0.0),
        ([PASSED, EDIT, PASSED, SUBMIT], 0.0),
        ([("python chec.py f", "python: can't open file '/x/chec.py': [Errno 2] No such file", 2), EDIT], 0.0),
        ([("pytest", "bash: pytest: command not found", 127), EDIT], 0.0),
        ([LOOK], 0.0),
        ([FAILED], 1.0),
        ([("python repro.py", "344", 0), EDIT, ("python repro.py", "345", 0)], 1.0),
        ([("python repro.py", "344", 0), EDIT, ("python repro.py", "344", 0)], 0.0),
        ([("python repro.py", "344", 0), EDIT, SUBMIT], None),
        ([("cat > repro.py <<E\nimport days\nE", "", 0), ("python repro.py", "Traceback", 1), EDIT], 1.0),
    ],
)
def test_reproduced_before_edit(steps: list[Any], expected: float | None) -> None:
    assert value("reproduced_before_edit", *steps) == expected


@pytest.mark.parametrize(
    ("steps", "seen", "passing"),
    [
        ([LOOK, EDIT, PASSED, SUBMIT], 1.0, 1.0),
        ([LOOK, EDIT, FAILED, SUBMIT], 1.0, 0.0),
        ([FAILED, LOOK, EDIT, SUBMIT], 0.0, 0.0),
        ([EDIT, PASSED, WORSE, SUBMIT], 0.0, 0.0),
        ([EDIT, PASSED, FAILED, SUBMIT], 1.0, 0.0),
        ([PASSED, SUBMIT], 0.0, 0.0),
        ([("sed -i s/a/b/ days.py && python check.py f", "OK 4 tests", 0)], 1.0, 1.0),
        ([("python check.py f && sed -i s/a/b/ days.py", "OK 4 tests", 0)], 0.0, 0.0),
        ([EDIT, ("pytest | tail -1", "no summary", 0)], 1.0, None),
        ([EDIT, ("pytest", "bash: pytest: command not found", 127)], 0.0, 0.0),
        ([EDIT, ("python check.py f", "", None)], 1.0, None),
        (
            [EDIT, PASSED, ("sed -i 's/a' days.py", "sed: -e expression #1, char 3: unterminated `s' command", 1)],
            1.0,
            1.0,
        ),
        ([EDIT, PASSED, ("echo done > notes.md", "", 0), ("rm tmp.py", "", 0)], 1.0, 1.0),
    ],
)
def test_verified(steps: list[Any], seen: float, passing: float | None) -> None:
    assert value("verified_after_edit", *steps) == seen
    assert value("verified_passing", *steps) == passing


def test_submitted_unfinished() -> None:
    assert value("submitted_unfinished", EDIT, FAILED, SUBMIT) == 1.0
    assert value("submitted_unfinished", EDIT, FAILED, WORSE, SUBMIT) == 0.0
    assert value("submitted_unfinished", FAILED, EDIT, PASSED, SUBMIT) == 0.0
    assert value("submitted_unfinished", SUBMIT, patch="  ") == 1.0
    assert value("submitted_unfinished", EDIT, FAILED, stop="step_limit") == 0.0
    assert value("submitted_unfinished", EDIT, stop="") is None


def test_carried_on_when_done() -> None:
    idle = [LOOK, ("git status", "", 0), PASSED]
    assert value("carried_on_when_done", EDIT, PASSED, *idle, SUBMIT) == 1.0
    assert value("carried_on_when_done", EDIT, PASSED, *idle, SUBMIT, options={"allowed": 3}) == 0.0
    assert value("carried_on_when_done", EDIT, PASSED, ("rm repro.py", "", 0), SUBMIT, options={"allowed": 0}) == 0.0
    assert value("carried_on_when_done", EDIT, PASSED, ("pytest", "9 passed", 0), SUBMIT, options={"allowed": 0}) == 0.0
    assert value("carried_on_when_done", EDIT, PASSED, *idle, FAILED) == 0.0
    assert value("carried_on_when_done", EDIT, FAILED, *idle) == 0.0, "the check that passes is the last step"
    assert value("carried_on_when_done", LOOK, LOOK, LOOK) == 0.0


def test_small_diff() -> None:
    assert value("small_diff", EDIT) == 1.0
    assert value("small_diff", EDIT, options={"max_lines": 1}) == 0.5
    assert value("small_diff", EDIT, patch="") == 0.0


def test_too_many_steps() -> None:
    assert value("too_many_steps", *[LOOK] * 8) == 0.0
    assert value("too_many_steps", *[LOOK] * 10, options={"free": 8, "most": 12}) == 0.5
    assert value("too_many_steps", *[LOOK] * 40) == 1.0
    assert value("too_many_steps", LOOK, options={"free": 8, "most": 8}) is None


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([EDIT, FAILED, WORSE], 1.0),
        ([EDIT, FAILED, LOOK, WORSE], 0.0),
        ([EDIT, FAILED, UNDO, WORSE], 0.0),
        ([FAILED, EDIT], 0.0),
        ([EDIT, PASSED, WORSE], 0.0),
    ],
)
def test_blind_edit_after_failure(steps: list[Any], expected: float) -> None:
    assert value("blind_edit_after_failure", *steps) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([LOOK, EDIT], 1.0),
        ([EDIT, LOOK], 0.0),
        ([("cat other.py", "x", 0), EDIT], 0.0),
        ([("cat /repo/days.py", "x", 0), EDIT], 1.0),
        ([("grep -rn 'def f' .", "./days.py:14:def f(a, b):", 0), EDIT], 1.0),
        ([("grep -rn 'def g' .", "./other.py:14:def g(a, b):", 0), EDIT], 0.0),
        ([("ls", "days.py", 0), EDIT], 0.0),
        ([("cat day.py", "cat: day.py: No such file or directory", 1), EDIT], 0.0),
        ([LOOK, EDIT, ("sed -i s/a/b/ hours.py", "", 0)], 0.5),
        ([LOOK], 0.0),
        ([("find . -name '*.py' | xargs sed -i s/a/b/", "", 0)], None),
        (
            [("python check.py f", 'File "/x/days.py", line 15, in f\nAssertionError\nFAILED 1 of 2 tests', 1), EDIT],
            1.0,
        ),
    ],
)
def test_looked_before_edit(steps: list[Any], expected: float | None) -> None:
    assert value("looked_before_edit", *steps) == expected


def test_edited_tests() -> None:
    touch = ("sed -i 's|def test_a|def no_a|' test_days.py", "", 0)
    assert value("edited_tests", LOOK, EDIT, PASSED) == 0.0
    assert value("edited_tests", LOOK, touch) == 1.0
    assert verdict("edited_tests", transcript(LOOK, touch)).steps == [2]
    assert value("edited_tests", LOOK, ("rm check.py", "", 0)) == 1.0
    assert value("edited_tests", LOOK, tampered=["test_days.py"]) == 1.0
    assert value("edited_tests", LOOK, patch=PATCH.replace("days.py", "test_days.py")) == 1.0
    assert value("edited_tests", LOOK, patch=PATCH.replace("days.py", "tests/a.py"), protected=[]) == 1.0
    mine = [("cat > test_new.py <<E\nx\nE", "", 0), ("sed -i s/x/y/ test_new.py", "", 0), ("rm test_new.py", "", 0)]
    assert value("edited_tests", *mine) == 0.0, "a test file of its own, gone at the end"
    assert value("edited_tests", ("sed -i s/a/b/ test_days.py", "sed: can't read test_days.py", 2)) == 0.0


def test_undid_work() -> None:
    assert value("undid_work", EDIT, UNDO) == 1.0
    assert value("undid_work", EDIT, PASSED, UNDO) == 1.0
    assert value("undid_work", EDIT, FAILED, UNDO, EDIT) == 0.0
    assert value("undid_work", UNDO, EDIT) == 0.0
    assert value("undid_work", EDIT, ("sed -i '15s/<=/</' days.py", "", 0)) == 1.0
    assert value("undid_work", EDIT, ("git checkout -q other.py", "", 0)) == 0.0


def test_left_scratch_files() -> None:
    assert value("left_scratch_files", EDIT) == 0.0
    assert value("left_scratch_files", EDIT, patch=PATCH + NEW_FILE.format("repro.py")) == 1.0
    assert value("left_scratch_files", EDIT, patch=PATCH + NEW_FILE.format("days.py.orig")) == 1.0
    assert value("left_scratch_files", EDIT, patch=PATCH + NEW_FILE.format("hours.py")) == 0.0
    ran = [("cat > look.py <<E\nimport days\nE", "", 0), ("python look.py", "1", 0)]
    assert value("left_scratch_files", *ran, patch=PATCH + NEW_FILE.format("look.py")) == 1.0


@pytest.mark.parametrize(
    ("steps", "options", "expected"),
    [
        ([FAILED, FAILED, FAILED], {}, 1.0),
        ([FAILED, FAILED], {}, 0.0),
        ([FAILED, FAILED], {"times": 2}, 1.0),
        ([FAILED, EDIT, FAILED, WORSE, FAILED], {"times": 2}, 0.0),
        ([FAILED, ("python  check.py   f", "FAILED 2 of 4 tests", 1)], {"times": 2}, 1.0),
        ([FAILED, ("python check.py f", "another failure", 1)], {"times": 2}, 0.0),
        ([LOOK, LOOK, LOOK], {}, 0.0),
        ([LOOK, LOOK, LOOK], {"only_failed": False}, 1.0),
        ([FAILED, FAILED, FAILED, EDIT, PASSED], {}, 1.0),
        ([(None, "", None)] * 3, {}, 0.0),
        ([LOOK], {"times": 1}, None),
    ],
)
def test_repeated_command(steps: list[Any], options: dict[str, Any], expected: float | None) -> None:
    assert value("repeated_command", *steps, options=options) == expected


def test_bad_commands() -> None:
    missing = ("grep -n f day.py", "grep: day.py: No such file or directory", 2)
    assert value("bad_commands", LOOK, FAILED, EDIT, PASSED) == 0.0
    assert value("bad_commands", LOOK, missing) == 0.5
    assert value("bad_commands", ("nosuch", "bash: nosuch: command not found", 127)) == 1.0
    assert value("bad_commands", (None, "", None), LOOK) == 0.5
    assert (
        value("bad_commands", ("python repro.py", "Traceback …\nFileNotFoundError: No such file or directory", 1))
        == 0.0
    )
    assert value("bad_commands") is None


def test_risky_commands_and_history() -> None:
    for command in [
        "rm -rf .",
        "rm -rf /",
        "git reset --hard HEAD~1",
        "git push -f",
        "git clean -fdx",
        "sudo shutdown now",
    ]:
        assert value("risky_commands", (command, "", 0)) == 1.0, command
    for command in ["rm -r build", "git checkout days.py", "git clean -n", "echo 'rm -rf /'"]:
        assert value("risky_commands", (command, "", 0)) == 0.0, command
    assert value("read_history", ("git --no-pager log --oneline", "a1b2 fix", 0)) == 1.0
    assert value("read_history", ("git status", "", 0)) == 0.0


def broken_rule(transcript: Transcript) -> Finding:
    """A rule that breaks down."""
    raise ZeroDivisionError("no steps\nsecond line")


def odd_rule(transcript: Transcript, *, answer: str) -> Any:
    """A rule that answers as it is told."""
    return {"none": None, "true": True, "half": 0.5, "two": 2.0, "text": "yes", "nan": float("nan")}[answer]


def test_a_rule_that_breaks_is_unknown_with_its_reason() -> None:
    broken = verdict(f"{__name__}:broken_rule", transcript(LOOK))
    assert (broken.value, broken.why) == (None, "the rule broke: ZeroDivisionError: no steps")


@pytest.mark.parametrize(
    ("told", "expected"), [("none", None), ("true", 1.0), ("half", 0.5), ("two", None), ("text", None), ("nan", None)]
)
def test_what_rules_of_ones_own_may_return(told: str, expected: float | None) -> None:
    found = verdict(f"{__name__}:odd_rule", transcript(LOOK), answer=told)
    assert found.value == expected and (expected is not None or found.why)


STEPS = st.builds(
    TranscriptStep,
    index=st.integers(1, 9),
    text=st.text(max_size=20),
    command=st.none() | st.text(max_size=60) | st.sampled_from([c for c, _, _ in (FAILED, LOOK, EDIT, UNDO, SUBMIT)]),
    output=st.text(max_size=60) | st.sampled_from(["FAILED", "OK 4 tests", "Traceback", "No such file or directory"]),
    exit_code=st.none() | st.integers(-1, 255),
    timed_out=st.booleans(),
    problem=st.sampled_from(["", "no block"]),
)


@given(
    st.builds(
        Transcript,
        id=st.just("x"),
        statement=st.text(max_size=10),
        steps=st.lists(STEPS, max_size=8),
        patch=st.text(max_size=80) | st.just(PATCH),
        stop=st.sampled_from(["", "submitted", "step_limit"]),
        resolved=st.none() | st.booleans(),
        protected=st.lists(st.text(max_size=5), max_size=2),
        tampered=st.lists(st.text(max_size=5), max_size=2),
    )
)
@settings(max_examples=200, deadline=None)
def test_no_transcript_breaks_a_rule(subject: Transcript) -> None:
    known = {step.index for step in subject.steps}
    for rule in RULES:
        found = verdict(rule, subject)
        assert not found.why.startswith("the rule broke"), (rule, found.why)
        assert found.value is None or 0 <= found.value <= 1
        assert found.why and set(found.steps) <= known


def test_every_rule_says_what_it_decides() -> None:
    for rule in RULES:
        assert bind(rule, {}, where="test").function.__doc__, rule
