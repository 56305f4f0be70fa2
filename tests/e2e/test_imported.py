"""A team's first day: attempts of others are scored, selected from and learnt from, each by its own command."""

from pathlib import Path
from typing import Any

import pytest

from rft.cli import main
from rft.rundir import open_run
from rft.store import Records
from rft.types import Example, Trajectory
from tests.formats.real_data import DATA, needs_data

pytestmark = [pytest.mark.slow, pytest.mark.real, needs_data]
POLICY = "policy.create={use: tiny_qwen3, vocab_size: 2000, hidden_size: 16, layers: 1, heads: 2, max_position: 65536}"


def test_runs_of_swe_agent_are_scored_selected_and_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The attempt that SWE-smith's grader found to resolve its task is the one that is learnt, word for word."""
    monkeypatch.chdir(tmp_path)
    logs = DATA / "swesmith" / "tests" / "test_logs"
    files, outcomes = [str(logs / "trajectories"), str(DATA / "sweagent")], str(logs / "run_evaluation")
    assert main(["rubric", "score", *files[:1], "--rubric", "coding_agent", "--out", "reports.jsonl"]) == 0
    rules = "select.rules=[{use: no_leak}, {use: dedupe}, {use: resolved}, {use: max_tokens, tokens: 65536}]"
    changes = ["policy.model=tiny", POLICY, rules, "train.trl={max_steps: 1}"]
    assert main(["import", *files, "--to", "mine", "--outcomes", outcomes, "--set", *changes]) == 0
    for stage in ("score", "select", "train"):
        assert main([stage, "runs/mine"]) == 0, stage
    run = open_run(Path("runs/mine"))
    (kept,) = Records(run.stage(1, "select").path / "examples.jsonl", Example)
    attempts = {a.id: a for a in Records(run.stage(1, "collect").path / "trajectories.jsonl", Trajectory)}
    assert kept.task_id.endswith("pr_53652") and len(kept.spans) == len(attempts[kept.trajectory_id].steps)
    trained = run.stage(1, "train").require().counts
    assert trained["examples"] == 1 and trained["learnt_tokens"] == sum(stop - start for start, stop in kept.spans)
    capsys.readouterr()
    assert main(["show", "mine"]) == 0
    assert "train" in capsys.readouterr().out
