"""Recipes: every mistake is one line that names the key, and nothing in a file is ever run."""

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft import recipe
from rft.errors import RecipeError

MINIMAL = "name: t\npolicy: {model: m}\nenvironment: {use: kata}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "r.yaml"
    file.write_text(MINIMAL)
    return file


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe.load(str(path), list(overrides))
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500
    return text


def test_overrides_reach_everywhere_and_keep_their_types(path: Path) -> None:
    path.write_text(MINIMAL + "select: {rules: [{use: finished}, {use: min_score, score: 0.1}]}\n")
    loaded = recipe.load(
        str(path),
        ["collect.samples=7", "select.rules.1.score=0.9", "train.trl.learning_rate=1e-5", "collect.tasks=null"],
    )
    assert loaded.collect.samples == 7
    assert loaded.select.rules[1] == {"use": "min_score", "score": 0.9}
    assert loaded.train.trl["learning_rate"] == 1e-5
    assert loaded.collect.tasks is None


def test_overrides_begin_sections_that_were_left_out_and_set_them_whole(path: Path) -> None:
    path.write_text(MINIMAL)
    audit = recipe.load(str(path), ["score.audit.rubric=held_out", "score.audit.share=0.5"]).score.audit
    assert audit is not None and (audit.rubric, audit.share, audit.margin) == ("held_out", 0.5, 0.05)
    whole = recipe.load(str(path), ["score.audit.share=0.5", "score.audit={rubric: other}"]).score.audit
    assert whole is not None and (whole.rubric, whole.share) == ("other", 0.2)
    assert recipe.load(str(path), ["score.audit.share=0.5", "score.audit=null"]).score.audit is None
    assert recipe.load(str(path), ["score.budget={tokens: 9}"]).score.budget.tokens == 9


def test_a_dump_reads_back_as_the_same_recipe(path: Path, tmp_path: Path) -> None:
    loaded = recipe.load(str(path), ["sandbox.memory=2g", "train.lora={r: 8}"])
    again = tmp_path / "again.yaml"
    again.write_text(recipe.dump(loaded))
    assert recipe.load(str(again)) == loaded


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("colect.samples=2", "Did you mean 'collect'"),
        ("collect.smples=2", "Did you mean 'samples'"),
        ("policy.sampling.temprature=1", "Did you mean 'temperature'"),
        ("collect.samples=many", "collect.samples: Value 'many'"),
        ("collect.samples=0", "expected at least 1"),
        ("score.unknown=maybe", "leave_out"),
        ("train.method=ppo", "sft"),
        ("collect.samples", "expected key=value"),
        ("select.rules.7.use=x", "select.rules.7.use"),
        ("rounds=[", "cannot be set"),
        ("name=../../etc", "name is"),
        ("name=", "name"),
        ("x y=1", "not an override"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(path: Path, override: str, expected: str) -> None:
    assert expected in message(path, override)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [", "not YAML"),
        ("- a\n- b", "expected keys and values"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("a: &a [x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]", "aliases"),
        ("name: !!python/object/apply:os.system ['touch pwned']", "not YAML"),
        ("name: !!python/name:os.system", "not YAML"),
        ("name: t\npolicy: {model: m}", "'environment' is missing"),
        ("name: t\npolicy: {model: m}\ncollect: {imports: {files: [x]}}", "evaluate.splits asks for attempts"),
        ("name: t\npolicy: {model: m}\ncollect: {imports: {filse: [x]}}", "Did you mean 'files'"),
        ("name: t\nenvironment: {use: kata}", "'policy.model' is missing"),
        (MINIMAL + "colect: {}", "Did you mean 'collect'"),
        (MINIMAL + "collect: {samples: {a: 1}}", "collect"),
        (MINIMAL + "collect: 3", "Collect"),
        (MINIMAL + "select: {rules: 3}", "rules"),
        ("name: ${name}\npolicy: {model: x}\nenvironment: {use: kata}", "nterpolation"),
        ("name: \x00", "not YAML"),
        ("1: 2", "1"),
        ("", "missing"),
    ],
)
def test_a_wrong_file_is_one_line(path: Path, text: str, expected: str) -> None:
    path.write_text(text)
    assert expected in message(path)
    assert not Path("pwned").exists()


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    huge.write_text("a: " + "x" * recipe.MAX_RECIPE_BYTES)
    assert "larger than" in message(huge)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00name")
    assert "UTF-8" in message(binary)
    deep = tmp_path / "deep.yaml"
    deep.write_text("a: " + "[" * 100_000)
    assert "nested" in message(deep)
    with pytest.raises(RecipeError, match="Did you mean"):
        recipe.load("quickstrat")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200) | st.text(alphabet=string.punctuation + "\n ab", max_size=80))
def test_any_text_is_a_recipe_or_one_line_of_error(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        recipe.load(str(path))
    except RecipeError as error:
        assert "\n" not in str(error).strip()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["collect.samples", "train.trl.x", "select.rules", "policy"]), st.text(max_size=60))
def test_any_override_value_is_taken_or_refused_in_one_line(path: Path, key: str, value: str) -> None:
    try:
        recipe.load(str(path), [f"{key}={value}"])
    except RecipeError as error:
        assert "\n" not in str(error).strip()
