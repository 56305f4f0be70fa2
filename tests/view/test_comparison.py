"""Arms against a control: the right numbers, paired ratios, and pages that show them."""

import shutil
from pathlib import Path

import fabricated
import msgspec
import numpy as np
import pytest
from test_report import Page, check_closed

from rft.errors import StageError
from rft.evaluate import statistics
from rft.rundir import Run
from rft.view import comparison
from rft.view.comparison import Comparison


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Run]]:
    """A control and a better arm, two seeds each, one round."""
    folder = tmp_path_factory.mktemp("arms")
    return {
        arm: [
            fabricated.make_run(folder, rounds=1, tasks=12, gain=gain, name=f"{arm}-seed{seed}", seed=seed)
            for seed in range(2)
        ]
        for arm, gain in (("terminal", 0.2), ("rubric", 0.7))
    }


def test_values_are_means_over_seeds_and_ratios_are_against_the_control(arms: dict[str, list[Run]]) -> None:
    found = comparison.compare("compare", arms, control="terminal")
    assert [arm.name for arm in found.arms] == ["start", "terminal", "rubric"]
    manifests = {
        arm: [run.stage(1, "evaluate").require().metrics["heldout/resolved"] for run in runs]
        for arm, runs in arms.items()
    }
    cells = found.splits["heldout"]["resolved"]
    for arm, values in manifests.items():
        assert cells[arm].value == pytest.approx(np.mean(values))
        assert cells[arm].by_seed == pytest.approx(values)
    rubric, control = cells["rubric"], cells["terminal"]
    assert control.ratio is None
    assert rubric.value is not None and control.value is not None
    assert rubric.ratio == pytest.approx(rubric.value / control.value)
    assert rubric.ratio_low is not None and 1 < rubric.ratio_low < rubric.ratio
    work = {arm.name: arm for arm in found.arms}
    assert work["terminal"].attempts == 48
    assert work["rubric"].learnt_tokens == 9000
    assert work["start"].attempts == 0


def test_an_arm_against_itself_is_exactly_one(arms: dict[str, list[Run]]) -> None:
    """Ratios are paired: the same draws of tasks and seeds on both sides."""
    found = comparison.compare("same", {"a": arms["rubric"], "b": arms["rubric"]}, control="a")
    cell = found.splits["unseen"]["resolved"]["b"]
    assert (cell.ratio, cell.ratio_low, cell.ratio_high) == (1.0, 1.0, 1.0)


def test_pages_show_every_arm_and_load_nothing(arms: dict[str, list[Run]], tmp_path: Path) -> None:
    found = comparison.compare("compare", arms, control="terminal")
    path = comparison.write(tmp_path, found)
    source = path.read_text()
    page = Page(source)
    check_closed(page, source)
    assert "rubric resolves" in page.text
    assert page.tags.count("svg") == 2
    assert msgspec.json.decode((tmp_path / "compare.json").read_bytes(), type=Comparison) == found
    rows = [row for row in (tmp_path / "compare.md").read_text().splitlines() if row.startswith("| resolved")]
    assert len(rows) == 2 and all("×" in row for row in rows)


def test_tables_are_printed(arms: dict[str, list[Run]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = comparison.compare("compare", arms, control="terminal")
    comparison.print_comparison(found, tmp_path / "compare.html")
    text = capsys.readouterr().out
    assert "terminal (control)" in text and "compare.html" in text and "− edited_tests" in text


def test_a_run_without_its_last_evaluation_is_named(arms: dict[str, list[Run]], tmp_path: Path) -> None:
    copy = tmp_path / "terminal-seed0"
    shutil.copytree(arms["terminal"][0].path, copy)
    run = Run(fabricated.recipe(tmp_path, 1, "terminal-seed0"))
    (run.stage(1, "evaluate").path / "manifest.json").unlink()
    with pytest.raises(StageError, match=r"round_01/5_evaluate: not finished"):
        comparison.compare("compare", {"terminal": [run]}, control="terminal")


def test_crossed_draws_of_one_table_spread_like_a_bootstrap_over_tasks() -> None:
    values = {f"t{n}": [float(n % 3 == 0)] for n in range(60)}
    crossed = statistics.crossed_draws([values], sorted(values))
    plain = statistics.resampled_means(np.array([row[0] for row in values.values()]))
    assert crossed.mean() == pytest.approx(1 / 3, abs=0.005)
    assert crossed.std() == pytest.approx(plain.std(), rel=0.08)


def test_seeds_that_disagree_widen_the_draws_and_unknown_tasks_are_left_out() -> None:
    tasks = [f"t{n}" for n in range(30)]
    low: statistics.Values = {key: [0.0] for key in tasks}
    high: statistics.Values = {task: [1.0] if n else [None] for n, task in enumerate(tasks)}
    draws = statistics.crossed_draws([low, high], tasks)
    assert set(np.unique(draws.round(6))) == {0.0, 0.5, 1.0}
    assert np.isnan(statistics.crossed_draws([{}, {}], tasks)).all()
