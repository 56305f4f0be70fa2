"""A small repository to start from, and every kind of sandbox without containers on it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rft.interfaces import StartState
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.sandboxes.local import Local
from rft.sandboxes.remote import SweRex
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


TOKEN = "token-of-the-tests"


@pytest.fixture(scope="session")
def server_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a `swerex-remote` on the loopback; its program is named in RFT_SWEREX, or installed beside Python."""
    pytest.importorskip("swerex")
    beside = str(Path(sys.executable).parent)
    program = os.environ.get("RFT_SWEREX") or shutil.which("swerex-remote", path=beside)
    if program is None:
        pytest.skip("swerex-remote is not installed; name the program in RFT_SWEREX")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    log = tmp_path_factory.mktemp("swerex") / "log"
    command = [program, "--host", "127.0.0.1", "--port", str(port), "--auth-token", TOKEN]
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            deadline = time.monotonic() + 60
            while server.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            else:
                pytest.fail(f"swerex-remote does not come up: {log.read_text()[-500:]}")
            yield port
        finally:
            server.kill()


@pytest.fixture
def remote(server_port: int, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SweRex]:
    """Makes providers that ask the server."""
    monkeypatch.setenv("SWEREX_TOKEN", TOKEN)
    return lambda **options: SweRex(host="127.0.0.1", port=server_port, **options)


KINDS = ["local", "bubblewrap", pytest.param("swe_rex", marks=pytest.mark.slow)]


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, start_state: Path) -> Iterator[Callable[..., Session]]:
    """Opens sandboxes of one kind with the options given; all are closed in the end."""
    if request.param == "bubblewrap":
        needs_bubblewrap()
    kinds = {
        "local": lambda: Local,
        "bubblewrap": lambda: Bubblewrap,
        "swe_rex": lambda: request.getfixturevalue("remote"),
    }
    yield from _maker(kinds[request.param](), start_state)


@pytest.fixture
def jail(start_state: Path) -> Iterator[Callable[..., Session]]:
    """Opens bubblewrap sandboxes."""
    needs_bubblewrap()
    yield from _maker(Bubblewrap, start_state)


def _maker(provider: Callable[..., Any], start_state: Path) -> Iterator[Callable[..., Session]]:
    opened: list[Session] = []

    def make(*, software: tuple[Path, ...] = (), **options: Any) -> Session:
        opened.append(provider(**options).open(StartState(start_state, software)))
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
