"""The shipped starting policy: small, loadable, flawed as it should be, and what its recipe makes."""

import json
from pathlib import Path

import pytest

from rft import loop
from rft.evaluate.stage import read_report
from rft.recipe import load
from rft.rundir import Run

SHIPPED = Path(__file__).parent.parent.parent / "recipes" / "models" / "kata-base"


def test_the_shipped_policy_is_small_and_is_found_by_its_name() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 8_000_000
    assert Path(Run(load("quickstart")).starting_policy()).resolve() == SHIPPED.resolve()
    config = json.loads((SHIPPED / "config.json").read_text())
    create = load("warmstart").policy.create
    assert create is not None
    assert (config["model_type"], config["hidden_size"]) == ("qwen3", create["hidden_size"])
    assert (config["num_hidden_layers"], config["vocab_size"]) == (create["layers"], create["vocab_size"])


@pytest.mark.slow
def test_the_recipe_makes_the_shipped_policy_again(tmp_path: Path) -> None:
    """About half an hour on two cores. Weights may differ in the last bits between machines; what they do may not."""
    recipe = load("warmstart", [f"runs={tmp_path}", "evaluate.samples=1"])
    run = loop.run(recipe)
    for name in ("tokenizer.json", "config.json"):
        assert (run.checkpoint(1) / name).read_text() == (SHIPPED / name).read_text(), name
    made = read_report(run.stage(1, "evaluate"))
    shipped = load("warmstart", [f"runs={tmp_path}", "name=shipped", f"policy.model={SHIPPED}", "policy.create=null"])
    loop.one_stage(shipped, 0, "evaluate")
    before = read_report(Run(shipped).stage(0, "evaluate"))
    assert made is not None and before is not None
    for split in recipe.evaluate.splits:
        ours, theirs = made.splits[split].metrics["resolved"], before.splits[split].metrics["resolved"]
        assert ours.low is not None and ours.high is not None and theirs.low is not None and theirs.high is not None
        assert ours.low <= theirs.high and theirs.low <= ours.high, f"{split}: {ours} against {theirs}"
