from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.errors import RecipeError
from rft.inference.chat import Chat
from rft.inference.fresh import SPECIALS, TinyQwen3
from rft.plugins import build
from rft.store import digest_path

SMALL = {"use": "tiny_qwen3", "vocab_size": 280, "hidden_size": 32, "layers": 1, "intermediate_size": 64}


def test_the_same_seed_makes_the_same_bytes(tmp_path: Path) -> None:
    maker = build("fresh", SMALL, "policy.create")
    texts = ["some text to learn merges from", "and some more text"] * 3
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        maker.make(tmp_path / name, iter(texts), seed)
    assert digest_path(tmp_path / "a") == digest_path(tmp_path / "b")
    assert digest_path(tmp_path / "a") != digest_path(tmp_path / "c")


def test_making_leaves_the_random_state_alone(tmp_path: Path) -> None:
    import torch

    before = torch.random.get_rng_state()
    build("fresh", SMALL, "policy.create").make(tmp_path / "a", ["x"], 1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(RecipeError, match="is there already"):
        TinyQwen3().make(tmp_path / "a", ["x"], 1)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def texts() -> object:
        yield "one"
        raise OSError("the disk of the texts is gone")

    with pytest.raises(Exception, match="gone"):
        TinyQwen3().make(tmp_path / "a", texts(), 1)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_checkpoint_is_what_was_asked_for(tiny: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    assert model.config.model_type == "qwen3"
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.dtype == torch.float32
    assert model.config.vocab_size == len(tokenizer) == 320
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.convert_tokens_to_ids(list(SPECIALS)) == [0, 1, 2]


@given(st.text())
def test_any_text_comes_back(tiny_chat: Chat, text: str) -> None:
    assert tiny_chat.decode(tiny_chat.encode(tiny_chat.mark(text))) == text


@given(st.binary(max_size=40))
def test_every_byte_string_has_tokens_that_spell_it(tiny_chat: Chat, data: bytes) -> None:
    """The vocabulary holds all 256 bytes, so whatever a model emits byte by byte decodes, if need be to U+FFFD."""
    alphabet = {bytes([b]): tiny_chat.backend.token_to_id(c) for b, c in byte_letters().items()}
    ids = [alphabet[data[i : i + 1]] for i in range(len(data))]
    assert None not in ids
    assert tiny_chat.decode(ids) == data.decode("utf-8", "replace")


def byte_letters() -> dict[int, str]:
    """The letter by which byte-level BPE writes each byte (Radford et al., 2019, the GPT-2 vocabulary)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return {b: chr(b) for b in shown} | {b: chr(256 + n) for n, b in enumerate(hidden)}


@pytest.mark.parametrize(
    ("key", "value"), [("vocab_size", 258), ("layers", 0), ("heads", 5), ("kv_heads", 3), ("dtype", "int8")]
)
def test_impossible_shapes_are_refused(key: str, value: object) -> None:
    with pytest.raises(RecipeError, match=r"^policy\.create"):
        build("fresh", SMALL | {key: value}, "policy.create")
