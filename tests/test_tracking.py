"""Trackers: what is written, what is kept secret, and that W&B can neither stop a run nor hold it up."""

import http.server
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from reward_models.types import Report
from rft.errors import RecipeError
from rft.plugins import build
from rft.store import Records
from rft.tracking import JsonLines, Nowhere, Tracker, Wandb, online_or_not, without_secrets
from tests.view.fabricated import make_run
from tests.wandb_log import read


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The machine's own W&B account stays out of it: the environment is what these tests are about."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))


def lines(path: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in (path / "metrics.jsonl").read_bytes().splitlines() if line]


def test_json_lines_hold_every_stage_in_order(tmp_path: Path) -> None:
    tracker = JsonLines()
    tracker.start(tmp_path, "one", {})
    tracker.log(1, "collect", {"resolved": 0.25})
    tracker.log(1, "select", {"kept": 12, "odd": float("nan")})
    tracker.finish()
    assert lines(tmp_path) == [
        {"step": 0, "round": 1, "stage": "collect", "metrics": {"collect/resolved": 0.25}},
        {"step": 1, "round": 1, "stage": "select", "metrics": {"select/kept": 12.0, "select/odd": None}},
    ]


def test_json_lines_go_on_after_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step":0,"round":0,"stage":"a","metrics":{}}\n{"step":1,"rou')
    tracker = JsonLines()
    tracker.start(tmp_path, "one", {})
    tracker.log(1, "train", {"loss": 0.5})
    whole = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    assert len(whole) == 3
    assert msgspec.json.decode(whole[2])["step"] == 2


def test_nowhere_leaves_no_trace(tmp_path: Path) -> None:
    tracker: Tracker = Nowhere()
    tracker.start(tmp_path, "one", {})
    tracker.log(1, "collect", {"resolved": 1})
    tracker.table("funnel", ["rule"], [["resolved"]])
    tracker.artifact("report", "report", tmp_path, {})
    tracker.alert("reward hacking?", "parted")
    tracker.finish()
    assert list(tmp_path.iterdir()) == []


def test_recipe_sections_build_trackers() -> None:
    tracker = build("tracker", {"use": "wandb", "project": "mine", "mode": "offline"}, "tracking")
    assert (tracker.project, tracker.mode) == ("mine", "offline")
    with pytest.raises(RecipeError, match=r"tracking\.mode"):
        build("tracker", {"use": "wandb", "mode": "sometimes"}, "tracking")


def test_secrets_never_leave_the_recipe() -> None:
    recipe = {
        "score": {"judge": {"api_key": "sk-1", "apiKey": "sk-2", "key_variable": "JUDGE_KEY", "votes": 3}},
        "policy": {"sampling": {"max_tokens": 512}, "auth_token": "t", "nested": [{"PASSWORD": "p", "name": "n"}]},
        "headers": {"Authorization": "Bearer x", "X-Api-Key": "y"},
        "url": "https://user:hunter2@judge:8000/v1?x=1",
        "token": ["a", "b"],
        "token_variable": "sk-3",
    }
    assert without_secrets(recipe) == {
        "score": {"judge": {"api_key": "<redacted>", "apiKey": "<redacted>", "key_variable": "JUDGE_KEY", "votes": 3}},
        "policy": {
            "sampling": {"max_tokens": 512},
            "auth_token": "<redacted>",
            "nested": [{"PASSWORD": "<redacted>", "name": "n"}],
        },
        "headers": {"Authorization": "<redacted>", "X-Api-Key": "<redacted>"},
        "url": "https://<redacted>@judge:8000/v1?x=1",
        "token": ["<redacted>", "<redacted>"],
        "token_variable": "<redacted>",
    }


def test_without_a_key_wandb_is_offline() -> None:
    mode, why = online_or_not()
    assert mode == "offline"
    assert "no key" in why


def test_a_key_in_netrc_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = _closed_port()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1:{port} login user password {'k' * 40}\n")
    mode, why = online_or_not()
    assert mode == "offline"
    assert "does not answer" in why


def test_the_environment_may_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert online_or_not() == ("disabled", "")


