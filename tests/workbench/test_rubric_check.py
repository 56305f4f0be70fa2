"""`rft rubric check`: errors in one line, remarks in a table, JSON for machines."""

import json
from pathlib import Path

import pytest

from rft import cli
from rft.rundir import Run

DOUBTFUL = """
name: doubtful
criteria:
  - {id: both, question: "Did the agent read the file and run the tests?"}
  - {id: fine, question: "Did the agent open the failing test?", reason: It tells what is expected.}
"""


def test_remarks_are_warnings_unless_strict(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "doubtful.yaml"
    path.write_text(DOUBTFUL)
    assert cli.main(["rubric", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "double barrelled" in out and "no reason" in out and "2 remarks" in out and "fine" not in out
    assert cli.main(["rubric", "check", str(path), "--strict"]) == 1
    assert "2 remarks" in capsys.readouterr().err
    assert cli.main(["rubric", "check", "coding_agent", "--strict"]) == 0
    assert "nothing to remark" in capsys.readouterr().out


def test_an_invalid_rubric_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(DOUBTFUL.replace("reason:", "raeson:"))
    assert cli.main(["rubric", "check", str(path)]) == 2
    err = capsys.readouterr().err
    assert "Did you mean 'reason'" in err and err.count("\n") == 1


def test_a_run_tells_which_criteria_tell_nothing(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    rubric = run.recipe.score.rubric
    assert cli.main(["rubric", "check", rubric, "--run", str(run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    kinds = {(remark["criterion"], remark["kind"]) for remark in found["remarks"]}
    assert ("always", "constant") in kinds and ("looked", "constant") not in kinds
    assert found["rubric"] == "bench" and found["criteria"] == 10
