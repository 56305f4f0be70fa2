"""`rft rubric calibrate`: figures that an independent library gives, floors, repeats, and rubrics switched off."""

import json
import random
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
import yaml
from msgspec.structs import replace
from sklearn.metrics import cohen_kappa_score

from reward_models import rubric as rubrics
from rft import cli
from rft.errors import RecipeError, StageError
from rft.rundir import Run
from rft.workbench.again import ask_again
from rft.workbench.calibration import Calibrated, Calibration, calibrate
from rft.workbench.labels import Label, answer_of_verdict, read
from rft.workbench.scored import Scored, find_round
from rft.workbench.switch_off import switched_off

NOISE = {"looked": 0.05, "claimed": 0.4}
"""How often a person says otherwise than the judge; 0.15 where nothing is said."""


@pytest.fixture(scope="module")
def scored(run: Run) -> Scored:
    return find_round(str(run.path))


@pytest.fixture(scope="module")
def labels(scored: Scored) -> list[Label]:
    """Two people on 60 attempts, the second one on half of them."""
    draw = random.Random(7)
    made = []
    for trajectory, report in list(scored.pairs())[:60]:
        for verdict in report.verdicts:
            for rater in ("first", "second"):
                if rater == "first" or draw.random() < 0.5:
                    made.append(_label(draw, scored, trajectory.id, verdict, rater))
    return made


def _label(draw: random.Random, scored: Scored, trajectory: str, verdict: Any, rater: str) -> Label:
    criterion = next(c for c in scored.rubric.criteria if c.id == verdict.criterion)
    label = Label(trajectory=trajectory, criterion=criterion.id, rater=rater)
    wrong = draw.random() < NOISE.get(criterion.id, 0.15)
    if criterion.answers:
        return replace(label, label=draw.choice(criterion.answers) if wrong else verdict.label)
    if verdict.value is None:
        return replace(label, value=draw.choice([0.0, 1.0, None]))
    return replace(label, value=1 - verdict.value if wrong else verdict.value)


@pytest.fixture(scope="module")
def found(scored: Scored, labels: list[Label]) -> Calibration:
    return calibrate(scored.rubric, scored.reports(), labels)


def one(found: Calibration, name: str) -> Calibrated:
    return next(criterion for criterion in found.criteria if criterion.id == name)


def pairs(scored: Scored, labels: list[Label], name: str) -> list[tuple[str, str]]:
    """What the first person said and what the judge said, where both could tell."""
    criterion = next(c for c in scored.rubric.criteria if c.id == name)
    reports = {report.id: report for report in scored.reports()}
    made = []
    for label in labels:
        if label.criterion == name:
            verdict = next(v for v in reports[label.trajectory].verdicts if v.criterion == name)
            judge = answer_of_verdict(criterion, verdict)
            person = label.label or (None if label.value is None else "yes" if label.value else "no")
            if judge is not None and person is not None:
                made.append((person, judge))
    return made


@pytest.mark.parametrize(
    ("name", "weights", "level"),
    [("looked", None, "nominal"), ("claimed", None, "nominal"), ("shaky", None, "nominal"), ("area", None, "nominal"),
     ("depth", "quadratic", "ordinal")],
)  # fmt: skip
def test_kappa_and_alpha_are_what_other_libraries_give(
    scored: Scored, labels: list[Label], name: str, weights: str | None, level: str
) -> None:
    alone = [label for label in labels if label.rater == "first"]
    calibrated = one(calibrate(scored.rubric, scored.reports(), alone), name)
    criterion = next(c for c in scored.rubric.criteria if c.id == name)
    order = criterion.answers or ["no", "yes"]
    said = pairs(scored, alone, name)
    people, judge = zip(*said, strict=True)
    expected = cohen_kappa_score(people, judge, labels=order, weights=weights)
    assert calibrated.kappa.value == pytest.approx(expected, abs=1e-12)
    assert calibrated.agreement.value == pytest.approx(np.mean([a == b for a, b in said]))
    places = [[float(order.index(answer)) for answer in rater] for rater in (people, judge)]
    alpha = krippendorff.alpha(reliability_data=places, level_of_measurement=level, value_domain=range(len(order)))
    assert calibrated.alpha.value == pytest.approx(alpha, abs=1e-12)
    assert calibrated.kappa.low is not None and calibrated.kappa.high is not None
    assert calibrated.kappa.low <= expected <= calibrated.kappa.high
    counted = sum(cell.count for cell in calibrated.confusion)
    assert counted == calibrated.labelled
    wrong = sum(c.count for c in calibrated.confusion if c.people != c.judge and "unknown" not in (c.people, c.judge))
    assert wrong == sum(a != b for a, b in said)


def test_people_against_each_other(found: Calibration, labels: list[Label]) -> None:
    looked, claimed = one(found, "looked"), one(found, "claimed")
    assert looked.raters == 2 and found.raters == ["first", "second"]
    both = {n.trajectory for n in labels if n.criterion == "looked" and n.rater == "second"}
    assert looked.people.units == len(both)
    assert looked.people.value is not None and claimed.people.value is not None
    assert looked.people.value > 0.6 > claimed.people.value
    assert claimed.people_unknown > 0, "divided people say nothing"


