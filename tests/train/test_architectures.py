"""Policies that are more than one stack of layers: with experts, or with an eye beside the text."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_methods import FLOAT, spec_of, trainer_of  # type: ignore[import-not-found]
from test_parts import LIMIT, branching  # type: ignore[import-not-found]
from training_cases import make_examples  # type: ignore[import-not-found]

from rft.errors import RecipeError, StageError
from rft.train.process import train_in_process

torch = pytest.importorskip("torch")

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 256,
}


def save(model: Any, tokenizer: Any, place: Path) -> Path:
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def experts(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Qwen3 of which each token is read by two of four experts."""
    from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(policy)
    config = Qwen3MoeConfig(
        **SHAPE, vocab_size=len(tokenizer), moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2
    )
    torch.manual_seed(0)
    return save(Qwen3MoeForCausalLM(config), tokenizer, tmp_path_factory.mktemp("experts") / "tiny")


@pytest.fixture(scope="module")
def seeing(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Gemma 3 that reads images too."""
    from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(policy)
    eye = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config={**SHAPE, "vocab_size": len(tokenizer), "sliding_window": 64},
        vision_config={**eye, "image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    torch.manual_seed(0)
    place = save(Gemma3ForConditionalGeneration(config), tokenizer, tmp_path_factory.mktemp("seeing") / "tiny")
    (place / "preprocessor_config.json").write_text('{"image_processor_type": "Gemma3ImageProcessor"}')
    return place


def test_a_policy_of_experts_learns_rows_that_branch(tmp_path: Path, experts: Path) -> None:
    trainer = trainer_of(spec_of(tmp_path / "a", experts, "sft", branching()))
    batch = next(iter(trainer.get_train_dataloader()))
    assert trainer.aux_loss_enabled
    assert torch.isfinite(trainer.compute_loss(trainer.model.train(), batch))


def test_a_policy_whose_layers_know_no_branches_is_refused(tmp_path: Path, seeing: Path) -> None:
    with pytest.raises(RecipeError, match="has layers of kind sliding_attention, which know no branches"):
        trainer_of(spec_of(tmp_path / "a", seeing, "sft", branching()))


def test_parts_of_a_batch_balance_experts_as_much_as_the_whole(tmp_path: Path, experts: Path) -> None:
    losses = []
    for limit in (None, LIMIT):
        trl = FLOAT | {"per_device_train_batch_size": 8, "router_aux_loss_coef": 1.0}
        spec = spec_of(tmp_path / str(limit), experts, "sft", make_examples(8), batch_tokens=limit, trl=trl)
        trainer = trainer_of(spec)
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.current_gradient_accumulation_steps = 1
        losses.append(float(trainer.training_step(trainer.model, batch, (batch["labels"] != -100).sum())))
    assert losses[0] == pytest.approx(losses[1], rel=0.02), "the balance of a batch is no sum over its rows, but near"


def test_the_precision_of_a_policy_with_several_parts_is_kept(tmp_path: Path, seeing: Path) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText

    from rft.train.training import train

    half = shutil.copytree(seeing, tmp_path / "half")
    AutoModelForImageTextToText.from_pretrained(seeing, dtype=torch.bfloat16).save_pretrained(half)
    config = json.loads((half / "config.json").read_text())
    assert {config.pop("dtype"), config["text_config"]["dtype"]} == {"bfloat16"}
    (half / "config.json").write_text(json.dumps(config))
    spec = spec_of(tmp_path / "a", half, "sft", make_examples(4))
    train(spec)
    weights = load_file(Path(spec.folder) / "checkpoint" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}


def test_a_context_that_is_stretched_takes_longer_rows(tmp_path: Path, policy: Path) -> None:
    from rft.train.training import method_of, read

    long = [e for e in make_examples(8, length=600) if len(e.ids) > 256]
    assert long
    with pytest.raises(StageError, match="longer than the model's context of 256 tokens"):
        read(spec := spec_of(tmp_path / "a", policy, "sft", long), method_of(spec))
    stretched = shutil.copytree(policy, tmp_path / "stretched")
    config = json.loads((stretched / "config.json").read_text())
    config["rope_parameters"] |= {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
    (stretched / "config.json").write_text(json.dumps(config))
    spec = spec_of(tmp_path / "b", stretched, "sft", long)
    assert len(read(spec, method_of(spec))) == len(long)


@pytest.mark.process
def test_a_policy_that_reads_images_too_learns_in_two_processes_from_text(tmp_path: Path, seeing: Path) -> None:
    trl = FLOAT | {"per_device_train_batch_size": 2}
    spec = spec_of(tmp_path / "a", seeing, "sft", make_examples(8), workers=2, parent=os.getpid(), trl=trl)
    assert train_in_process(spec).steps > 1
    left = Path(spec.folder) / "checkpoint" / "preprocessor_config.json"
    assert left.read_bytes() == (seeing / "preprocessor_config.json").read_bytes()
