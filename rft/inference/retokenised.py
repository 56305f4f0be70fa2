"""Gives a checkpoint a vocabulary for other texts: writes a directory that transformers reads."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rft.errors import RecipeError
from rft.inference.fresh import READING, SMALLEST_VOCABULARY, train_tokenizer
from rft.recipe import shipped_model


@dataclass(kw_only=True)
class Retokenised:
    """The layers of another checkpoint behind a new tokenizer, learnt from the texts.

    A new token's embedding is the mean of those of the old tokens that spell it (fast vocabulary transfer, Gee et
    al., EMNLP 2022 Industry Track). For a small model that is to read other words than those it was made with: it
    keeps what its layers know, and reads fewer tokens.
    """

    model: str
    """The checkpoint: a directory, a hub name, or one that ships with rft. Its embeddings are tied."""
    vocab_size: int = 1024
    dtype: Literal["float32", "bfloat16"] = "float32"
    """How the weights are stored, before and after training."""

    def __post_init__(self) -> None:
        if self.vocab_size < SMALLEST_VOCABULARY:
            raise ValueError(f"vocab_size is {self.vocab_size}; expected at least {SMALLEST_VOCABULARY}")

    def make(self, path: Path, texts: Iterable[str], seed: int) -> None:
        """Write the checkpoint to `path`, whole or not at all; nothing in it is drawn.

        Raises RecipeError when `path` is there already, or when the model's embeddings are not tied.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if path.exists():
            raise RecipeError(f"{path}: is there already; a new policy needs a new place. Move it away.")
        source = shipped_model(self.model)
        old = AutoTokenizer.from_pretrained(source)
        network = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        if not network.config.tie_word_embeddings:
            raise RecipeError(
                f"policy.create.model: '{self.model}' has an output layer of its own; expected tied ones."
            )
        new = train_tokenizer(texts, self.vocab_size, network.config.max_position_embeddings, READING)
        embeddings = network.get_input_embeddings().weight.detach().clone()
        network.resize_token_embeddings(len(new), mean_resizing=False)
        weight = network.get_input_embeddings().weight.detach()
        for token, number in new.get_vocab().items():
            known = old.convert_tokens_to_ids(token) if token in new.all_special_tokens else None
            pieces = [known] if known is not None else old.encode(new.decode([number]), add_special_tokens=False)
            weight[number] = embeddings[pieces].mean(0)
        for name in ("eos_token_id", "pad_token_id"):
            setattr(network.config, name, getattr(new, name))
        network.generation_config.eos_token_id = [new.eos_token_id, new.pad_token_id]
        network.generation_config.pad_token_id = new.pad_token_id
        fresh = path.with_name(f".{path.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            new.save_pretrained(fresh)
            network.to(getattr(torch, self.dtype)).save_pretrained(fresh)
            fresh.rename(path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
