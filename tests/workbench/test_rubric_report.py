"""`rft rubric report`: the nature that the drawn answers were given comes out, and the page harms nobody."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from rft import cli
from rft.rundir import Run
from rft.workbench.measures import CriterionMeasures, RubricMeasures, measure
from rft.workbench.scored import find_round


@pytest.fixture(scope="module")
def measures(run: Run) -> RubricMeasures:
    scored = find_round(str(run.path))
    return measure(scored.rubric, scored.pairs())


def one(measures: RubricMeasures, name: str) -> CriterionMeasures:
    return next(criterion for criterion in measures.criteria if criterion.id == name)


def test_what_goes_with_success_is_found(measures: RubricMeasures) -> None:
    looked, claimed, wordy = (one(measures, name).effect for name in ("looked", "claimed", "wordy"))
    assert looked is not None and looked.value > 0.4 and looked.q < 0.001 and looked.low is not None and looked.low > 0
    assert claimed is not None and claimed.value < -0.2 and claimed.q < 0.05
    assert wordy is not None and wordy.q > 0.05 and wordy.q >= wordy.p
    a, b, c, d = *looked.met, *looked.unmet
    assert looked.value == pytest.approx(a / (a + b) - c / (c + d))
    assert looked.p == pytest.approx(scipy.stats.fisher_exact([[a, b], [c, d]]).pvalue)
    assert one(measures, "solved").effect is None, "the outcome cannot be held against itself"
    assert one(measures, "always").effect is None


def test_length_redundancy_and_death_are_found(run: Run, measures: RubricMeasures) -> None:
    wordy = one(measures, "wordy")
    assert wordy.steps is not None and wordy.steps > 0.7
    rows = [
        (len(t.steps), v.value)
        for t, r in find_round(str(run.path)).pairs()
        for v in r.verdicts
        if v.criterion == "wordy"
    ]
    assert wordy.steps == pytest.approx(scipy.stats.spearmanr(*zip(*rows, strict=True)).statistic)
    assert wordy.variance == pytest.approx(np.var([value for _, value in rows]))
    assert [(pair.first, pair.second) for pair in measures.redundant] == [("looked", "twin")]
    assert [criterion.id for criterion in measures.criteria if criterion.dead] == ["always"]


def test_unknowns_and_votes_are_counted(measures: RubricMeasures) -> None:
    shaky, looked, after = (one(measures, name) for name in ("shaky", "looked", "after"))
    assert set(shaky.unknown) == {"judge"} and shaky.unknown_rate is not None and 0.15 < shaky.unknown_rate < 0.5
    assert shaky.rate.unknown == shaky.unknown["judge"] and shaky.disagreement is not None and shaky.disagreement > 0.6
    assert looked.disagreement == 0.0 and one(measures, "solved").disagreement is None
    assert after.unknown_rate is None and after.rate.value is None, "what was not asked is neither known nor unknown"
    depth = one(measures, "depth")
    assert list(depth.labels) == ["none", "some", "deep"] and sum(depth.labels.values()) == 79 and not looked.labels
    assert measures.attempts == 79, "an attempt that broke down is left out"


def test_tables_page_and_json(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    assert cli.main(["rubric", "report", str(run.path), "--round", "1"]) == 0
    out = capsys.readouterr().out
    assert "Go with length: wordy." in out and "manners" in out and "always" in out and "looked" in out
    page = Path(out.strip().rpartition("page: ")[2].replace("\n", ""))
    text = page.read_text()
    assert "<svg" in text and "<script" not in text and "http://" not in text and "https://" not in text
    assert cli.main(["rubric", "report", str(run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {criterion["id"] for criterion in found["criteria"]} >= {"looked", "after"}


def test_a_round_that_was_not_scored_is_one_line(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    assert cli.main(["rubric", "report", str(run.path), "--round", "7"]) == 2
    assert "expected one of 1" in capsys.readouterr().err