def test_a_server_that_never_answers_costs_seconds(silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", silent_server)
    began = time.monotonic()
    mode, _ = online_or_not()
    assert mode == "offline"
    assert time.monotonic() - began < 6


SESSION = """
import sys
from pathlib import Path
from rft import loop
from rft.tracking import Wandb
from tests.view.fabricated import recipe
from rft.rundir import Run

run = Run(recipe(Path(sys.argv[1]), rounds=2))
tracker = Wandb(project="test", group="arms", upload=sys.argv[2] == "2")
tracker.start(run.path, run.recipe.name, {"api_key": "sk-very-secret-value", "rounds": 2})
for stage in ("score", "select", "train", "evaluate"):
    manifest = run.stage(int(sys.argv[2]), stage).require()
    tracker.log(manifest.round, stage, manifest.metrics)
    loop.hand_over(run, manifest, tracker)
tracker.alert("reward hacking?", "score and outcome have parted")
if sys.argv[2] == "2":
    loop.report(run, tracker)
tracker.finish()
"""


@pytest.mark.process
def test_an_offline_run_is_read_back_and_holds_what_is_claimed(tmp_path: Path) -> None:
    """Two processes, a round each: one run in two parts, read from W&B's own files."""
    run = make_run(tmp_path, rounds=2, tasks=4)
    for round in (1, 2):
        subprocess.run([sys.executable, "-c", SESSION, tmp_path, str(round)], check=True, cwd=Path.cwd(), timeout=120)
    parts = [read(path) for path in sorted((run.path / "wandb").glob("offline-run-*/*.wandb"))]
    identity = (run.path / "wandb_id").read_text()
    assert [(part.run.run_id, part.run.run_group, part.finished) for part in parts] == [(identity, "arms", 0)] * 2
    assert all({"cpu", "memory_percent"} & {name.split(".")[0] for name in part.system} for part in parts)

    written = lines(run.path)
    for part, whole in zip(parts, (written[:4], written), strict=True):
        rows = {row["_step"]: row for row in part.history}
        assert len(rows) == len(part.history), "a step must not come twice"
        for line in whole:  # the second part holds the first's: a kill may have lost what W&B had not written
            assert rows[line["step"]]["round"] == line["round"]
            assert line["metrics"].items() <= rows[line["step"]].items()

    for round, part in enumerate(parts, start=1):
        assert part.alerts == ["score and outcome have parted"]
        data, model = part.artifacts["quickstart-dataset"], part.artifacts["quickstart-model"]
        assert (data.type, model.type) == ("dataset", "model")
        for stage, made in (("select", data), ("train", model)):
            done = run.stage(round, stage).require()
            origin = {"round": round, "stage": stage, "inputs": done.inputs, "outputs": done.outputs}
            assert msgspec.json.decode(made.metadata) == origin
        refs = [entry.ref for entry in model.manifest.contents]
        checkpoint = run.checkpoint(round) / "weights"
        assert refs == ([checkpoint.as_uri()] if round == 1 else [""]), "by reference, unless it is to be uploaded"
    assert {"quickstart-report.md", "quickstart-report.html"} <= parts[1].artifacts.keys()

    tables = {path.parent.name: path for path in run.path.rglob("attempts_*.table.json")}
    table = msgspec.json.decode(tables["select"].read_bytes())
    report = next(iter(Records(run.stage(1, "score").path / "reports.jsonl", Report)))
    assert set(table["columns"]) >= {"attempt", "score", "kept", *(one.criterion for one in report.verdicts)}
    files = b"".join(file.read_bytes() for file in (run.path / "wandb").rglob("*") if file.is_file())
    assert b"sk-very-secret-value" not in files


def test_an_api_that_hangs_after_the_probe_neither_fails_nor_holds_a_process(hanging_api: str, tmp_path: Path) -> None:
    """In a process of its own, because W&B also waits when the interpreter ends."""
    key = "k" * 40
    program = (
        "import sys; from pathlib import Path; from rft.tracking import Wandb\n"
        "tracker = Wandb(project='test', start_seconds=3, finish_seconds=3)\n"
        "tracker.start(Path(sys.argv[1]), 'arm', {})\n"
        "tracker.log(1, 'collect', {'resolved': 1.0})\n"
        "tracker.finish()\n"
    )
    environment = {**os.environ, "WANDB_API_KEY": key, "WANDB_BASE_URL": hanging_api}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20
    assert lines(tmp_path)[0]["metrics"] == {"collect/resolved": 1.0}
    assert done.stderr.count("wandb: start failed") == 1
    assert "start offline failed" not in done.stderr
    assert list((tmp_path / "wandb").glob("offline-run-*"))
    assert key not in done.stdout + done.stderr


def test_a_broken_wandb_is_said_once_and_never_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The import is broken on purpose: no real server can be made to fail this early."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = Wandb(mode="offline")
    tracker.start(tmp_path, "arm", {})
    tracker.log(1, "collect", {"resolved": 1.0})
    tracker.table("funnel", ["rule"], [["x"]])
    tracker.finish()
    assert len(lines(tmp_path)) == 1
    assert capfd.readouterr().err.count("wandb:") == 1


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class _Hanging(http.server.BaseHTTPRequestHandler):
    released: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.released.wait(60)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


@pytest.fixture
def hanging_api() -> Iterator[str]:
    """Answers the probe; every API call hangs."""
    handler = type("Handler", (_Hanging,), {"released": threading.Event()})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    handler.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
