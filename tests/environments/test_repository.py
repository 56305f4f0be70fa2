"""A user's own repositories as tasks: read, refused with one line, started from, graded."""

import json
import subprocess
from pathlib import Path

import pytest

from rft.environments.python import Needs, build
from rft.environments.repository import Repository
from rft.environments.snapshots import from_commit, start_state
from rft.errors import EnvironmentFault, RecipeError
from rft.interfaces import StartState
from rft.sandboxes.local import Local
from rft.types import Task
from tests.environments.conftest import CLEAN, PYTEST, committed, write

TESTS = {
    "FAIL_TO_PASS": ["tests/test_counting.py::test_total"],
    "PASS_TO_PASS": ["tests/test_counting.py::test_clamp_low"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose fix came in a later commit, and a folder with one task about it."""
    project = write(tmp_path / "project", CLEAN)
    write(project, {"counting.py": CLEAN["counting.py"].replace("result = 0", "result = 1")})
    base = committed(project, "base")
    write(project, CLEAN)
    committed(project, "fix")
    gold = subprocess.run(["git", "diff", base, "HEAD"], cwd=project, capture_output=True, text=True, check=True)
    facts = f"repository: ../../project\ncommit: {base}\ncommand: python -m pytest tests\n"
    facts += f"packages: ['{PYTEST}']\ninstall: no\n"
    return write(
        tmp_path / "tasks/total",
        {
            "task.yaml": facts,
            "problem_statement.md": "total is one too many\n",
            "tests.json": json.dumps(TESTS),
            "gold.patch": gold.stdout,
        },
    ).parent


def only(folder: Path) -> Task:
    [task] = Repository(path=str(folder)).tasks("train")
    return task


def test_a_task_is_read_with_all_that_its_files_say(folder: Path) -> None:
    task = only(folder)
    assert (task.id, task.split, task.statement) == ("total", "train", "total is one too many\n")
    assert task.fail_to_pass == TESTS["FAIL_TO_PASS"]
    assert task.gold_patch.startswith("diff --git a/counting.py")
    assert only(folder / "total") == task, "one task's directory is a folder of one"


@pytest.mark.process
def test_gold_resolves_and_nothing_does_not(folder: Path, cached: Path) -> None:
    environment, task = Repository(path=str(folder)), only(folder)
    sandboxes = Local(timeout=120)
    assert environment.grade(task, "", sandboxes).resolved is False
    assert environment.grade(task, task.gold_patch, sandboxes).resolved is True


@pytest.mark.process
def test_a_check_command_tells_by_its_exit_code(folder: Path, cached: Path) -> None:
    text = (folder / "total/task.yaml").read_text()
    check = "check: python -c 'from counting import total; assert total([2]) == 2'"
    (folder / "total/task.yaml").write_text(text.replace("command: python -m pytest tests", check))
    with pytest.raises(RecipeError, match=r"has tests\.json and `check`"):
        only(folder)
    (folder / "total/tests.json").unlink()
    environment, task = Repository(path=str(folder)), only(folder)
    assert environment.grade(task, "", Local(timeout=60)).resolved is False
    assert environment.grade(task, task.gold_patch, Local(timeout=60)).resolved is True


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("install: no", "instal: no", "instal: unknown key.*install"),
        ("install: no", "install: maybe", "install: is 'maybe'; expected yes or no"),
        ("commit:", "split: train #", "'commit' is missing"),
        ("command:", "version: '1' #", "expected either `command`"),
        ("packages:", "packages: x #", "packages: expected a list"),
        ("repository:", "[", "cannot be read"),
    ],
)
def test_a_mistake_in_a_task_file_is_one_line_that_names_it(folder: Path, key: str, change: str, said: str) -> None:
    path = folder / "total/task.yaml"
    path.write_text(path.read_text().replace(key, change))
    with pytest.raises(RecipeError, match=said) as error:
        only(folder)
    assert "total" in str(error.value)


def test_what_is_missing_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no split 'heldout'; expected train"):
        Repository(path=str(folder)).tasks("heldout")
    (folder / "total/tests.json").write_text("{}")
    with pytest.raises(RecipeError, match="names no test"):
        only(folder)
    (folder / "total/problem_statement.md").unlink()
    with pytest.raises(RecipeError, match=r"problem_statement\.md"):
        only(folder)
    with pytest.raises(RecipeError, match="holds no tasks"):
        only(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match=r"setup_code: is 'maybe'; expected confined or trusted"):
        Repository(path="x", setup_code="maybe")


def test_building_an_environment_has_a_deadline(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    hasty = Repository(path=str(folder), build_timeout=0.01, setup_code="trusted")
    with pytest.raises(EnvironmentFault, match=r"takes longer than the 0\.01 s of environment\.build_timeout"):
        hasty.start_state(only(folder))
    with pytest.raises(RecipeError, match=r"build_timeout: is -1; expected seconds above 0"):
        Repository(path="x", build_timeout=-1)


def test_a_python_that_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"no Python 2\.1 here"):
        build("thing", Needs(python="2.1"), "", from_commit(tmp_path / "project", "HEAD"))


@pytest.mark.process
def test_an_installed_project_is_imported_from_the_working_tree(tmp_path: Path, cached: Path) -> None:
    setup = "from setuptools import setup\nopen('src/greet/_version.py', 'w').write('number = 7')\nsetup()\n"
    about = "[project]\nname = 'greet'\nversion = '1'\n[project.scripts]\ngreet = 'greet:main'\n"
    about += "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
    code = "from greet._version import number\ndef main():\n    print(number, __file__)\n"
    project = write(tmp_path / "p", {"setup.py": setup, "pyproject.toml": about, "src/greet/__init__.py": code})
    commit = committed(project, "base")
    fill = from_commit(project, commit)
    try:
        built = build("greet", Needs(), commit, fill)
    except EnvironmentFault as error:
        if "bubblewrap" in str(error) or "Retry" in str(error):
            pytest.skip(str(error))
        raise
    start = StartState(start_state(commit, fill, generated=built.generated), built.software)
    sandbox = Local(timeout=60).open(start)
    try:
        sandbox.write("src/greet/_version.py", b"number = 8")
        done = sandbox.run("greet; cd src; python -c 'import greet; greet.main()'")
    finally:
        sandbox.close()
    lines = done.output.split("\n")
    assert done.exit_code == 0, done.output
    assert lines[0].startswith("8 ") and "site-packages" not in lines[0]
    assert lines[1] == lines[0]
