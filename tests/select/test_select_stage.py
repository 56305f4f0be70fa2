"""The stage select: every attempt has one decision, the funnel adds up, broken rules stop it, order changes nothing."""

import random
from pathlib import Path

import msgspec
import pytest

from reward_models.types import Report
from rft import select
from rft.errors import StageError
from rft.rundir import Run
from rft.select import FunnelRow
from rft.store import Records
from rft.types import Decision, Example, Failure, Outcome, StopReason, Trajectory
from tests.conftest import make_trajectory
from tests.select.prepared import prepare


def scored(folder: Path, rules: str, attempts: list[Trajectory], scores: dict[str, float | None]) -> Run:
    reports = [
        Report(id=a.id, task_id="t", rubric="r", judge="", verdicts=[], score=scores.get(a.id)) for a in attempts
    ]
    return prepare(folder, f"{{rules: {rules}}}", attempts, reports)


ATTEMPTS = [
    make_trajectory("a/01/00", task="a"),
    make_trajectory("a/01/01", task="a"),
    make_trajectory("a/01/02", task="a", outcome=Outcome(resolved=False)),
    make_trajectory("b/01/00", task="b", stop=StopReason.STEP_LIMIT),
    make_trajectory("b/01/01", task="b", failure=Failure(where="sandbox", message="gone"), outcome=None, tokens=[]),
    make_trajectory("c/01/00", task="c"),
]
SCORES: dict[str, float | None] = {"a/01/00": 0.4, "a/01/01": 0.9, "b/01/00": 1.0, "c/01/00": None}
RULES = "[{use: resolved}, {use: finished}, {use: best_of_group, keep: 1}]"


def decisions(run: Run) -> dict[str, tuple[bool, str]]:
    records = Records(run.stage(1, "select").path / "decisions.jsonl", Decision)
    return {d.id: (d.keep, d.rule) for d in records}


def test_each_attempt_has_one_decision_with_the_first_rule_that_dropped_it(tmp_path: Path) -> None:
    run = scored(tmp_path, RULES, ATTEMPTS, SCORES)
    select.run(run.recipe, run, 1)
    assert decisions(run) == {
        "a/01/00": (False, "best_of_group"),
        "a/01/01": (True, "kept"),
        "a/01/02": (False, "resolved"),
        "b/01/00": (False, "finished"),
        "b/01/01": (False, "broke_down"),
        "c/01/00": (False, "best_of_group"),
    }
    examples = list(Records(run.stage(1, "select").path / "examples.jsonl", Example))
    assert [(e.trajectory_id, e.spans, e.provenance) for e in examples] == [("a/01/01", [(4, 8), (12, 18)], "recorded")]
    funnel = msgspec.json.decode((run.stage(1, "select").path / "funnel.json").read_bytes(), type=list[FunnelRow])
    assert [(row.rule, row.before, row.dropped, row.after) for row in funnel] == [
        ("broke_down", 6, 1, 5),
        ("resolved", 5, 1, 4),
        ("finished", 4, 1, 3),
        ("best_of_group", 3, 2, 1),
    ]
    assert run.stage(1, "select").require().counts == {"seen": 6, "kept": 1, "learnt_tokens": 10}


def test_the_order_of_the_files_changes_nothing(tmp_path: Path) -> None:
    attempts = [make_trajectory(f"t{t}/01/{s:02d}", task=f"t{t}", sample=s) for t in range(5) for s in range(4)]
    scores: dict[str, float | None] = {a.id: 0.5 for a in attempts}
    rules = "[{use: random_of_group, keep: 2}, {use: budget, attempts: 5}]"
    outcomes = []
    for number in range(3):
        random.Random(number).shuffle(attempts)
        folder = tmp_path / str(number)
        folder.mkdir()
        run = scored(folder, rules, attempts, scores)
        select.run(run.recipe, run, 1)
        outcomes.append((decisions(run), (run.stage(1, "select").path / "examples.jsonl").read_bytes()))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_an_attempt_of_which_nothing_is_learnt_is_counted(tmp_path: Path) -> None:
    silent = make_trajectory("a/01/01", task="a", steps=[], tokens=[])
    run = prepare(tmp_path, "{rules: []}", [make_trajectory("a/01/00", task="a"), silent], {})
    select.run(run.recipe, run, 1)
    assert decisions(run) == {"a/01/00": (True, "kept"), "a/01/01": (False, "teach")}
    funnel = msgspec.json.decode((run.stage(1, "select").path / "funnel.json").read_bytes(), type=list[FunnelRow])
    assert funnel[-1].example == "a/01/01: nothing of it is learnt"


def test_nothing_kept_is_an_error_that_names_the_rule(tmp_path: Path) -> None:
    run = scored(tmp_path, "[{use: min_score, score: 1.0}, {use: finished}]", ATTEMPTS[:3], {})
    with pytest.raises(StageError, match="nothing was kept of 3 attempts; 3 were dropped by 'min_score'"):
        select.run(run.recipe, run, 1)
    assert run.stage(1, "select").manifest() is None


def ill(group: object) -> dict[str, str]:
    raise ZeroDivisionError("oh")


def test_a_users_rule_that_breaks_down_stops_the_stage(tmp_path: Path) -> None:
    run = scored(tmp_path, f"[{{use: '{__name__}:ill'}}]", ATTEMPTS, SCORES)
    with pytest.raises(StageError, match=r"rule '.*:ill' broke down on task .*ZeroDivisionError: oh"):
        select.run(run.recipe, run, 1)
