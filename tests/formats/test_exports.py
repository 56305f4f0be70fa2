"""What is written for other programs holds what they can hold, and reads back as the same attempt."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from rft.cli import main
from rft.formats import read, strictly
from rft.formats.exports import EXPORTS, safe_name, write
from rft.transcript import messages_of, plain
from rft.types import Message, Outcome, Step, StopReason, ToolCall, Trajectory
from tests.formats.attempts_strategy import TEXT, attempts
from tests.interpreters import SWEBENCH

CALL = ToolCall(id="c", name="bash", arguments={"command": "ls"}, result=(0, 4))
ATTEMPT = Trajectory(
    id="t-1/01/00", task_id="t-1", split="train", round=1, sample=0, seed=0, stop=StopReason.SUBMITTED,
    prompt=[Message(role="system", content="be good"), Message(role="user", content="mend f")], policy="org/m",
    steps=[Step(index=1, reply="look", command="ls", observation="f.py", tool_calls=[CALL], reasoning="hm",
                seconds=1.5),
           Step(index=2, reply="done", command=None, observation="")],
    patch="diff --git a/f b/f\n", cost=0.5, outcome=Outcome(resolved=True),
)  # fmt: skip


def written(attempts: list[Trajectory], format: str) -> list[dict[str, Any]]:
    file = io.BytesIO()
    assert write(attempts, format, None, file) == len(attempts)
    return [json.loads(line) for line in file.getvalue().splitlines()]


def back(attempts: list[Trajectory], format: str, folder: Path) -> list[Trajectory]:
    out = folder / f"{safe_name(format)}.{'parquet' if format == 'parquet' else 'jsonl'}"
    out.unlink(missing_ok=True)
    write(attempts, format, out, io.BytesIO())
    return list(strictly(read(out)))


def test_rows_for_trainers_and_for_the_harness() -> None:
    (row,) = written([ATTEMPT], "messages")
    assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant", "user", "assistant"]
    assert "<function=bash>\n<parameter=command>ls</parameter>\n</function>" in row["messages"][2]["content"]
    assert row["resolved"] is True and row["task_id"] == "t-1" and set(row["messages"][2]) == {"role", "content"}
    (row,) = written([ATTEMPT], "sharegpt")
    assert [m["from"] for m in row["conversations"]] == ["system", "human", "gpt", "human", "gpt"]
    (row,) = written([ATTEMPT], "chat")
    assert row["messages"][2]["tool_calls"][0]["function"] == {"name": "bash", "arguments": '{"command":"ls"}'}
    assert row["messages"][3] == {"role": "tool", "content": "f.py", "tool_call_id": "c"}
    (row,) = written([ATTEMPT], "predictions")
    assert row == {"instance_id": "t-1", "model_name_or_path": "m", "model_patch": "diff --git a/f b/f\n"}


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(attempts())
def test_nothing_is_lost_that_a_chat_or_a_table_can_hold(tmp_path: Path, attempt: Trajectory) -> None:
    # a chat tells a tool's message from a result only by where it stands
    if not attempt.steps or any(m.role in ("tool", "assistant") for step in attempt.steps for m in step.after):
        return
    for format in ("chat", "parquet"):
        (found,) = back([attempt], format, tmp_path)
        facts = ("id", "patch", "stop", "protected", "policy", "cost", "task_id")
        given_patch = attempt.patch.lstrip("\r\n")
        for name in facts if given_patch == attempt.patch and "\r" not in attempt.patch else ():
            assert getattr(found, name) == getattr(attempt, name), name
        said = [(m.role, m.content) for m in messages_of(found.prompt, found.steps) if m.content]
        assert said == [(m.role, m.content) for m in messages_of(attempt.prompt, attempt.steps) if m.content]


@pytest.mark.parametrize("format", ["rft", "atif", "chat", "parquet"])
def test_an_attempt_reads_back_as_it_was(format: str, tmp_path: Path) -> None:
    (found,) = back([ATTEMPT], format, tmp_path)
    assert found.steps[0].tool_calls == [CALL] and found.steps[0].reasoning == "hm"
    assert [s.reply for s in found.steps] == ["look", "done"] and found.outcome == ATTEMPT.outcome
    assert (found.id, found.patch, found.stop, found.policy) == ("t-1/01/00", ATTEMPT.patch, ATTEMPT.stop, "org/m")


def test_sharegpt_reads_back_with_its_calls_as_text(tmp_path: Path) -> None:
    (found,) = back([ATTEMPT], "sharegpt", tmp_path)
    assert [s.command for s in found.steps] == ["ls", None] and found.steps[0].observation == "f.py"
    assert found.steps[0].reply == plain(messages_of([], ATTEMPT.steps)[0]).content


def test_a_folder_of_swe_agent_reads_back_and_no_id_leaves_it(tmp_path: Path) -> None:
    evil = [replace(ATTEMPT, id=f"x{n}", task_id=task) for n, task in enumerate(["../../evil", "t-1", "t-1", "..", ""])]
    assert write(evil, "swe-agent", tmp_path / "out", io.BytesIO()) == 5
    files = sorted((tmp_path / "out").rglob("*.traj"))
    assert len(files) == 5 and set(tmp_path.rglob("*.traj")) == set(files)
    (found,) = [a for p in files for a in strictly(read(p)) if a.task_id == "../../evil"]
    assert found.steps[0].tool_calls == [CALL] and found.steps[0].seconds == 1.5 and found.patch == ATTEMPT.patch
    assert found.prompt == ATTEMPT.prompt and found.steps[0].reasoning == "hm" and found.cost == 0.5
    assert found.policy == "org/m" and found.stop is StopReason.SUBMITTED


@settings(deadline=None)
@given(TEXT, TEXT)
def test_a_safe_name_is_one_file_and_tells_ids_apart(one: str, other: str) -> None:
    assert "/" not in safe_name(one) and safe_name(one) not in ("", ".", "..")
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_a_run_is_exported_whole_kept_or_by_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = Path(__file__).parents[2] / "recipes" / "trajectories" / "kata.jsonl"
    assert main(["import", str(shipped), "--to", "mine"]) == 0
    assert main(["export", "mine", "--format", "predictions", "--out", "all.jsonl"]) == 0
    assert main(["export", "runs/mine", "--format", "atif", "--round", "1", "--out", "one.jsonl"]) == 0
    assert len(Path("all.jsonl").read_text().splitlines()) == len(Path("one.jsonl").read_text().splitlines()) == 48
    assert main(["export", "one.jsonl", "--format", "chat"]) == 0
    captured = capsys.readouterr()
    assert len([line for line in captured.out.splitlines() if line.startswith("{")]) == 48
    for arguments, code, says in [
        (["mine", "--format", "atif", "--kept"], 1, "not finished"),
        (["mine", "--format", "atif", "--held-out"], 2, "no attempts of stage evaluate"),
        (["mine", "--format", "atif", "--round", "7"], 2, "in round 7"),
        (["mine", "--format", "aitf"], 2, f"expected {', '.join(EXPORTS)}. Did you mean 'atif'?"),
        (["mine", "--format", "parquet"], 2, "makes a file. Name it: --out."),
        (["mine", "--format", "chat", "--out", "all.jsonl"], 2, "is there already"),
        (["one.jsonl", "--format", "chat", "--kept"], 2, "one.jsonl: not a run"),
        (["nowhere", "--format", "chat"], 2, "nowhere: not a run"),
    ]:
        assert main(["export", *arguments]) == code
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line


def test_a_table_is_what_datasets_and_pyarrow_read(tmp_path: Path) -> None:
    import datasets
    import pyarrow.parquet

    out = tmp_path / "t.parquet"
    assert write([ATTEMPT, replace(ATTEMPT, id="other", outcome=None)], "parquet", out, io.BytesIO()) == 2
    datasets.disable_progress_bars()
    table = datasets.load_dataset("parquet", data_files=str(out), cache_dir=str(tmp_path / "cache"), split="train")
    assert table["id"] == ["t-1/01/00", "other"] == pyarrow.parquet.read_table(out)["id"].to_pylist()
    assert table["resolved"] == [True, None] and [m["role"] for m in table[0]["messages"]][-2:] == ["tool", "assistant"]
    (row,) = written([ATTEMPT], "chat")
    said = [{key: value for key, value in m.items() if value is not None} for m in table[0]["messages"]]
    assert [m["content"] for m in said] == [m["content"] for m in row["messages"]]


@pytest.mark.slow
@pytest.mark.skipif(not SWEBENCH, reason="RFT_SWEBENCH_PYTHON names no Python that has swebench")
def test_predictions_are_what_swebench_reads(tmp_path: Path) -> None:
    loader = """
import json, sys
from swebench.harness.utils import get_predictions_from_file
print(json.dumps(get_predictions_from_file(sys.argv[1], "none", "test")))
"""
    out = tmp_path / "predictions.jsonl"
    shipped = Path(__file__).parents[2] / "recipes" / "trajectories" / "kata.jsonl"
    assert main(["export", str(shipped), "--format", "predictions", "--out", str(out)]) == 0
    done = subprocess.run([SWEBENCH, "-c", loader, out], capture_output=True, text=True, check=True)
    said = {(p["instance_id"], p["model_patch"]) for p in json.loads(done.stdout.splitlines()[-1])}
    assert said == {(a.task_id, a.patch) for a in strictly(read(shipped))}
