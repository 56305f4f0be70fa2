"""`rft rubric score`: attempts of any origin in, reports out; what is wrong with a row, and carrying on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reward_models.types import Report
from rft.cli import main
from rft.store import Records
from rft.types import Message, Outcome, Step, StopReason, Trajectory
from tests.conftest import write_records

RULES = (
    "name: short\ncriteria: [{id: solved, rule: tests_pass}, {id: idle, rule: too_many_steps, polarity: discourage}]\n"
)
ASKS = "name: asks\ncriteria: [{id: kind, question: 'Was it kind?'}]\n"
YES = '{"verdicts": [{"id": "kind", "answer": "yes"}]}'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two rubrics, where the command is run."""
    monkeypatch.chdir(tmp_path)
    Path("rules.yaml").write_text(RULES)
    Path("asks.yaml").write_text(ASKS)
    return tmp_path


def chats(rows: list[Any]) -> str:
    Path("chats.jsonl").write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return "chats.jsonl"


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": text}], **more}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    code = main(["rubric", "score", *arguments])
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


def stored(path: str) -> dict[str, Report]:
    return {report.id: report for report in Records(Path(path), Report)}


def test_chats_are_scored_to_stdout(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [chat("a", id="first", resolved=True, source="kept out"), chat("b", resolved=False), chat("c"), ""]
    code, found, log = run(capsys, chats(rows), "--rubric", "rules.yaml")
    assert code == 0 and "3 attempts, 3 scored" in log
    assert [(row["id"], row["score"]) for row in found] == [("first", 1.0), ("chats/2", 0.5), ("chats/3", 1.0)]
    assert found[2]["verdicts"][0]["value"] is None and found[2]["verdicts"][0]["cause"] == "rule"
    assert not Path("runs").exists(), "rules leave no file of verdicts"


def test_a_runs_trajectories_are_scored(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt = Trajectory(
        id="a/1/0", task_id="a", split="train", round=1, sample=0, seed=0, stop=StopReason.SUBMITTED,
        prompt=[Message(role="user", content="mend f")], outcome=Outcome(resolved=True),
        steps=[Step(index=1, reply="submit", command="submit", observation="")],
    )  # fmt: skip
    write_records(Path("trajectories.jsonl"), [attempt])
    code, found, _ = run(capsys, "trajectories.jsonl", "--rubric", "rules.yaml")
    assert code == 0 and [(row["id"], row["task_id"], row["score"]) for row in found] == [("a/1/0", "a", 1.0)]


def test_a_judge_is_named_by_its_options_and_votes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = ["--judge", "use=scripted", f"replies=['{YES}']"]
    code, found, _ = run(capsys, chats([chat("a")]), "--rubric", "asks.yaml", *judge, "--votes", "3")
    assert code == 0 and found[0]["score"] == 1.0 and found[0]["verdicts"][0]["votes"] == [1.0, 1.0, 1.0]


def test_reports_in_a_file_are_carried_on(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [chats([chat(str(n), id=f"c{n}") for n in range(9)]), "--rubric", "rules.yaml", "--out", "out.jsonl"]
    assert run(capsys, *arguments)[0] == 0
    whole = Path("out.jsonl").read_bytes()
    Path("out.jsonl").write_bytes(whole[: len(whole) // 2])
    code, printed, _ = run(capsys, *arguments)
    assert code == 0 and printed == [] and set(stored("out.jsonl")) == {f"c{n}" for n in range(9)}
    assert sorted(Path("out.jsonl").read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_judge_that_is_down_is_no_score_and_made_up_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = [chats([chat("a"), chat("b")]), "--rubric", "asks.yaml", "--out", "out.jsonl"]
    down = ["--judge", "use=endpoint", "model=m", "url=http://127.0.0.1:9/v1", "tries=1"]
    code, _, log = run(capsys, *source, *down)
    assert code == 1 and "the judge answered on none of 2" in log
    assert all(report.score is None and report.failure for report in stored("out.jsonl").values())
    assert run(capsys, *source, "--judge", "use=scripted", f"replies=['{YES}']")[0] == 0
    assert [report.score for report in stored("out.jsonl").values()] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("hm", "chats.jsonl, line 2: not JSON"),
        ("[1]", "chats.jsonl, line 2: messages[0]: Expected object, got int"),
        ({"prompt": "x"}, "chats.jsonl, line 2: no 'messages'"),
        ({"messages": []}, "chats.jsonl, line 2: messages: no message of the role 'assistant'"),
        ({"messages": [{"role": "bot"}]}, "chats.jsonl, line 2: messages[0].role: Invalid enum value 'bot'"),
        (chat("a", id="same"), "chats.jsonl, line 2: id 'same' stands in chats.jsonl, line 1 as well"),
        (chat("a", id=["x"]), "chats.jsonl, line 2: id: Expected str"),
        (chat("a", resolved="yes"), "chats.jsonl, line 2: resolved: Expected bool"),
        ('{"messages": "\udcff"}', "chats.jsonl, line 2: not JSON"),
    ],
)
def test_a_wrong_row_is_one_line_before_anything_is_judged(
    here: Path, capsys: pytest.CaptureFixture[str], row: Any, says: str
) -> None:
    text = row if isinstance(row, str) else json.dumps(row)
    Path("chats.jsonl").write_bytes(f"{json.dumps(chat('a', id='same'))}\n{text}\n".encode(errors="surrogateescape"))
    for out in ([], ["--out", "out.jsonl"]):
        code, found, log = run(capsys, "chats.jsonl", "--rubric", "rules.yaml", *out)
        assert code == 2 and found == [] and log.startswith(f"rft: {says}") and log.count("\n") == 1
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.jsonl", "--rubric", "rules.yaml"], "nowhere.jsonl: cannot be read (No such file"),
        (["empty", "--rubric", "rules.yaml"], "empty: none of its 0 files holds a trajectory"),
        (["rules.yaml", "--rubric", "rules.yaml"], "rules.yaml: not JSON"),
        (["chats.jsonl", "--rubric", "coding_agnet"], "--rubric: coding_agnet: no such rubric"),
        (["chats.jsonl", "--rubric", "asks.yaml"], "--judge: missing; criterion 'kind'"),
        (["chats.jsonl", "--rubric", "asks.yaml", "--judge", "endpoint"], "--judge endpoint: expected key=value"),
        (["chats.jsonl", "--rubric", "asks.yaml", "--judge", "use=endpont"], "--judge: no judge is called 'endpont'"),
        (["chats.jsonl", "--rubric", "rules.yaml", "--votes", "0"], "--votes 0: expected at least 1"),
        (["chats.jsonl", "--rubric", "rules.yaml", "--out", "chats.jsonl"], "--out chats.jsonl: holds something else"),
    ],
)
def test_wrong_arguments_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    Path("empty").mkdir()
    before = Path(chats([chat("a")])).read_bytes()
    code, found, log = run(capsys, *arguments)
    assert code == 2 and found == [] and log.startswith(f"rft: {says}") and log.count("\n") == 1
    assert Path("chats.jsonl").read_bytes() == before


def test_two_rubrics_never_share_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [chats([chat("a")]), "--rubric", "rules.yaml", "--out", "out.jsonl"]
    assert run(capsys, *arguments)[0] == 0
    Path("rules.yaml").write_text(RULES.replace("tests_pass", "tests_pass, weight: 3"))
    code, _, log = run(capsys, *arguments)
    assert code == 2 and "--out out.jsonl: holds reports by another version of the rubric" in log


@pytest.mark.process
def test_memory_does_not_grow_with_the_file(here: Path) -> None:
    """Peak memory for ten times as many chats, each of them 40 kB."""
    program = (
        "import re, sys; from rft.cli import main\n"
        "code = main(['rubric', 'score', sys.argv[1], '--rubric', 'rules.yaml', '--out', sys.argv[1] + '.out'])\n"
        "print(code, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    peaks = []
    for count in (50, 500):
        Path(f"{count}.jsonl").write_text("".join(json.dumps(chat("x" * 40_000)) + "\n" for _ in range(count)))
        done = subprocess.run(
            [sys.executable, "-c", program, f"{count}.jsonl"], capture_output=True, text=True, check=True,
            timeout=120,
        )  # fmt: skip
        code, peak = done.stdout.split()
        assert code == "0", done.stderr
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 10_000, "20 MB of chats, in kB"
