"""`rft import`: files become a run on which score and select go on; killed, damaged, unreadable, repeated."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rft.cli import main
from rft.rundir import open_run
from rft.store import Records
from rft.types import Decision, Example, Trajectory

SHIPPED = Path(__file__).parents[2] / "recipes" / "trajectories" / "kata.jsonl"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chat(text: str, **facts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": text}], **facts}


def rows(path: str, *values: Any) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text("".join((v if isinstance(v, str) else json.dumps(v)) + "\n" for v in values))
    return path


def imported(run: str = "runs/mine") -> list[Trajectory]:
    return list(Records(Path(run) / "round_01" / "1_collect" / "trajectories.jsonl", Trajectory))


def counts(run: str = "runs/mine") -> dict[str, int]:
    return open_run(Path(run)).stage(1, "collect").require().counts


def test_a_run_is_scored_and_selected_from_with_no_collection(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(SHIPPED), "--to", "mine"]) == 0
    assert capsys.readouterr().out == "runs/mine\n"
    assert main(["score", "runs/mine"]) == 0 and main(["select", "runs/mine"]) == 0
    kept = [d for d in Records(Path("runs/mine/round_01/3_select/decisions.jsonl"), Decision) if d.keep]
    examples = list(Records(Path("runs/mine/round_01/3_select/examples.jsonl"), Example))
    assert len(kept) == len(examples) == 11 and {e.provenance for e in examples} == {"rendered"}
    resolved = {t.id for t in imported() if t.outcome and t.outcome.resolved}
    assert len(resolved) == 23 and {d.id for d in kept} <= resolved


def test_a_finished_import_is_a_copy_and_changes_of_its_keys_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows("a.jsonl", chat("1"), chat("2"))
    changes = ["--set", "policy.model=other", "--set", "seed=5"]
    assert main(["import", "a.jsonl", "--to", "mine", *changes]) == 0
    made_with = open_run(Path("runs/mine")).recipe
    assert (made_with.policy.model, made_with.seed) == ("other", 5)
    before = Path("runs/mine/round_01/1_collect/trajectories.jsonl").read_bytes()
    Path("a.jsonl").unlink()
    assert main(["collect", "runs/mine"]) == 0, "the sources are not looked at again"
    assert main(["collect", "runs/mine", "policy.model=third"]) == 0, "who learns is nothing to an import"
    rows("b.jsonl", chat("3"))
    assert main(["import", "b.jsonl", "--to", "mine"]) == 1
    assert "collect.imports.files" in capsys.readouterr().err
    assert Path("runs/mine/round_01/1_collect/trajectories.jsonl").read_bytes() == before
    assert main(["import", "b.jsonl", "--to", "mine", "--redo"]) == 0 and len(imported()) == 1


def test_ids_come_from_the_source_else_from_task_or_file(here: Path) -> None:
    rows("x/a.jsonl", chat("1", id="mine"), chat("2", task_id="t"), chat("3", instance_id="t"), chat("4"))
    rows("y/a.jsonl", chat("5"), chat("6", task_id="t"))
    assert main(["import", "x", "y", "--to", "mine"]) == 0
    found = {t.steps[0].reply: (t.id, t.sample) for t in imported()}
    assert found["1"][0] == "mine" and found["2"] == ("t/01/00", 0) and found["3"] == ("t/01/01", 1)
    assert found["6"] == ("t/01/02", 2)
    assert found["4"][0].endswith("x/a/4") and found["5"][0].endswith("y/a/1")
    assert {t.task_id for t in imported() if t.steps[0].reply in "145"} == {imported()[0].task_id}, (
        "one prompt, one task"
    )


def test_what_cannot_be_read_is_a_recorded_failure_and_read_when_it_was_mended(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [chat(str(n), id=f"c{n}") for n in range(9)]
    rows("a.jsonl", *good[:4], "{torn", *good[4:])
    assert main(["import", "a.jsonl", "--to", "mine"]) == 0, "one of ten is within collect.max_failed"
    err = capsys.readouterr().err
    assert "not read: " in err and "a.jsonl, line 5: not JSON" in err
    assert counts()["unread"] == 1 and counts()["attempts"] == 10
    (failed,) = [t for t in imported() if t.failure]
    assert failed.failure is not None and failed.failure.where == "import" and "line 5" in failed.failure.message
    assert main(["score", "runs/mine"]) == 0
    # too many: the stage fails, what was read stays, the same command carries on
    rows("b.jsonl", *good[:2], "{torn")
    assert main(["import", "b.jsonl", "--to", "other"]) == 1
    assert "1 of 3 attempts could not be read" in capsys.readouterr().err
    rows("b.jsonl", *good[:3])
    assert main(["import", "b.jsonl", "--to", "other"]) == 0
    assert [t.id for t in imported("runs/other")] == ["c0", "c1", "c2"] and counts("runs/other")["unread"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.traj", "--to", "mine"], 2, "nowhere.traj: cannot be read (No such file"),
        (["empty", "--to", "mine"], 2, "none of its 0 files holds a trajectory"),
        (["a.jsonl", "--to", "mine", "--format", "atfi"], 2, "atfi: no format that rft reads"),
        (["a.jsonl", "--to", "mine", "--outcomes", "a.jsonl"], 2, "no report of a grader"),
        (["a.jsonl", "--to", "../m*"], 2, "name is 'm*'"),
        (["a.jsonl", "--to", "mine", "--set", "colect.x=1"], 2, "Did you mean 'collect'"),
        (["notes.txt", "--to", "mine"], 1, "notes.txt: not JSON"),
        (["other.json", "--to", "mine"], 1, "no trajectory of a format that rft knows"),
        (["a.jsonl", "--to", "mine", "--format", "swe-agent"], 1, "could not be read"),
        (["a.jsonl", "a.jsonl", "--to", "mine"], 1, "stands in"),
    ],
)
def test_wrong_arguments_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    rows("a.jsonl", chat("1", id="x"))
    Path("empty").mkdir()
    Path("notes.txt").write_text("buy milk\nand bread\n")
    Path("other.json").write_text('{"milk": 2}')
    assert main(["import", *arguments]) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rft: ")]
    assert says in line


def test_verdicts_of_two_policies_are_not_mixed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows("a.jsonl", chat("1", instance_id="t-1"))
    rows("v.jsonl", {"instance_id": "t-1", "resolved": True}, {"instance_id": "t-1", "resolved": False})
    assert main(["import", "a.jsonl", "--to", "mine", "--outcomes", "v.jsonl"]) == 2
    assert "says that 't-1' is not resolved" in capsys.readouterr().err
    rows("v.jsonl", {"resolved_ids": ["t-1"], "unresolved_ids": ["t-2"]})
    assert main(["import", "a.jsonl", "--to", "mine", "--outcomes", "v.jsonl"]) == 0
    (attempt,) = imported()
    assert attempt.outcome is not None and attempt.outcome.resolved is True and counts()["graded"] == 1
    assert "1 of 2 outcomes are of tasks without an attempt" in capsys.readouterr().err


@pytest.mark.process
def test_a_killed_import_carries_on_and_memory_does_not_grow(here: Path) -> None:
    """16 MB of chats; killed in the middle, begun again: the same records as without the kill."""
    with Path("big.jsonl").open("w") as file:
        for number in range(400):
            file.write(json.dumps(chat("x" * 40_000, id=f"c{number}")) + "\n")
    program = (
        "import re, sys; from rft.cli import main\n"
        "code = main(['import', 'big.jsonl', '--to', sys.argv[1]])\n"
        "print(code, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    store = Path("runs/killed/round_01/1_collect/trajectories.jsonl")
    first = subprocess.Popen([sys.executable, "-c", program, "killed"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (store.exists() and store.stat().st_size > 2_000_000) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    peaks = {}
    for name in ("killed", "whole"):
        done = subprocess.run(
            [sys.executable, "-c", program, name], capture_output=True, text=True, check=True, timeout=400
        )
        code, peaks[name] = done.stdout.split()[-2:]
        assert code == "0", done.stderr
    assert imported("runs/killed") == imported("runs/whole") and len(imported("runs/whole")) == 400
    assert int(peaks["whole"]) < 400_000, "kB"
