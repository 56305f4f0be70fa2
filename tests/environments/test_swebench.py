"""Rows of the SWE-bench family as tasks: every kind and every file, built from a mirror, and seven real ones."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.environments import patches
from rft.environments.swebench import SweBench, rows
from rft.errors import EnvironmentFault, RecipeError
from rft.sandboxes.local import Local
from rft.types import Task
from rft.verify import reason
from tests.environments.conftest import CLEAN, PYTEST, committed, write

DATA = Path(__file__).parent.parent.parent.parent / "shared/data/swebench"
TEST = "tests/test_counting.py::test_total"
BROKEN = CLEAN["counting.py"].replace("result = 0", "result = 1")
FIX = patches.make("counting.py", BROKEN, CLEAN["counting.py"])


@pytest.fixture
def row(tmp_path: Path) -> dict[str, Any]:
    """A row whose test comes with the test patch, and a mirror with its later fix."""
    tests = CLEAN["tests/test_counting.py"]
    before = tests[: tests.index("\n\ndef test_total")] + "\n"
    mirror = write(
        tmp_path / "mirrors/some__counting", CLEAN | {"counting.py": BROKEN, "tests/test_counting.py": before}
    )
    base = committed(mirror, "base")
    committed(write(mirror, CLEAN), "fix")
    return {
        "repo": "some/counting",
        "instance_id": "some__counting-1",
        "base_commit": base,
        "patch": FIX,
        "test_patch": patches.make("tests/test_counting.py", before, tests),
        "problem_statement": "total is one too many",
        "version": "1.0",
        "FAIL_TO_PASS": json.dumps([TEST]),
        "PASS_TO_PASS": ["tests/test_counting.py::test_clamp_low"],
        "image": "some/image:1",
    }


def environment(tmp_path: Path, row: dict[str, Any], **options: Any) -> SweBench:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    specs = tmp_path / "specs.json"
    specs.write_text(json.dumps({"some/counting": {"1.0": {"test_cmd": "pytest -rA", "pip_packages": [PYTEST]}}}))
    options = {"repositories": str(tmp_path / "mirrors"), "specs": [str(specs)]} | options
    return SweBench(path=str(path), **options)


def only(environment: SweBench) -> Task:
    [task] = environment.tasks("all")
    return task


def smith_row(tmp_path: Path, row: dict[str, Any]) -> dict[str, Any]:
    """The same task as SWE-smith would have it: the fixed commit, and the bug as a patch."""
    command = ["git", "-C", str(tmp_path / "mirrors/some__counting"), "rev-parse", "HEAD"]
    fix = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "instance_id": f"some__counting.{fix[:8]}.func_pm__abc",
        "repo": f"swesmith/some__counting.{fix[:8]}",
        "patch": patches.reverse(FIX),
        "FAIL_TO_PASS": [TEST],
        "PASS_TO_PASS": row["PASS_TO_PASS"],
        "install_config": {"test_cmd": "pytest"},
        "image_name": "jyangballin/swesmith.x86_64.some_1776_counting",
        "problem_statement": row["problem_statement"],
    }


@pytest.mark.process
@pytest.mark.parametrize("kind", ["SWE-bench", "SWE-Gym", "SWE-rebench", "SWE-smith"])
def test_a_task_of_each_kind_of_rows_holds(tmp_path: Path, row: dict[str, Any], cached: Path, kind: str) -> None:
    """What `rft check --deep` asks of it: its gold answer resolves it, and doing nothing does not."""
    if kind == "SWE-smith":
        row = smith_row(tmp_path, row)
    elif kind == "SWE-Gym":
        row |= {"FAIL_TO_PASS": [TEST], "hints_text": "", "created_at": "2024-01-01 00:00:00"}
        del row["image"]
    elif kind == "SWE-rebench":
        own = {"packages": "requirements.txt", "pre_install": None, "install": "", "pip_packages": [PYTEST]}
        row |= {"install_config": own | {"test_cmd": "pytest -rA"}, "docker_image": "swerebench/some", "version": "9.9"}
    swe = environment(tmp_path, row, packages=[PYTEST])
    assert reason(swe, only(swe), Local(timeout=120)) == ""


@pytest.mark.process
def test_a_start_state_shows_no_test_and_no_history_and_a_swe_smith_one_its_bug(
    tmp_path: Path, row: dict[str, Any], cached: Path
) -> None:
    swe = environment(tmp_path, row)
    place = swe.start_state(only(swe)).path
    assert "test_total" not in (place / "tests/test_counting.py").read_text()
    log = subprocess.run(["git", "log", "--all", "--oneline"], cwd=place, capture_output=True, text=True, check=True)
    assert log.stdout.count("\n") == 1
    swe = environment(tmp_path, smith_row(tmp_path, row), packages=[PYTEST])
    task = only(swe)
    assert (task.gold_patch, task.meta["command"]) == (FIX, "pytest -rA tests/test_counting.py")
    assert (swe.start_state(task).path / "counting.py").read_text() == BROKEN


def test_names_that_are_no_tests_are_left_out_and_said(
    tmp_path: Path, row: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    kept = ["tests/test_counting.py::test_clamp_low", "t.py::test_a[[100%]]", "t.py::test_b["]
    swe = environment(tmp_path, row | {"PASS_TO_PASS": [*kept, "[100%]", "[", "[ 50%]----------"]})
    assert only(swe).pass_to_pass == only(swe).pass_to_pass == kept
    assert [record.message for record in caplog.records] == [
        "some__counting-1: its lists name [100%], [, [ 50%]----------, which are no tests; they are left out."
    ]


def test_an_r2e_gym_row_wants_what_its_map_says_and_says_that_it_needs_its_image(tmp_path: Path) -> None:
    swe = environment(
        tmp_path,
        {
            "repo_name": "orange3",
            "commit_hash": "2d9617bd0cb1f0ba61771258410ab8fae8e7e24d",
            "docker_image": "namanjain12/orange3_final:2d96",
            "problem_statement": "[ISSUE] …",
            "expected_output_json": json.dumps({"T.test_a": "PASSED", "T.test_b": "FAILED", "T.test_c": "PASSED"}),
        },
    )
    task = only(swe)
    assert (task.id, task.fail_to_pass) == ("orange3-2d9617bd0cb1", ["T.test_a", "T.test_c"])
    assert task.meta["unexpected"] == ["T.test_b"] and task.meta["image"].startswith("namanjain12/")
    with pytest.raises(EnvironmentFault, match="its tests lie in the image 'namanjain12/orange3_final:2d96' alone"):
        swe.start_state(task)


def test_a_swe_rebench_row_brings_its_own_environment(tmp_path: Path, row: dict[str, Any]) -> None:
    own = {"python": "3.9", "install": "pip install -e .[dev, test]", "pip_packages": ["six"], "test_cmd": ["pytest"]}
    swe = environment(tmp_path, row | {"install_config": own, "version": "9"})
    needs = swe._needs(only(swe))
    assert (needs.python, needs.extras, needs.packages) == ("3.9", ("dev", "test"), ("six", "pytest<8"))


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "folder", "tasks"])
def test_a_row_is_the_same_wherever_it_lies(tmp_path: Path, row: dict[str, Any], kind: str) -> None:
    import pyarrow
    import pyarrow.parquet

    place = tmp_path / f"x.{kind}"
    if kind == "jsonl":
        place.write_text(json.dumps(row) + "\n\n")
    elif kind == "json":
        place.write_text(json.dumps([row]))
    elif kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), place)
    elif kind == "folder":
        write(place, {"a.jsonl": json.dumps(row), "README.md": ""})
    else:
        facts = "\n".join(f"{key}: '{row[key]}'" for key in ("repo", "base_commit", "version", "image"))
        tests = {"FAIL_TO_PASS": [TEST], "PASS_TO_PASS": row["PASS_TO_PASS"]}
        texts = {"gold.patch": row["patch"], "test.patch": row["test_patch"], "tests.json": json.dumps(tests)}
        texts |= {"problem_statement.md": row["problem_statement"], "task.yaml": facts}
        write(place / "tasks/some__counting-1", texts)
    assert only(SweBench(path=str(place), repositories="x")) == only(environment(tmp_path, row))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"FAIL_TO_PASS": "[]"}, "names no test"),
        ({"FAIL_TO_PASS": "{"}, "cannot be understood"),
        ({"PASS_TO_PASS": "[1]"}, "no lists of names"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as error:
        only(environment(tmp_path, row | change))
    assert "some__counting-1" in str(error.value)


def test_what_cannot_be_built_says_what_is_missing(tmp_path: Path, row: dict[str, Any]) -> None:
    swe = environment(tmp_path, row | {"version": "3.0"})
    with pytest.raises(EnvironmentFault, match=r"say nothing of some/counting 3\.0; they know 1\.0"):
        swe.start_state(only(swe))
    swe = environment(tmp_path, row | {"repo": "any/other"})
    with pytest.raises(EnvironmentFault, match="no mirror of any/other; expected any__other"):
        swe.start_state(only(swe))
    with pytest.raises(RecipeError, match="has no 'gone'"):
        list(environment(tmp_path, row, instances=["gone"]).tasks("all"))
    with pytest.raises(RecipeError, match="is not there"):
        list(SweBench(path="nowhere.jsonl", repositories="x").tasks("all"))
    with pytest.raises(RecipeError, match="no split 'test'"):
        list(SweBench(path="x", repositories="x").tasks("test"))


def test_a_share_of_the_rows_is_held_out(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps(row | {"instance_id": f"i-{n}"}) + "\n" for n in range(200)))
    swe = SweBench(path=str(path), repositories="x", heldout=0.2)
    train, held = ({task.id for task in swe.tasks(split)} for split in ("train", "heldout"))
    assert not train & held and len(train | held) == 200 and 20 <= len(held) <= 60


# --- a patch the other way round ---

LINES = st.lists(st.sampled_from(["a\n", "b\n", "-c\n", "+d\n", "@@ -1 +1 @@\n", "--- a/x\n", "\n"]), max_size=12)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LINES, LINES)
def test_a_patch_and_its_reverse_cancel(old: list[str], new: list[str]) -> None:
    patch = patches.make("f", "".join(old), "".join(new))
    back = patches.reverse(patch)
    assert patches.reverse(back) == patch
    if patch:
        [one], [other] = patches.split(patch), patches.split(back)
        assert (one.added, one.removed, one.paths) == (other.removed, other.added, other.paths)


def test_git_takes_a_reversed_patch(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", {"kept.py": "1\n2\n", "gone.py": "x\n", "moved.py": "m\n" * 9, "tail.py": "no end"})
    committed(folder, "before")
    (folder / "gone.py").unlink()
    (folder / "moved.py").rename(folder / "here.py")
    write(folder, {"kept.py": "1\n3\n4\n", "new.py": "n\n", "tail.py": "no end\nat all"})
    (folder / "kept.py").chmod(0o755)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    diff = subprocess.run(["git", "diff", "--cached", "-M"], cwd=folder, capture_output=True, text=True, check=True)
    back = patches.reverse(diff.stdout)
    subprocess.run(["git", "apply", "--index", "-"], cwd=folder, input=back, text=True, check=True)
    left = subprocess.run(["git", "diff", "--cached"], cwd=folder, capture_output=True, text=True, check=True)
    assert left.stdout == ""


# --- real rows ---


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="no SWE-bench rows beside the checkout")
def test_published_rows_are_read_as_they_are() -> None:
    lite = list(SweBench(path=str(DATA / "parquet"), repositories="x").tasks("all"))
    assert len(lite) == 23
    assert all(t.fail_to_pass and t.gold_patch and t.statement and t.meta["image"] for t in lite)
    pure = list(SweBench(path=str(DATA / "pure_python_5repos.jsonl"), repositories="x").tasks("all"))
    assert len(pure) == 185
    assert {t.meta["parser"] for t in pure} == {"pytest", "sympy"}
    flask = next(t for t in pure if t.id == "pallets__flask-5063")
    assert flask.meta["command"] == "pytest -rA tests/test_cli.py"
    assert rows.test_files(flask.meta["test_patch"]) == ["tests/test_cli.py"]
    specs = SweBench(path=str(DATA), repositories="x", specs=[str(DATA / "env_specs_v4.1.0.json")])
    assert all(specs._needs(task).python for task in pure)
