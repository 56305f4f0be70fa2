"""What `rft show` prints, of whole and of half-finished runs, and of hostile attempts."""

import io
import re

import msgspec
import pytest
from rich.console import Console

from rft.errors import RecipeError
from rft.rundir import Run
from rft.types import Example
from rft.view import terminal, tokens
from rft.view.data import find

HOSTILE_ID = "spans-000/02/02"


def test_a_finished_run_has_a_row_a_round_behaviours_and_funnel(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.print_run(finished)
    text = capsys.readouterr().out
    assert re.search(r"0 \(start\) .* \d+ % \[\d+, \d+\]", text)
    assert len(re.findall(r"^ [12] +48 .* (yes|no) ", text, re.MULTILINE)) == 2
    assert "+ verified" in text and "− edited_tests" in text
    assert re.search(r"best_of_group +−\d+ +\d+", text)
    assert "missing" not in text
    assert max(map(len, text.splitlines())) <= terminal.PLAIN_WIDTH


def test_a_half_finished_run_says_what_is_missing(halfway: Run, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_run(halfway)
    text = capsys.readouterr().out
    assert "round 2: collect, score, select, train, evaluate missing (collect begun: 48 trajectories)" in text
    assert re.search(r"^ 1 +48 ", text, re.MULTILINE)


def test_an_untouched_run_is_shown(untouched: Run, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_run(untouched)
    text = capsys.readouterr().out
    assert "round 0: evaluate missing" in text
    assert "round 2: collect, score, select, train, evaluate missing" in text


def test_a_run_without_evaluation_misses_none(untouched: Run, capsys: pytest.CaptureFixture[str]) -> None:
    untouched.recipe.evaluate.splits = []
    terminal.print_run(untouched)
    text = capsys.readouterr().out
    assert "evaluate" not in text
    assert "round 1: collect, score, select, train missing" in text


def test_json_holds_the_same_numbers(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_run(finished, as_json=True)
    data = msgspec.json.decode(capsys.readouterr().out)
    assert [round["round"] for round in data["rounds"]] == [0, 1, 2]
    assert data["rounds"][1]["stages"]["collect"]["counts"]["attempts"] == 48
    assert data["rounds"][2]["evaluation"]["splits"]["heldout"]["metrics"]["resolved"]["value"] is not None
    assert data["missing"] == []


def test_an_attempt_shows_turns_verdicts_and_decision(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    kept = next(
        f"spans-{task:03d}/01/{sample:02d}"
        for task in range(12)
        for sample in range(4)
        if (shown := find(finished, f"spans-{task:03d}/01/{sample:02d}")).decision and shown.decision.keep
    )
    terminal.print_trajectory(finished, kept)
    text = capsys.readouterr().out
    assert "step 5" in text and "exit 0" in text and "exit 1" in text
    assert "learnt 30" in text
    assert "150 tokens are learnt" in text
    assert "‹ " in text
    assert "kept" in text


def test_turns_tell_how_they_are_learnt(finished: Run) -> None:
    shown = next(
        shown
        for sample in range(48)
        if (shown := find(finished, f"spans-{sample // 4:03d}/01/{sample % 4:02d}")).learnt
    )
    shown.steps = {1: 1.0, 2: -0.75, 3: 0.5, 4: 1.0}
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(terminal.attempt_view(shown))
    text = console.export_text()
    assert "made less likely" in text
    assert "read, not learnt" in text
    assert f"of 4 of {len(shown.trajectory.steps)} turns" in text


class ByBytes:
    """A tokenizer whose tokens are bytes."""

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode()


def test_the_tokens_of_an_attempt_are_told_apart() -> None:
    read, wrote, printed, last = (list(text.encode()) for text in ("Mend it.", "ls", "code.py\x1b[2J", "submit"))
    ids = [*read, *wrote, *printed, *last]
    one, two = len(read), len(read) + len(wrote) + len(printed)
    example = Example(
        id="a/0", trajectory_id="a", task_id="t", ids=ids, spans=[(one, one + len(wrote)), (two, len(ids))],
        steps=[1, 2], weights=[1.0, -0.25], provenance="recorded",
    )  # fmt: skip
    text = tokens.row(example, ByBytes())
    assert text.plain == "Mend it.‹step 1›lscode.py␛[2J‹step 2 × -0.25›submit"
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles["ls"] == "cyan"
    assert styles["submit"] == "red"
    assert styles["Mend it."] == styles["code.py␛[2J"] == "dim"


def test_tokens_of_an_attempt_that_is_not_learnt_are_refused_with_the_rule(finished: Run) -> None:
    with pytest.raises(RecipeError, match=r"nothing is learnt from it \(dropped by broke_down"):
        tokens.print_tokens(finished, "spans-000/01/01")


def test_a_breakdown_names_its_cause(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_trajectory(finished, "spans-000/01/01")
    text = capsys.readouterr().out
    assert "broke down in sandbox: the supervisor ended (out of memory)" in text
    assert "dropped by broke_down" in text
    assert "learnt" not in text


def test_hostile_text_reaches_the_terminal_as_text_and_not_in_full(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.print_trajectory(finished, HOSTILE_ID)
    text = capsys.readouterr().out
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert "[bold]markup[/bold]" in text
    assert "characters left out" in text
    assert len(text) < 200_000


def test_an_attempt_of_the_evaluation_is_found(finished: Run, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_trajectory(finished, "heldout-003/02/01", as_json=True)
    shown = msgspec.json.decode(capsys.readouterr().out)
    assert shown["trajectory"]["id"] == "heldout-003/02/01"
    assert shown["report"]["id"] == "heldout-003/02/01"
    assert shown["decision"] is None


def test_an_attempt_before_a_torn_line_is_found(halfway: Run) -> None:
    assert find(halfway, "spans-001/02/00").report is None


def test_an_unknown_attempt_is_answered_with_the_nearest(finished: Run) -> None:
    with pytest.raises(RecipeError, match=r"spans-000/01/99: not among .*Did you mean 'spans-000/01/0"):
        find(finished, "spans-000/01/99")
