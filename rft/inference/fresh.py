"""Makes a small untrained Qwen3 checkpoint with its own tokenizer: writes a directory that transformers reads."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rft.errors import RecipeError

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = (END_OF_TEXT, TURN_START, TURN_END)
SMALLEST_VOCABULARY = 256 + len(SPECIALS)


@dataclass(kw_only=True)
class TinyQwen3:
    """The Qwen3 architecture (Yang et al., 2025, arXiv 2505.09388) with tied embeddings, small."""

    vocab_size: int = 700
    """Tokens of the byte-level BPE vocabulary: 256 bytes, 3 control tokens, and merges learnt from the texts."""
    hidden_size: int = 192
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    intermediate_size: int = 512
    max_position: int = 2048
    """The longest context in tokens."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """How the weights are stored."""

    def __post_init__(self) -> None:
        for name in ("hidden_size", "layers", "heads", "kv_heads", "intermediate_size", "max_position"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.vocab_size < SMALLEST_VOCABULARY:
            raise ValueError(f"vocab_size is {self.vocab_size}; expected at least {SMALLEST_VOCABULARY}")
        if self.hidden_size % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError("hidden_size must be an even multiple of heads, and heads a multiple of kv_heads")

    def make(self, path: Path, texts: Iterable[str], seed: int) -> None:
        """Write the checkpoint to `path`, whole or not at all; the same texts and seed give the same bytes.

        The tokenizer learns from `texts` and carries any text through unchanged; the weights are random.
        Raises RecipeError when `path` is there already.
        """
        if path.exists():
            raise RecipeError(
                f"{path}: is there already; a new policy needs a new place. Move it away, or name another."
            )
        fresh = path.with_name(f".{path.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            tokenizer = train_tokenizer(texts, self.vocab_size, self.max_position)
            tokenizer.save_pretrained(fresh)
            self._random_model(tokenizer, seed).save_pretrained(fresh)
            fresh.rename(path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _random_model(self, tokenizer: Any, seed: int) -> Any:
        import torch
        from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

        end, pad = tokenizer.convert_tokens_to_ids([TURN_END, END_OF_TEXT])
        config = Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.hidden_size // self.heads,
            max_position_embeddings=self.max_position,
            tie_word_embeddings=True,
            eos_token_id=end,
            pad_token_id=pad,
            bos_token_id=None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Qwen3ForCausalLM(config)
        model.generation_config = GenerationConfig(eos_token_id=[end, pad], pad_token_id=pad, do_sample=True)
        return model.to(getattr(torch, self.dtype))


WRITING = r"""[0-9|<>=+\-*/%!(),:\[\]'"]"""
"""Pieces for a model that writes commands: a small one copies line numbers and operators only where they are the same
tokens in every surrounding."""
READING = r"[0-9]|\n(?:\| ?)?|[^\n\w]*[^\W0-9]+|[^\n\w]+"
"""Pieces for a model that reads much and writes little: words with the signs before them, digits alone."""


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_position: int, pieces: str = WRITING) -> Any:
    """A byte-level BPE tokenizer with the chat template beside this module; fewer merges when the texts hold fewer.

    `pieces` is the pattern of what merges stay within, as they do within what lies between two of them.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    apart = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [apart, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pieces == WRITING)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        chat_template=Path(__file__).with_name("chatml.jinja").read_text(encoding="utf-8"),
        model_max_length=max_position,
        clean_up_tokenization_spaces=False,
    )
