"""`rft rubric ablate`: held against the decisions that the run itself made, and against doing it by hand."""

import json

import pytest
from msgspec.structs import replace

from reward_models.scorers import signed
from rft import cli
from rft.rundir import Run
from rft.workbench.ablate import Ablation, ablation
from rft.workbench.scored import Scored, find_round


@pytest.fixture(scope="module")
def found(run: Run) -> Ablation:
    return ablation(find_round(str(run.path)))


def test_nothing_left_out_decides_as_the_run_did(run: Run, found: Ablation) -> None:
    assert found.differs == 0 and found.attempts == 80
    assert found.kept == sum(decision.keep for decision in find_round(str(run.path)).decisions())


def test_who_enters_and_who_leaves_is_what_the_scores_by_hand_say(run: Run, found: Ablation) -> None:
    """Of those that stand before `min_score`, the best of each task by the score without `looked`."""
    scored = find_round(str(run.path))
    before, after = best(scored, {"after"}), best(scored, {"after", "looked"})
    one = next(without for without in found.without if without.criterion == "looked")
    changed = {identity.rpartition("/01/")[0] for identity in [*one.entered, *one.left]}
    sure = {task for task in before if before[task] and after.get(task) and len(before[task]) == len(after[task]) == 1}
    assert {task for task in sure if before[task] != after[task]} == changed & sure and changed


def best(scored: Scored, without: set[str]) -> dict[str, set[str]]:
    """Task to its best-scored attempts among those that finished, are resolved and score at least 0.5."""
    rubric = replace(scored.rubric, criteria=[c for c in scored.rubric.criteria if c.id not in without])
    scores: dict[str, dict[str, float]] = {}
    for trajectory, report in scored.pairs():
        value = signed(rubric, report.verdicts).value
        if trajectory.stop == "submitted" and trajectory.outcome.resolved and value is not None and value >= 0.5:
            scores.setdefault(trajectory.task_id, {})[trajectory.id] = value
    return {
        task: {name for name, value in of_task.items() if value > max(of_task.values()) - 1e-12}
        for task, of_task in scores.items()
    }


def test_what_always_says_the_same_decides_nothing(found: Ablation) -> None:
    always = next(without for without in found.without if without.criterion == "always")
    assert always.entered == [] and always.left == [] and always.kept == found.kept


def test_thresholds_keep_fewer_and_fewer(found: Ablation) -> None:
    kept = [level.kept for level in found.thresholds]
    above = [level.above for level in found.thresholds]
    assert above == sorted(above, reverse=True) and kept == sorted(kept, reverse=True)
    assert above[0] == 79 and kept[0] >= found.kept and kept[-1] < found.kept
    assert "in place of" in found.threshold


def test_a_recipe_without_a_threshold_gets_one_as_its_last_rule(run: Run) -> None:
    scored = find_round(str(run.path))
    scored.run.recipe.select.rules = [{"use": "finished"}, {"use": "resolved"}]
    found = ablation(scored)
    assert "last rule" in found.threshold and found.differs > 0, "and the run decided by other rules"
    assert found.thresholds[0].kept == found.kept > found.thresholds[-2].kept


def test_tables_and_json(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    assert cli.main(["rubric", "ablate", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "No decision rests on:" in out and "at least" in out and "ablate_01.html" in out
    assert cli.main(["rubric", "ablate", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == sum(d.keep for d in find_round(str(run.path)).decisions())
    assert cli.main(["rubric", "ablate", str(run.path), "--round", "0"]) == 2
