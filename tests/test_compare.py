"""Arms: what they change, what they share, and what a wrong one says."""

from pathlib import Path

import pytest

from rft import compare
from rft import recipe as recipes
from rft.errors import RecipeError
from rft.recipe import Recipe
from rft.rundir import Run


def make(
    tmp_path: Path, arms: str = "{plain: {select.rules: [{use: resolved}]}, other: {collect.samples: 2}}"
) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(
        f"name: c\nruns: {tmp_path}/runs\npolicy: {{model: m}}\nenvironment: {{use: kata}}\n"
        f"compare: {{control: plain, seeds: [4, 5], arms: {arms}}}\n"
    )
    return recipes.load(str(path))


def arm(recipe: Recipe, name: str, seed: int) -> Recipe:
    assert recipe.compare is not None
    return compare.arm_recipe(recipe, recipe.compare, name, seed)


def test_an_arm_is_the_recipe_with_its_keys_changed(tmp_path: Path) -> None:
    recipe = make(tmp_path)
    plain, other = arm(recipe, "plain", 4), arm(recipe, "other", 5)
    assert (plain.name, plain.runs, plain.seed, plain.compare) == ("plain-seed4", f"{tmp_path}/runs/c", 4, None)
    assert plain.select.rules == [{"use": "resolved"}] and plain.collect.samples == 4
    assert other.collect.samples == 2 and other.seed == 5
    assert recipe.collect.samples == 4, "the recipe itself stays as it was"


def test_a_wrong_key_of_an_arm_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"compare\.arms\.odd\.colect\.samples: unknown key 'colect'.*'collect'"):
        arm(make(tmp_path, "{odd: {colect.samples: 2}}"), "odd", 4)
    with pytest.raises(RecipeError, match=r"compare\.arms\.odd\.collect\.samples"):
        arm(make(tmp_path, "{odd: {collect.samples: many}}"), "odd", 4)


def finish(run: Run, round: int, name: str) -> None:
    stage = run.stage(round, name)
    stage.start()
    (stage.path / "out.jsonl").write_text(f"{name}\n")
    stage.finish([stage.path / "out.jsonl"], counts={}, metrics={})


def test_the_same_work_is_linked_and_other_work_is_not(tmp_path: Path) -> None:
    recipe = make(tmp_path)
    first = Run(arm(recipe, "plain", 4))
    for round, name in [(0, "evaluate"), (1, "collect"), (1, "score"), (1, "select")]:
        finish(first, round, name)
    same = Run(arm(make(tmp_path, "{plain: {}, same: {train.tokens: 9}}"), "same", 4))
    compare.share(first, same)
    assert [same.stage(r, n).manifest() is not None for r, n in compare.SHARED] == [True, True, True]
    assert same.stage(1, "select").manifest() is None
    assert not same.stage(1, "collect").start(), "linked work counts as done"
    more = Run(arm(recipe, "other", 4))
    compare.share(first, more)
    assert more.stage(1, "collect").manifest() is None, "other numbers of samples are other work"
    elsewhere = Run(arm(recipe, "plain", 5))
    compare.share(first, elsewhere)
    assert elsewhere.stage(1, "collect").manifest() is None, "another seed is other work"


def test_what_is_linked_can_be_redone_without_touching_the_source(tmp_path: Path) -> None:
    recipe = make(tmp_path, "{plain: {}, same: {}}")
    first, same = Run(arm(recipe, "plain", 4)), Run(arm(recipe, "same", 4))
    finish(first, 1, "collect")
    compare.share(first, same)
    same.stage(1, "collect").start(redo=True)
    assert (first.stage(1, "collect").path / "out.jsonl").read_text() == "collect\n"


def test_arms_begin_with_one_policy_unless_they_make_another(tmp_path: Path) -> None:
    create = "policy.create: {use: tiny_qwen3, layers: 2}"
    recipe = make(tmp_path, f"{{plain: {{{create}}}, same: {{{create}}}, deep: {{{create.replace('2', '9')}}}}}")
    first, same, deep = (Run(arm(recipe, name, 4)) for name in ("plain", "same", "deep"))
    (first.path / "policy").mkdir(parents=True)
    for other in (same, deep):
        compare.share(first, other)
    assert (same.path / "policy").is_dir() and not (deep.path / "policy").exists()
