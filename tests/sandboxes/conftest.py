"""A small repository to start from, and both kinds of sandbox on it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rft.interfaces import StartState
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.sandboxes.local import Local
from rft.sandboxes.session import Session

FILES = {
    "README.md": "# Sums\n",
    "sums.py": "def add(a, b):\n    return a - b\n",
    "pack/inner.py": "VALUE = 1\n",
    "run.sh": "#!/bin/sh\necho run\n",
    ".gitignore": "*.log\nbuild/\n",
    "data.bin": "".join(chr(number) for number in range(256)),
}


def run_git(folder: Path, *arguments: str) -> str:
    """Run git in a folder of the test's own and give its output."""
    command = ["git", "-c", "user.name=tester", "-c", "user.email=tester@localhost", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def repository(folder: Path) -> Path:
    """A git repository with one commit."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("README.md")
    run_git(folder, "init", "-q")
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-qm", "start")
    return folder


@pytest.fixture(scope="session")
def start_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repository(tmp_path_factory.mktemp("start"))


def needs_bubblewrap() -> None:
    """Skip, with the probe's own words, where bubblewrap does not work."""
    if reason := Bubblewrap().missing():
        pytest.skip(reason)


@pytest.fixture(params=["local", "bubblewrap"])
def make(request: pytest.FixtureRequest, start_state: Path) -> Iterator[Callable[..., Session]]:
    """Opens sandboxes of one kind with the options given; all are closed in the end."""
    yield from _maker(request.param, start_state)


@pytest.fixture
def jail(start_state: Path) -> Iterator[Callable[..., Session]]:
    """Opens bubblewrap sandboxes."""
    yield from _maker("bubblewrap", start_state)


def _maker(kind: str, start_state: Path) -> Iterator[Callable[..., Session]]:
    if kind == "bubblewrap":
        needs_bubblewrap()
    opened: list[Session] = []

    def make(*, software: tuple[Path, ...] = (), **options: Any) -> Session:
        provider = Bubblewrap(**options) if kind == "bubblewrap" else Local(**options)
        opened.append(provider.open(StartState(start_state, software)))
        return opened[-1]

    yield make
    for session in opened:
        session.close()


@pytest.fixture
def sandbox(make: Callable[..., Session]) -> Session:
    return make()


@pytest.fixture(scope="session")
def git() -> Callable[..., str]:
    """Runs git in a folder of the test's own."""
    return run_git
