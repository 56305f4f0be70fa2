"""Learnt tokens that read as what a tool printed, or as the prompt, are noticed."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from rft.errors import StageError
from rft.inference.fresh import train_tokenizer
from rft.select.examples import examples_of
from rft.store import Records
from rft.train.leaks import check_learnt_text
from rft.types import Example, Message, Step, StopReason, ToolCall, Trajectory


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(["run the tests and open the file"] * 20, 280, 256)


def attempt(*steps: Step) -> Trajectory:
    return Trajectory(
        id="a/1/0", task_id="a", split="train", round=1, sample=0, seed=0, stop=StopReason.SUBMITTED, steps=list(steps),
        prompt=[Message(role="user", content="Please mend the function.")],
    )  # fmt: skip


STEPS = (
    Step(index=1, reply="cat code.py", command="cat code.py", observation="def f(x):\n    return x - 1"),
    Step(index=2, reply="echo 'return x - 1 is wrong'", command="x", observation=""),
)


def check(tmp_path: Path, tokenizer: Any, made: Trajectory, **changes: Any) -> None:
    (example,) = examples_of(made, tokenizer)
    with Records(tmp_path / "e.jsonl", Example).writer() as append:
        append(replace(example, **changes))
    with Records(tmp_path / "t.jsonl", Trajectory).writer() as append_attempt:
        append_attempt(made)
    check_learnt_text(tmp_path / "e.jsonl", tmp_path / "t.jsonl", tokenizer)


def test_what_the_policy_wrote_passes_though_a_tool_said_it_too(tmp_path: Path, tokenizer: Any) -> None:
    check(tmp_path, tokenizer, attempt(*STEPS))


@pytest.mark.parametrize(
    ("place", "shift", "words"),
    [
        (0, (0, 40), r"learnt of step 1 hold 'def f\(x\):'"),
        (1, (-60, 0), "learnt of step 2 hold"),
        (0, (-60, 0), "Please"),
    ],
)
def test_spans_that_reach_into_what_was_shown_are_refused(
    tmp_path: Path, tokenizer: Any, place: int, shift: tuple[int, int], words: str
) -> None:
    made = attempt(*STEPS)
    (example,) = examples_of(made, tokenizer)
    spans = list(example.spans)
    spans[place] = (max(1, spans[place][0] + shift[0]), spans[place][1] + shift[1])
    with pytest.raises(StageError, match=words) as caught:
        check(tmp_path, tokenizer, made, spans=spans)
    assert "\n" not in str(caught.value)


def test_the_arguments_of_a_call_are_the_policy_s_own_words(tmp_path: Path, tokenizer: Any) -> None:
    call = ToolCall(name="shell", arguments={"command": "cat main_file.py"})
    first = Step(index=1, reply="", command="cat main_file.py", tool_calls=[call], observation="main_file.py: missing")
    second = Step(index=2, reply="", command="x", tool_calls=[call], observation="main_file.py")
    check(tmp_path, tokenizer, attempt(first, second))


def test_a_step_that_the_attempt_does_not_have_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(StageError, match="learns step 7"):
        check(tmp_path, tokenizer, attempt(*STEPS), steps=[1, 7])
