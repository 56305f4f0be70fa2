"""One tiny fresh model for all tests of this folder."""

import pytest
from transformers import AutoTokenizer

from rft.inference.chat import Chat
from rft.inference.fresh import TinyQwen3
from rft.types import Task

TEXTS = [
    "def add(left, right):\n    return left + right\n",
    "$ python -m pytest -q\n2 passed, 1 failed in 0.01s\n",
    "grün 北京 🙂 and more words to merge",
] * 20


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model's directory."""
    path = tmp_path_factory.mktemp("tiny") / "model"
    shape = TinyQwen3(vocab_size=320, hidden_size=64, layers=3, heads=4, intermediate_size=128, max_position=1024)
    shape.make(path, TEXTS, seed=0)
    return str(path)


@pytest.fixture
def task() -> Task:
    return Task(id="add/1", statement="Mend add.", split="train", repository="add")


@pytest.fixture(scope="session")
def tiny_chat(tiny: str) -> Chat:
    return Chat(AutoTokenizer.from_pretrained(tiny), "tiny")
