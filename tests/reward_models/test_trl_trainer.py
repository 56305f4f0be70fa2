"""A rubric rewards a policy in a real GRPOTrainer: what it gets, what it logs, and what unknown does there."""

import json
from pathlib import Path
from typing import Any

import pytest

from reward_models.adapters import AsyncRubricReward, RubricReward
from reward_models.judges import Scripted
from reward_models.rubric import parse
from reward_models.types import Transcript
from rft.inference.fresh import TinyQwen3

pytestmark = pytest.mark.process
GENERATIONS, STEPS = 4, 3


def lower_case(transcript: Transcript) -> float | None:
    """The share of the answer's letters that are small; unknown where there is none."""
    letters = [character for character in transcript.steps[-1].text if character.isalpha()]
    return sum(letter.islower() for letter in letters) / len(letters) if letters else None


RULES = parse(f"name: quiet\ncriteria: [{{id: lower_case, rule: '{__name__}:lower_case'}}]")
ASKS = parse("name: asked\ncriteria: [{id: kind, question: 'Is it kind?'}]")


def reply(answer: str) -> str:
    return json.dumps({"verdicts": [{"id": "kind", "answer": answer, "steps": [1]}]})


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "tiny"
    shape = TinyQwen3(
        vocab_size=300, hidden_size=32, layers=1, heads=2, kv_heads=1, intermediate_size=64, max_position=256
    )
    shape.make(path, ["Say some words, please. yes no maybe"] * 20, seed=0)
    return path


def train(policy: Path, out: Path, rewards: list[Any], *, chat: bool) -> list[dict[str, float]]:
    """Three steps of four answers each; the trainer's log."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    prompt: Any = [{"role": "user", "content": "Say some words."}] if chat else "Say some words. "
    rows = [{"prompt": prompt, "expected": "never shown"}] * GENERATIONS
    options = GRPOConfig(
        output_dir=str(out),
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        gradient_checkpointing=False,
        per_device_train_batch_size=GENERATIONS,
        num_generations=GENERATIONS,
        max_completion_length=8,
        max_steps=STEPS,
        logging_steps=1,
        learning_rate=1e-3,
    )
    trainer = GRPOTrainer(
        model=str(policy),
        reward_funcs=rewards,
        args=options,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )
    trainer.train()
    steps: list[dict[str, float]] = [entry for entry in trainer.state.log_history if "loss" in entry]
    return steps


def test_rules_reward_chats_and_their_rates_are_logged(policy: Path, tmp_path: Path) -> None:
    log = train(policy, tmp_path, [RubricReward(RULES)], chat=True)
    assert len(log) == STEPS
    for entry in log:
        assert 0 <= entry["rewards/quiet/mean"] <= 1
        assert entry["quiet/lower_case"] == pytest.approx(entry["rewards/quiet/mean"], abs=1e-5)
        assert entry["quiet/no_score"] == entry["quiet/unknown"]
    assert any(entry["grad_norm"] > 0 for entry in log), "rewards that differ move the policy"


def test_an_unknown_is_no_reward_and_judges_answer_beside_rules(policy: Path, tmp_path: Path) -> None:
    """Of every four answers two are kind, one is not, and on one the judge cannot tell."""
    judge = Scripted(replies=[reply("yes"), reply("unknown"), reply("no"), reply("yes")])
    twin = AsyncRubricReward(ASKS, judge)
    log = train(policy, tmp_path, [twin, RubricReward(RULES)], chat=False)
    for entry in log:
        assert entry["rewards/asked/mean"] == pytest.approx(2 / 3), "a mean over three, not over four"
        assert entry["asked/kind"] == pytest.approx(2 / 3) and entry["asked/unknown"] == 0.25
        assert "rewards/quiet/mean" in entry
