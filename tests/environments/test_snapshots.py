"""Start states of real repositories: nothing of a project's later history, made once, whatever happens in between."""

import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rft.environments import cache, patches, snapshots
from rft.errors import EnvironmentFault
from tests.environments.conftest import CLEAN, committed, write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, str, str]:
    """A repository, a commit of it, and what a later commit says."""
    folder = write(tmp_path / "project", CLEAN | {".gitignore": "*.log\n", ".gitattributes": "tests export-ignore\n"})
    base = committed(folder, "base")
    write(folder, {"counting.py": "SECRET_FIX = 1\n", "later.py": ""})
    committed(folder, "the fix, SECRET_MESSAGE")
    return folder, base, "SECRET"


def test_a_commit_is_taken_without_what_came_later(project: tuple[Path, str, str]) -> None:
    folder, base, secret = project
    place = snapshots.start_state("p", snapshots.from_commit(folder, base))
    log = subprocess.run(["git", "log", "--all", "--oneline"], cwd=place, capture_output=True, text=True, check=True)
    assert log.stdout.count("\n") == 1
    assert (place / "tests/test_counting.py").exists(), "export-ignore is for releases, not for work"
    assert not (place / "later.py").exists()
    every = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert secret.encode() not in every
    objects = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch"], cwd=place, capture_output=True, check=True
    )
    assert secret.encode() not in objects.stdout


def test_a_patch_is_applied_before_the_commit(project: tuple[Path, str, str]) -> None:
    folder, base, _ = project
    clean = CLEAN["counting.py"]
    bug = patches.make("counting.py", clean, clean.replace("result = 0", "result = 1"))
    place = snapshots.start_state("p", snapshots.from_commit(folder, base), patch=bug)
    assert "result = 1" in (place / "counting.py").read_text()
    status = subprocess.run(["git", "status", "--porcelain"], cwd=place, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_a_patch_that_does_not_fit_says_so(project: tuple[Path, str, str]) -> None:
    folder, base, _ = project
    bug = "diff --git a/counting.py b/counting.py\n--- a/counting.py\n+++ b/counting.py\n@@ -1 +1 @@\n-no\n+yes\n"
    with pytest.raises(EnvironmentFault, match="apply"):
        snapshots.start_state("p", snapshots.from_commit(folder, base), patch=bug)
    assert not list((cache.folder("start_states")).glob("[!.]*")), "a making that failed leaves nothing"


def test_generated_files_are_there_and_no_change(project: tuple[Path, str, str], tmp_path: Path) -> None:
    folder, base, _ = project
    generated = write(tmp_path / "generated", {"pkg/_version.py": "v = 1\n", "counting.py": "not taken\n"})
    place = snapshots.start_state("p", snapshots.from_commit(folder, base), generated=generated)
    assert (place / "pkg/_version.py").exists()
    assert "clamp" in (place / "counting.py").read_text(), "the tree's own files come first"
    status = subprocess.run(["git", "status", "--porcelain"], cwd=place, capture_output=True, text=True, check=True)
    assert status.stdout == ""


@pytest.mark.parametrize("commit", ["deadbeef", "--output=x", "HEAD:counting.py"])
def test_a_commit_that_is_none_says_so(project: tuple[Path, str, str], commit: str) -> None:
    with pytest.raises(EnvironmentFault):
        snapshots.start_state("p", snapshots.from_commit(project[0], commit))


def test_an_archive_is_unpacked_without_its_wrapper(tmp_path: Path) -> None:
    write(tmp_path / "thing-1.0", CLEAN)
    with tarfile.open(tmp_path / "thing.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "thing-1.0", "thing-1.0")
    place = snapshots.start_state("a", snapshots.from_archive(tmp_path / "thing.tar.gz"))
    assert (place / "counting.py").exists()
    (tmp_path / "bad.tar.gz").write_bytes(b"no archive")
    with pytest.raises(EnvironmentFault, match="unpacked"):
        snapshots.start_state("b", snapshots.from_archive(tmp_path / "bad.tar.gz"))


def test_who_comes_meanwhile_waits_and_a_failed_making_is_made_again(tmp_path: Path) -> None:
    calls: list[Path] = []

    def make(place: Path) -> None:
        calls.append(place)
        (place / "half").write_text("")
        if len(calls) == 1:
            raise OSError("disk full")
        (place / "whole").write_text("")

    with pytest.raises(OSError, match="disk full"):
        cache.once(tmp_path / "thing", make)
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda _: cache.once(tmp_path / "thing", make), range(8)))
    assert len(calls) == 2
    assert {place.name for place in places} == {"thing"}
    (tmp_path / ".thing.made").write_text("")  # as a kill in the middle leaves it
    cache.once(tmp_path / "thing", make)
    assert len(calls) == 3
