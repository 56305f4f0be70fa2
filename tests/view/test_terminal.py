"""What `rft show` prints, of whole and of half-finished runs, and of hostile attempts."""

import re

import msgspec
import pytest

from rft.errors import RecipeError
from rft.rundir import Run
from rft.view import terminal
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
