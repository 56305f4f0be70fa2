"""What a training leaves: every weight, and all that stands beside the policy's as it was."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_methods import FLOAT, spec_of  # type: ignore[import-not-found]
from training_cases import make_examples  # type: ignore[import-not-found]

from rft.errors import StageError

torch = pytest.importorskip("torch")

STRICT = {"temperature": 0.6, "top_p": 0.95, "eos_token_id": [1, 2]}
"""As several published models have it: transformers warns when it is read, and refuses to write it."""


@pytest.mark.parametrize("generation", [STRICT, None], ids=["one that is not accepted", "none"])
def test_a_generation_config_ends_no_training_and_is_kept_as_it_is(
    tmp_path: Path, policy: Path, generation: dict[str, Any] | None
) -> None:
    from transformers import AutoModelForCausalLM

    from rft.train.training import train

    start = shutil.copytree(policy, tmp_path / "start")
    (start / "generation_config.json").unlink(missing_ok=True)
    if generation is not None:
        (start / "generation_config.json").write_text(json.dumps(generation))
    spec = spec_of(tmp_path / "a", start, "sft", make_examples(4))
    train(spec)
    left = Path(spec.folder) / "checkpoint"
    if generation is not None:
        assert (left / "generation_config.json").read_bytes() == (start / "generation_config.json").read_bytes()
    AutoModelForCausalLM.from_pretrained(left)


def test_a_checkpoint_that_lacks_a_weight_is_refused(tmp_path: Path, policy: Path) -> None:
    from safetensors.torch import load_file, save_file

    from rft.train.training import write_checkpoint

    spec = spec_of(tmp_path / "a", policy, "sft", make_examples(4))
    final = shutil.copytree(policy, Path(spec.folder) / "trainer" / "final")
    weights = load_file(final / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, final / "model.safetensors", {"format": "pt"})
    with pytest.raises(StageError, match=r"lacks 1 weights of a Qwen3ForCausalLM, model\.layers\.1\.mlp\.up_proj"):
        write_checkpoint(spec)
    assert not (Path(spec.folder) / "checkpoint").exists()


def test_weights_in_few_bits_are_loaded_as_the_recipe_says_otherwise(tmp_path: Path, policy: Path) -> None:
    from rft.train.training import method_of, options_of

    trl = FLOAT | {"model_init_kwargs": {"attn_implementation": "eager"}}
    spec = spec_of(
        tmp_path / "a", policy, "sft", make_examples(4), lora={"r": 4}, quantization={"load_in_8bit": True}, trl=trl
    )
    method = method_of(spec)
    given = options_of(spec, method, method.rows())["model_init_kwargs"]
    assert given["attn_implementation"] == "eager" and given["quantization_config"].load_in_8bit


@pytest.mark.filterwarnings("ignore::UserWarning:peft")
@pytest.mark.parametrize("where", [{"target_modules": ["q_proj", "embed_tokens"]}, {"modules_to_save": ["lm_head"]}])
def test_an_adapter_on_tied_embeddings_is_merged_as_it_was_trained(
    tmp_path: Path, policy: Path, where: dict[str, Any]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from rft.train.training import train

    lora = {"r": 4, "target_modules": ["q_proj"], **where}
    spec = spec_of(tmp_path / "a", policy, "sft", make_examples(4), lora=lora)
    train(spec)
    base = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    trained = PeftModel.from_pretrained(base, Path(spec.folder) / "adapter")
    left = AutoModelForCausalLM.from_pretrained(Path(spec.folder) / "checkpoint", dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    torch.testing.assert_close(left(ids).logits, trained(ids).logits, atol=1e-4, rtol=1e-4)
