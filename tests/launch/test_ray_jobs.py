"""`rft launch ray` and `rft launch local`, run: a real job server takes the quickstart and runs it to its end."""

import contextlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rft.launch import launch
from rft.store import Records
from rft.types import Trajectory

SMALL = ("rounds=1", "collect.tasks=8", "collect.samples=4", "evaluate.tasks=6", "evaluate.samples=1")

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """That of this interpreter, with `ray` and `rft` on the path whoever installed them where."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in (("ray", "ray.scripts.scripts"), ("rft", "rft.cli")):
        (programs / name).write_text(f'#!/bin/bash\nexec {sys.executable} -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return kept | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@contextlib.contextmanager
def cluster(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """A head with a job server; the server's address."""
    port, dashboard, client = _free_ports(3)
    address = f"http://127.0.0.1:{dashboard}"
    options = [f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", "--num-cpus=4"]
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(
            ["ray", "start", "--head", "--block", f"--temp-dir=/tmp/ray-jobs-{os.getpid()}", *options],
            env=environment,
            executable=folder / "bin/ray",
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        limit = time.monotonic() + 240
        while "Ray runtime started" not in (folder / "head.log").read_text():
            assert head.poll() is None and time.monotonic() < limit, (folder / "head.log").read_text()
            time.sleep(1)
        yield address
    finally:
        head.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        head.wait()


@pytest.mark.skipif(importlib.util.find_spec("aiohttp_cors") is None, reason="needs the job server of ray[default]")
def test_a_job_server_runs_the_quickstart(tmp_path: Path, environment: dict[str, str]) -> None:
    sent, storage = tmp_path / "sent", tmp_path / "storage"
    sent.mkdir()
    (sent / "mine.py").write_text("from rft.inference.local import Local as Mine\n")
    with cluster(tmp_path, environment) as address:
        given = [f"address={address}", f"storage={storage}", f"folder={sent}", "policy.inference.use=mine:Mine"]
        for again in (False, True):
            began = time.monotonic()
            output = _bash(launch("ray", "quickstart", [*given, *SMALL]), environment)
            print(f"took {time.monotonic() - began:.0f} s")
            assert ("evaluate: done before" in output) == again
    assert not (sent / "runs").exists(), "the run belongs into the storage"
    _is_whole(storage / "quickstart")


def test_the_script_for_this_machine_runs_the_quickstart(tmp_path: Path, environment: dict[str, str]) -> None:
    began = time.monotonic()
    _bash(launch("local", "quickstart", [f"folder={tmp_path}", *SMALL]), environment)
    print(f"took {time.monotonic() - began:.0f} s")
    assert "round 1 evaluate" in (tmp_path / "quickstart.log").read_text()
    _is_whole(tmp_path / "runs/quickstart")


def _bash(script: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def _is_whole(run: Path) -> None:
    made = [one.id for one in Records(run / "round_01/1_collect/trajectories.jsonl", Trajectory)]
    assert len(made) == len(set(made)) == 32
    assert (run / "round_01/5_evaluate/manifest.json").exists() and (run / "report.html").exists()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]
