"""`rft rubric test`: a rubric's golden transcripts, and the exit code that a pipeline reads."""

import json
from pathlib import Path

import pytest

from rft import cli

RUBRIC = """
name: polite
criteria:
  - {id: submitted, rule: submitted}
  - {id: polite, question: "Was it polite?"}
  - {id: silent, question: "Was it silent?"}
"""
GOLDEN = {
    "transcript": {
        "id": "<b>hello</b>",
        "statement": "greet",
        "steps": [{"index": 1, "text": "hello", "command": "echo hello", "output": "hello"}],
        "stop": "submitted",
    },
    "expected": {"submitted": 1, "polite": 1},
}


@pytest.fixture
def rubric(tmp_path: Path) -> str:
    (tmp_path / "polite.yaml").write_text(RUBRIC)
    (tmp_path / "polite.golden.jsonl").write_text(json.dumps(GOLDEN) + "\n")
    return str(tmp_path / "polite.yaml")


def says(answer: str) -> list[str]:
    reply = json.dumps({"verdicts": [{"id": "polite", "answer": answer, "reason": "it said [bold]hello[/bold]"}]})
    return ["--judge", "use=scripted", f"replies=['{reply}']"]


def test_expected_answers_exit_with_0(capsys: pytest.CaptureFixture[str], rubric: str) -> None:
    assert cli.main(["rubric", "test", rubric, *says("yes")]) == 0
    out = capsys.readouterr().out
    assert "2 of 2 answers on 1 transcripts as expected" in out and "no transcript expects anything of: silent" in out


def test_other_answers_are_listed_and_exit_with_1(capsys: pytest.CaptureFixture[str], rubric: str) -> None:
    assert cli.main(["rubric", "test", rubric, *says("no")]) == 1
    captured = capsys.readouterr()
    assert "[bold]hello[/bold]" in captured.out and "<b>hello</b>" in captured.out
    assert "1 of 2 answers are not the expected ones" in captured.err
    assert cli.main(["rubric", "test", rubric, *says("unknown"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [mismatch["criterion"] for mismatch in found["mismatches"]] == ["polite"]


def test_what_is_missing_is_one_line(capsys: pytest.CaptureFixture[str], rubric: str) -> None:
    assert cli.main(["rubric", "test", rubric]) == 2 and "no judge" in capsys.readouterr().err
    assert cli.main(["rubric", "test", rubric, "--judge", "use=scriptde"]) == 2
    assert "Did you mean 'scripted'" in capsys.readouterr().err
    Path(rubric).with_suffix(".golden.jsonl").unlink()
    assert cli.main(["rubric", "test", rubric]) == 2 and "no such file" in capsys.readouterr().err


def test_shipped_rubrics_of_rules_pass_their_own_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rubric", "test", "coding_agent"]) == 0
