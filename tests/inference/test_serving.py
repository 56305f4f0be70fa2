"""Replicas of a server that speaks as vLLM does, as real processes: started, killed, followed, and none left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from rft.errors import InferenceError, RecipeError, StageError
from rft.inference import servers
from rft.inference.fleet import Book
from rft.inference.replicas import Replicas
from rft.inference.serving import served
from rft.inference.vllm import Vllm
from rft.plugins import build
from rft.recipe import Sampling
from rft.types import Message, Task

FAKE = Path(__file__).with_name("fake_vllm.py")
GO = [Message(role="user", content="go")]


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return make_weights(tmp_path / "model", b"one")


def make_weights(folder: Path, data: bytes) -> str:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(data)
    return str(folder)


def section(
    replicas: int = 1, *, boot: float = 60, restarts: int = 3, silence: float = 300, **flags: Any
) -> dict[str, Any]:
    command = f"{sys.executable} {FAKE}"
    return {
        "use": "vllm",
        "command": command,
        "replicas": replicas,
        "gpus": 0,
        "boot": boot,
        "restarts": restarts,
        "silence": silence,
        "flags": flags,
    }


@contextmanager
def engine_of(given: dict[str, Any], model: str, folder: Path) -> Iterator[Replicas]:
    with served(given, model, folder) as there:
        engine: Replicas = build("inference", there, "policy.inference")
        engine.load(model, Sampling(max_tokens=8))
        yield engine
        engine.close()


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def pids(folder: Path) -> list[int]:
    """The servers that were started, in order, by their logs."""
    logs = "".join(path.read_text() for path in sorted(folder.glob("*.log")))
    return [int(line.split()[1]) for line in logs.splitlines() if line.startswith("pid ")]


def alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def book(folder: Path) -> Book:
    return msgspec.json.decode((folder / "replicas.json").read_bytes(), type=Book)


def wait_for(what: Any, seconds: float = 60) -> None:
    limit = soon(seconds)
    while not what():
        assert time.monotonic() < limit, "it did not come to that"
        time.sleep(0.05)


@pytest.mark.process
def test_attempts_are_shared_out_and_each_keeps_to_its_replica(weights: str, task: Task, tmp_path: Path) -> None:
    folder, record = tmp_path / "serving", tmp_path / "record"
    with engine_of(section(2, record=str(record), child=True), weights, folder) as engine:
        conversations = [engine.open(task, seed=number) for number in range(6)]
        for turn in range(3):
            for number, conversation in enumerate(conversations):
                messages = [Message(role="user", content=f"attempt {number}")] * (turn + 1)
                completion = conversation.reply(messages, deadline=soon())
        started = [psutil.Process(pid) for pid in pids(folder)]
        started += [child for process in started for child in process.children(recursive=True)]
        assert folder.stat().st_mode & 0o077 == 0, "the key is for this user alone"
    assert completion.ids and len(completion.ids) == len(completion.logprobs or []) and completion.prompt_ids
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    ports = {line["start"]: {one["port"] for one in lines if one["start"] == line["start"]} for line in lines}
    assert all(len(one) == 1 for one in ports.values()) and len(ports) == 6
    shares = [sum(port in one for one in ports.values()) for port in set.union(*ports.values())]
    assert shares == [3, 3]
    assert len({line["seed"] for line in lines}) == 18
    assert len(started) == 4 and not any(alive(process) for process in started)
    assert sorted(path.name for path in folder.iterdir()) == ["replica_0.log", "replica_1.log"]


@pytest.mark.process
def test_a_folder_that_cannot_be_removed_is_taken_over(weights: str, task: Task, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    folder = tmp_path / "serving"
    folder.symlink_to("there")
    with engine_of(section(1), weights, folder) as engine:
        assert engine.open(task, seed=0).reply(GO, deadline=soon()).text
        assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.process
def test_a_replica_killed_in_the_middle_of_an_answer_costs_a_call(weights: str, task: Task, tmp_path: Path) -> None:
    folder, record = tmp_path / "serving", tmp_path / "record"
    with engine_of(section(2, record=str(record), delay=0.5), weights, folder) as engine:
        conversations = [engine.open(task, seed=number) for number in range(2)]
        said: list[str] = []

        def ask(number: int) -> None:
            said.append(conversations[number].reply(GO, deadline=soon()).text)

        askers = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
        for asker in askers:
            asker.start()
        wait_for(lambda: record.exists() and len(record.read_text().splitlines()) == 2)
        first = pids(folder)[0]
        os.kill(first, signal.SIGKILL)
        for asker in askers:
            asker.join()
        assert len(said) == 2
        lines = [json.loads(line) for line in record.read_text().splitlines()]
        assert len(lines) == 3 and len({line["seed"] for line in lines}) == 2, "one call more, with the same seed"
        wait_for(lambda: len(book(folder).urls) == 2)  # started again
        assert len(pids(folder)) == 3
        assert conversations[0].reply(GO, deadline=soon()).text


@pytest.mark.process
def test_a_replica_that_hangs_and_is_healthy_is_started_again(
    weights: str, task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, stuck = tmp_path / "serving", tmp_path / "stuck"
    with engine_of(section(1, silence=2, stuck=str(stuck)), weights, folder) as engine:
        conversation = engine.open(task, seed=1)
        assert conversation.reply(GO, deadline=soon()).text
        stuck.write_text(str(pids(folder)[0]))
        assert conversation.reply(GO, deadline=soon(100)).text, "asked anew of the next start"
        assert len(pids(folder)) == 2 and not psutil.pid_exists(pids(folder)[0])
    assert "replica 0 runs, and has answered nothing for 2 s" in capsys.readouterr().err


@pytest.mark.process
def test_a_replica_that_works_for_others_is_not_taken_for_hung(weights: str, task: Task, tmp_path: Path) -> None:
    folder = tmp_path / "serving"
    with engine_of(section(1, silence=1, crowded=True), weights, folder) as engine:
        time.sleep(4)
        assert engine.open(task, seed=1).reply(GO, deadline=soon()).text
        assert len(pids(folder)) == 1


@pytest.mark.process
def test_a_call_that_breaks_replicas_fails_alone(weights: str, task: Task, tmp_path: Path) -> None:
    folder, record = tmp_path / "serving", tmp_path / "record"
    with engine_of(section(2, record=str(record), poison="poison"), weights, folder) as engine:
        with pytest.raises(InferenceError, match=r"asked 3 times, replicas fail at it: .*HTTP 500"):
            engine.open(task, seed=1).reply([Message(role="user", content="poison")], deadline=soon(600))
        assert len(record.read_text().splitlines()) == 6, "each of the three asks twice"
        assert all(line.shunned == 0 and line.attempts == 0 for line in engine.lines.values())


@pytest.mark.process
def test_an_attempt_whose_time_is_over_speaks_against_no_replica(weights: str, task: Task, tmp_path: Path) -> None:
    with engine_of(section(1, delay=60), weights, tmp_path / "serving") as engine:
        with pytest.raises(InferenceError):
            engine.open(task, seed=1).reply(GO, deadline=soon(0.5))
        assert [line.shunned for line in engine.lines.values()] == [0.0]


@pytest.mark.process
def test_a_replica_that_dies_again_and_again_is_given_up(weights: str, task: Task, tmp_path: Path) -> None:
    folder = tmp_path / "serving"
    with engine_of(section(1, restarts=1), weights, folder) as engine:
        conversation = engine.open(task, seed=1)
        for starts in (1, 2):
            wait_for(lambda starts=starts: len(pids(folder)) == starts and book(folder).urls)
            assert conversation.reply(GO, deadline=soon()).text
            os.kill(pids(folder)[-1], signal.SIGKILL)
            wait_for(lambda: not book(folder).urls)
        with pytest.raises(InferenceError, match="every replica died 2 times"):
            conversation.reply(GO, deadline=soon())


@pytest.mark.process
@pytest.mark.parametrize(
    ("given", "why"),
    [
        (section(2, crash="no kernel image"), r"replica . ended with exit code 1 \(RuntimeError: no kernel image\)"),
        (section(1, boot=1, sick=True), r"replica 0 does not answer after 1 s"),
        (section() | {"command": "/no/such/vllm"}, r"exit code 127 \(cannot be started: '/no/such/vllm'"),
    ],
    ids=["crash", "deadline", "absent"],
)
def test_a_replica_that_does_not_come_up_ends_the_stage(
    given: dict[str, Any], why: str, weights: str, tmp_path: Path
) -> None:
    folder = tmp_path / "serving"
    with pytest.raises(StageError, match=why), served(given, weights, folder):
        pytest.fail("it is not up")
    assert not any(psutil.pid_exists(pid) for pid in pids(folder))


DRIVER = """
import os, signal, sys
from pathlib import Path
from rft.inference.serving import served
with served({given}, {model!r}, Path({folder!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.process
def test_kill_9_of_the_driver_leaves_no_server_behind(weights: str, tmp_path: Path) -> None:
    folder = tmp_path / "serving"
    program = DRIVER.format(given=section(2, child=True), model=weights, folder=str(folder))
    before = set(psutil.pids())
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert len(pids(folder)) == 2

    def left() -> list[psutil.Process]:
        found = []
        for pid in set(psutil.pids()) - before:
            try:
                process = psutil.Process(pid)
                if any(str(part) in " ".join(process.cmdline()) for part in (folder.parent, "time.sleep(600)")):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    wait_for(lambda: not left(), 20)


def test_what_is_started() -> None:
    given = {"max_model_len": 4096, "enforce-eager": True, "enable-prefix-caching": False, "hf-overrides": {"a": 1}}
    words = Vllm(command="'/opt/my vllm' run", gpus=2, flags={**given, "middleware": ["a", "b"], "seed": None})
    assert words.arguments("hub/name") == [
        *("/opt/my vllm", "run", "serve", "hub/name", "--served-model-name", "policy"),
        *("--logprobs-mode", "processed_logprobs", "--generation-config", "vllm"),
        *("--tensor-parallel-size", "2", "--max-model-len", "4096"),
        *("--enforce-eager", "--no-enable-prefix-caching", "--hf-overrides", '{"a": 1}', "--middleware", "a", "b"),
    ]
    assert "'/opt/my vllm'" in words.summary() and "'/opt/my vllm'" in words.missing()


@pytest.mark.parametrize(
    ("flags", "tensor"),
    [
        ({"enable-expert-parallel": True}, True),
        ({"data_parallel_size": 4}, False),
        ({"pipeline-parallel-size": 4}, False),
    ],
)
def test_several_gpus_share_tensors_unless_the_flags_spread_otherwise(flags: dict[str, Any], tensor: bool) -> None:
    assert ("--tensor-parallel-size" in Vllm(gpus=4, flags=flags).arguments("hub/name")) is tensor


def test_an_adapter_is_served_on_its_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "hub/base", "r": 12}))
    words = " ".join(Vllm(flags={"logprobs-mode": "raw_logprobs"}).arguments(str(tmp_path)))
    assert words == (
        f"vllm serve hub/base --served-model-name policy-base --enable-lora --lora-modules policy={tmp_path} "
        "--max-lora-rank 16 --logprobs-mode raw_logprobs --generation-config vllm"
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"flags": {"port": 1}}, "flags.port"),
        ({"flags": {"api_key": "secret-of-mine"}}, "flags.api_key"),
        ({"flags": {"hf_token": "secret-of-mine"}}, "flags.hf_token"),
        ({"flags": {"--seed": 1}}, "without dashes"),
        ({"command": " "}, "command is empty"),
        ({"replicas": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_started_is_refused_at_once(options: dict[str, Any], why: str) -> None:
    with pytest.raises(RecipeError, match=why) as error:
        build("inference", {"use": "vllm", **options}, "policy.inference")
    assert "secret-of-mine" not in str(error.value)


def test_each_replica_gets_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6,7")
    assert [servers.devices(number, 2) for number in range(2)] == [["3", "5"], ["6", "7"]]
    with pytest.raises(RecipeError, match="3 replicas with 2 GPUs each; this machine has 4"):
        servers.devices(2, 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(RecipeError, match="gpus: 0"):
        servers.devices(0, 1)
