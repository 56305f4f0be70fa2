"""Small projects for the environments over real repositories, and one cache in which their Python is built once."""

import subprocess
from pathlib import Path

import pytest

from rft.environments import python, snapshots
from rft.errors import EnvironmentFault

PYTEST = "pytest==8.4.2"


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds a virtual environment with pytest, which pip fetches. Skips where it cannot."""
    cache = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(cache))
    try:
        needs = python.Needs(packages=(PYTEST,), installed=False)
        python.build("pytest", needs, "", snapshots.from_folder(cache), setup_code="trusted")
    except EnvironmentFault as error:
        pytest.skip(f"no virtual environment can be built here: {error}")
    finally:
        patch.undo()
    return cache


@pytest.fixture
def cached(built_once: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache is the one with pytest."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(built_once))
    return built_once


CLEAN = {
    "counting.py": '''def clamp(value, low, high):
    """Value, or the nearer bound."""
    if value < low:
        return low
    if value > high:
        return high
    return value


def total(values):
    result = 0
    for value in values:
        result += value
    return result
''',
    "tests/test_counting.py": """from counting import clamp, total


def test_clamp_low():
    assert clamp(-3, 0, 9) == 0


def test_clamp_high():
    assert clamp(30, 0, 9) == 9


def test_clamp_inside():
    assert clamp(3, 0, 9) == 3


def test_total():
    assert total([1, 2, 3]) == 6


def test_total_of_nothing():
    assert total([]) == 0
""",
    "conftest.py": "",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def committed(folder: Path, message: str) -> str:
    """The name of a new commit of everything in a folder."""
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t"]
    if not (folder / ".git").exists():
        subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", message], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()
