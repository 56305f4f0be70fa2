import json
import time
from pathlib import Path

import pytest

from rft.errors import InferenceError, RecipeError
from rft.inference.scripted import Scripted
from rft.plugins import build
from rft.types import Task


def soon() -> float:
    return time.monotonic() + 5


def test_each_conversation_starts_at_the_first_reply(task: Task) -> None:
    scripted = Scripted(replies=["a", "b"])
    scripted.load("any", None)
    one, two = scripted.open(task, seed=1), scripted.open(task, seed=2)
    assert [one.reply([], deadline=soon()).text for _ in range(2)] == ["a", "b"]
    assert two.reply([], deadline=soon()).text == "a"


def test_a_script_that_is_over_is_an_error_that_counts(task: Task) -> None:
    conversation = Scripted(replies=["a"]).open(task, seed=0)
    conversation.reply([], deadline=soon())
    with pytest.raises(InferenceError, match="asked for reply 2 and its script has 1"):
        conversation.reply([], deadline=soon())


def test_a_file_answers_by_task_and_by_default(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "replies.json"
    path.write_text(json.dumps({"add/1": ["mine"], "default": ["other"]}))
    scripted = build("inference", {"use": "scripted", "path": str(path)}, "policy.inference")
    scripted.load("any", None)
    assert scripted.open(task, seed=0).reply([], deadline=soon()).text == "mine"
    stranger = Task(id="sub/1", statement="", split="train", repository="")
    assert scripted.open(stranger, seed=0).reply([], deadline=soon()).text == "other"


def test_latency_ends_at_the_deadline(task: Task) -> None:
    conversation = Scripted(replies=["a"], latency=30).open(task, seed=0)
    began = time.monotonic()
    with pytest.raises(InferenceError, match="time"):
        conversation.reply([], deadline=began + 0.05)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "text",
    ["[a, b]", "a: b", "a: [1]", "a: [", "a: !!python/object/apply:os.getcwd []", "1: [a]", "\x00", "a: [b, null]"],
)
def test_a_file_of_another_shape_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "replies.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"replies\.yaml") as caught:
        Scripted(path=str(path)).load("any", None)
    assert "\n" not in str(caught.value)


def test_a_script_needs_replies() -> None:
    with pytest.raises(RecipeError, match="neither replies nor path"):
        build("inference", {"use": "scripted"}, "policy.inference")