def test_floors_are_the_criterions_own_or_the_one_given(
    scored: Scored, labels: list[Label], found: Calibration
) -> None:
    assert (one(found, "claimed").verdict, one(found, "looked").verdict) == ("under", "no floor")
    strict = calibrate(scored.rubric, scored.reports(), labels, floor=0.999)
    assert one(strict, "claimed").floor == 0.6 and one(strict, "looked").floor == 0.999
    lone = [label for label in labels if label.criterion == "always" and label.value == 1.0]
    assert one(calibrate(scored.rubric, scored.reports(), lone, floor=0.5), "always").verdict == "open"
    assert one(calibrate(scored.rubric, scored.reports(), lone), "always").kappa.why


def test_votes_tell_flips(found: Calibration) -> None:
    assert one(found, "looked").steadiness.flips.value == 0.0
    shaky = one(found, "shaky").steadiness.flips.value
    assert shaky is not None and shaky > 0.6
    assert one(found, "depth").steadiness.flips.value is None, "asked once"


def test_a_judge_that_leans_on_the_order_is_seen(scored: Scored, labels: list[Label]) -> None:
    recipe = scored.run.recipe
    recipe.score.judge = {"use": "leaning_judge:Leaning"}
    attempts = [trajectory for trajectory, _ in scored.pairs()][:60]
    repeats = ask_again(recipe, scored.rubric, attempts, 4)
    found = calibrate(scored.rubric, scored.reports(), labels, repeats=repeats)
    looked = one(found, "looked").steadiness
    assert looked.order_flips.value == 1.0, "first in order, never first in reverse"
    assert looked.order_shift.value is not None and looked.order_shift.high is not None
    assert looked.order_shift.value < -0.5 and looked.order_shift.high < 0
    steady = one(found, "twin").steadiness
    assert steady.order_flips.value == 0.0


def test_a_judge_that_cannot_be_asked_again_is_an_error(scored: Scored) -> None:
    recipe = scored.run.recipe
    recipe.score.judge = {"use": "leaning_judge:Leaning", "down": True}
    with pytest.raises(StageError, match="could not be asked about any"):
        ask_again(recipe, scored.rubric, [trajectory for trajectory, _ in scored.pairs()][:3], 1)


def test_a_judge_without_questions_cannot_be_asked_again(scored: Scored) -> None:
    recipe = scored.run.recipe
    recipe.score.rubric, recipe.score.judge = "coding_agent", None
    with pytest.raises(StageError, match="no judge"):
        ask_again(recipe, rubrics.load("coding_agent"), [], 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "line 1: not a label"),
        ('{"criterion": "looked", "value": 1}', "trajectory"),
        ('{"trajectory": "task-01/01/00", "criterion": "looked", "value": 7}', "expected 0 to 1"),
        ('{"trajectory": "task-01/01/00", "criterion": "area", "label": "kitchen"}', "expected one of parser"),
        ('{"trajectory": "task-01/01/00", "criterion": "area", "value": 1}', "no label"),
        ('{"trajectory": "nowhere", "criterion": "looked", "value": 1}', "labels: none of 1 is on"),
        ('{"trajectory": "task-01/01/00", "criterion": "nothing", "value": 1}', "labels: none of 1 is on"),
    ],
)  # fmt: skip
def test_a_wrong_label_is_one_line(scored: Scored, tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(RecipeError, match=expected):
        calibrate(scored.rubric, scored.reports(), read([path]))


def test_the_last_answer_of_a_rater_counts(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    lines = [{"trajectory": "a", "criterion": "c", "value": value} for value in (0, 1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [label.value for label in read([path])] == [1.0]


BLOCK = """\
# why we have it
name: block
criteria:
  - id: one   # the first
    question: Is it so?
    weight: 2
    required: true
  - id: two
    rule: tests_pass
  - {id: three, question: "Is it?"}
"""


def test_switching_off_leaves_all_else_as_it_is() -> None:
    text = switched_off(BLOCK, ["one", "three"], where="block")
    rubric = rubrics.parse(text)
    assert [(c.id, c.weight, c.required) for c in rubric.criteria] == [
        ("one", 0.0, False), ("two", 1.0, False), ("three", 0.0, False)
    ]  # fmt: skip
    assert "# why we have it" in text and "# the first" in text and rubric.criteria[1].rule == "tests_pass"
    changed = set(BLOCK.splitlines()) ^ set(text.splitlines())
    assert len(changed) == 6, "three lines, before and after"
    with pytest.raises(RecipeError, match="every weight is 0"):
        switched_off(BLOCK, ["one", "two", "three"], where="block")


def test_the_command(capsys: pytest.CaptureFixture[str], run: Run, labels: list[Label], tmp_path: Path) -> None:
    path, off = tmp_path / "labels.jsonl", tmp_path / "off.yaml"
    rows = [{"trajectory": n.trajectory, "criterion": n.criterion, "value": n.value, "label": n.label, "rater": n.rater}
            for n in labels]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["rubric", "calibrate", str(run.path), str(path)]
    assert cli.main([*command, "--switch-off", str(off)]) == 0
    out = capsys.readouterr().out
    assert "under the floor: claimed" in out and "switched off in" in out and "calibrate.html" in out
    assert yaml.safe_load(off.read_text())["criteria"][3]["weight"] == 0
    page = (run.path / "workbench" / "calibrate.html").read_text()
    assert "<svg" in page and "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert cli.main([*command, "--switch-off", str(off)]) == 2 and "is there already" in capsys.readouterr().err
    assert cli.main([*command, "--json"]) == 0
    assert {one["id"] for one in json.loads(capsys.readouterr().out)["criteria"]} >= {"looked", "area"}
    assert cli.main(["rubric", "calibrate", str(run.path)]) == 2 and "rft rubric label" in capsys.readouterr().err
