"""The sandbox on another machine: what it says where nothing answers, and what a real server does with it.

Everything that other sandboxes promise as well: `pytest -m slow tests/sandboxes/test_sandboxes.py -k swe_rex`.
"""

import http.server
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rft.errors import RecipeError, SandboxError
from rft.interfaces import StartState
from rft.plugins import build
from rft.sandboxes.remote import SweRex

Remote = Callable[..., SweRex]


def test_a_library_that_is_not_there_is_named(start_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("swerex", "swerex.runtime.abstract"):
        monkeypatch.setitem(sys.modules, name, None)
    provider = SweRex(host="127.0.0.1", port=1)
    assert "pip install 'rft[swe-rex]'" in provider.missing()
    with pytest.raises(SandboxError):
        provider.open(StartState(start_state))


def test_a_host_must_be_named() -> None:
    with pytest.raises(RecipeError, match="'host' is missing"):
        build("sandbox", {"use": "swe_rex"}, "sandbox")


def test_a_server_that_does_not_answer_is_named(start_state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("swerex")
    monkeypatch.setenv("SWEREX_TOKEN", "secret-token")
    nowhere = SweRex(host="127.0.0.1", port=1)
    told = nowhere.missing()
    assert told.startswith("http://127.0.0.1:1 does not answer (") and "refused" in told and "\n" not in told
    assert "swerex-remote --auth-token" in told and "secret-token" not in told
    with pytest.raises(SandboxError, match="does not answer"):
        nowhere.open(StartState(start_state))


class Hostile(http.server.BaseHTTPRequestHandler):
    """Answers every request with what its server's `said` holds."""

    def do_POST(self) -> None:
        status, body = self.server.said  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def hostile() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_machine_that_was_taken_over_runs_nothing_here(
    hostile: http.server.ThreadingHTTPServer, start_state: Path, tmp_path: Path
) -> None:
    """swe-rex's own client would import `os` and call `os.system` with the message."""
    pytest.importorskip("swerex")
    named = {"class_path": "os.system", "message": f"touch {tmp_path}/taken", "traceback": "", "extra_info": {}}
    hostile.said = 511, json.dumps({"swerexception": named}).encode()  # type: ignore[attr-defined]
    provider = SweRex(host="127.0.0.1", port=hostile.server_port)
    assert "answers 511: touch" in provider.missing()
    with pytest.raises(SandboxError, match="answers 511"):
        provider.open(StartState(start_state))
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"stdout": 1}', b"\xff", b"[" * 100_000, b'{"exit_code": "x"}'])
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_is_none_is_a_failure_of_the_sandbox(
    hostile: http.server.ThreadingHTTPServer, start_state: Path, body: bytes, status: int
) -> None:
    pytest.importorskip("swerex")
    hostile.said = status, body  # type: ignore[attr-defined]
    provider = SweRex(host="127.0.0.1", port=hostile.server_port)
    assert provider.missing() and "\n" not in provider.missing()
    with pytest.raises(SandboxError):
        provider.open(StartState(start_state))


@pytest.mark.process
def test_a_wrong_token_is_told(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    assert remote().missing() == ""
    monkeypatch.setenv("SWEREX_TOKEN", "wrong")
    assert "answers 401" in remote().missing() and "SWEREX_TOKEN" in remote().missing()


@pytest.mark.process
def test_commands_files_and_a_patch(remote: Remote, start_state: Path, tmp_path: Path) -> None:
    sandbox = remote(folder=str(tmp_path)).open(StartState(start_state))
    assert sandbox.run("sed -i 's/a - b/a + b/' sums.py; python -c 'print(6*7)'; exit 3").exit_code == 3
    assert sandbox.run("sleep 60", timeout=0.5).timed_out
    sandbox.write("new/file.bin", bytes(range(256)))
    assert sandbox.read("new/file.bin") == bytes(range(256))
    assert "+    return a + b" in sandbox.diff()
    with pytest.raises(SandboxError, match="no door"):
        sandbox.door()
    sandbox.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_one_sandbox_s_command_does_not_hold_up_another_s(remote: Remote, start_state: Path, tmp_path: Path) -> None:
    one, two = (remote().open(StartState(start_state)) for _ in range(2))
    done: list[bool] = []
    wait = f"until [ -e {tmp_path}/flag ]; do sleep 0.05; done"
    thread = threading.Thread(target=lambda: done.append(one.run(wait, timeout=30).timed_out))
    thread.start()
    assert two.run(f"touch {tmp_path}/flag", timeout=10).exit_code == 0
    thread.join()
    assert done == [False]
    one.close()
    two.close()


@pytest.mark.process
def test_closing_ends_a_command_that_runs(remote: Remote, start_state: Path, tmp_path: Path) -> None:
    sandbox = remote(folder=str(tmp_path)).open(StartState(start_state))
    broken: list[str] = []

    def run() -> None:
        try:
            sandbox.run(f"echo $$ > {tmp_path}/pid; exec sleep 600", timeout=700)
        except SandboxError as error:
            broken.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    sandbox.close()
    thread.join()
    assert len(broken) == 1
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


@pytest.mark.process
def test_a_dead_supervisor_over_there_is_a_sandbox_error(remote: Remote, start_state: Path, tmp_path: Path) -> None:
    sandbox = remote(folder=str(tmp_path)).open(StartState(start_state))
    os.kill(int(sandbox.run("echo $PPID").output), signal.SIGKILL)
    with pytest.raises(SandboxError, match="its supervisor is gone"):
        sandbox.run("true")
    sandbox.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_a_sandbox_whose_owner_is_gone_is_dropped(remote: Remote, start_state: Path, tmp_path: Path) -> None:
    sandbox = remote(folder=str(tmp_path), idle=0.5).open(StartState(start_state))
    deadline = time.monotonic() + 20
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SandboxError, match="gone"):
        sandbox.run("true")
    sandbox.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_software_that_is_not_over_there_is_told(remote: Remote, start_state: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="tools is not on that machine"):
        remote(folder=str(tmp_path)).open(StartState(start_state, (Path("/nowhere/tools"),)))
    assert list(tmp_path.iterdir()) == []
