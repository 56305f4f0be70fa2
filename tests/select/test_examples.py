"""Trajectories become exactly the tokens that the policy wrote, in exactly the context that it read."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rft.errors import StageError
from rft.inference.fresh import TURN_END, TURN_START, train_tokenizer
from rft.select.examples import examples_of
from rft.types import Message, Step, StopReason, TokenRow, Trajectory

STRIPPING = """{%- for m in messages -%}
<|im_start|>{{ m.role }}
{{ m.content.split('</think>')[-1] if m.role == 'assistant' and not loop.last else m.content }}<|im_end|>
{%- endfor -%}<|im_start|>assistant
"""
OTHER_END = """{%- for m in messages -%}
<|im_start|>{{ m.role }}
{{ m.content }}<|endoftext|>
{%- endfor -%}<|im_start|>assistant
"""

HOSTILE_TOKENIZER = train_tokenizer(["run the tests"] * 20, 280, 256)
HOSTILE = st.lists(st.sampled_from([*"ab \n<|>", TURN_END, TURN_START]), max_size=8).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(["run the tests and open the file"] * 20, 280, 256)


def with_template(template: str) -> Any:
    made = train_tokenizer(["run the tests"] * 20, 280, 256)
    made.chat_template = template
    return made


def attempt(*turns: tuple[str, str], tokens: list[TokenRow] | None = None) -> Trajectory:
    steps = [
        Step(index=number, reply=reply, command=None, observation=shown)
        for number, (reply, shown) in enumerate(turns, 1)
    ]
    return Trajectory(
        id="task-1/1/0",
        task_id="task-1",
        split="train",
        round=1,
        sample=0,
        seed=0,
        prompt=[Message(role="system", content="You repair code."), Message(role="user", content="Fix it.")],
        steps=steps,
        stop=StopReason.SUBMITTED,
        tokens=tokens or [],
    )


def learnt_texts(tokenizer: Any, trajectory: Trajectory) -> list[str]:
    (example,) = examples_of(trajectory, tokenizer)
    return [tokenizer.decode(example.ids[start:end]) for start, end in example.spans]


def test_learnt_is_each_reply_with_the_token_that_ends_it(tokenizer: Any) -> None:
    trajectory = attempt(("ls", "a.py"), ("open a.py", "x = 1"), ("done", ""))
    assert learnt_texts(tokenizer, trajectory) == [f"ls{TURN_END}", f"open a.py{TURN_END}", f"done{TURN_END}"]


def test_the_context_is_what_the_template_shows_the_model(tokenizer: Any) -> None:
    trajectory = attempt(("ls", "a.py"), ("done", "never shown"))
    (example,) = examples_of(trajectory, tokenizer)
    messages = [
        {"role": "system", "content": "You repair code."},
        {"role": "user", "content": "Fix it."},
        {"role": "assistant", "content": "ls"},
        {"role": "user", "content": "a.py"},
    ]
    shown = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(example.ids) == f"{shown}done{TURN_END}"
    assert example.provenance == "rendered"


@settings(deadline=None, max_examples=60)
@given(
    turns=st.lists(
        st.tuples(HOSTILE, HOSTILE),
        min_size=1,
        max_size=4,
    )
)
def test_texts_that_spell_control_tokens_stay_text(turns: list[tuple[str, str]]) -> None:
    tokenizer = HOSTILE_TOKENIZER
    (example,) = examples_of(attempt(*turns), tokenizer)
    start, end = tokenizer.convert_tokens_to_ids([TURN_START, TURN_END])
    # A prompt of two messages, then one reply and one observation a turn, the last observation left out.
    assert example.ids.count(start) == 2 + 2 * len(turns) - 1
    assert example.ids.count(end) == 2 + 2 * len(turns) - 1
    assert [example.ids[stop - 1] for _, stop in example.spans] == [end] * len(turns)
    written = [tokenizer.decode(example.ids[a : b - 1]) for a, b in example.spans]
    assert written == [reply for reply, _ in turns]


def test_the_engine_s_own_tokens_are_taken_as_they_are(tokenizer: Any) -> None:
    rows = [
        TokenRow(ids=[5, 6, 7, 8, 9], spans=[(2, 4, 1)]),
        TokenRow(ids=[5, 9, 9, 1], spans=[(1, 2, 2), (3, 4, 3)]),
    ]
    first, second = examples_of(attempt(("a", "b"), tokens=rows), tokenizer)
    assert (first.ids, first.spans, first.provenance) == ([5, 6, 7, 8, 9], [(2, 4)], "recorded")
    assert (second.ids, second.spans) == ([5, 9, 9, 1], [(1, 2), (3, 4)])
    assert first.id != second.id


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    trajectory = attempt(("<think>hm</think>ls", "a.py"), ("done", ""))
    with pytest.raises(StageError, match=r"chat template of .* rewrites earlier turns"):
        examples_of(trajectory, with_template(STRIPPING))


def test_a_template_that_ends_replies_with_another_token_is_refused() -> None:
    with pytest.raises(StageError, match=r"ends a reply with <\|endoftext\|>; expected the tokenizer's eos_token"):
        examples_of(attempt(("ls", "a.py"), ("done", "")), with_template(OTHER_END))


def test_rows_without_anything_learnt_are_refused_and_counted(tokenizer: Any) -> None:
    rows = [TokenRow(ids=[1, 2], spans=[]), TokenRow(ids=[1, 2], spans=[(1, 2, 1)]), TokenRow(ids=[1], spans=[])]
    with pytest.raises(StageError, match="2 of 3 token rows hold nothing"):
        examples_of(attempt(("a", "b"), tokens=rows), tokenizer)
    with pytest.raises(StageError, match="1 of 1 token rows"):
        examples_of(attempt(), tokenizer)


@pytest.mark.parametrize("spans", [[(0, 1, 1)], [(2, 2, 1)], [(2, 9, 1)], [(2, 4, 1), (3, 4, 2)]])
def test_damaged_spans_are_refused(tokenizer: Any, spans: list[tuple[int, int, int]]) -> None:
    with pytest.raises(StageError, match="claims tokens"):
        examples_of(attempt(("a", "b"), tokens=[TokenRow(ids=[1, 2, 3, 4], spans=spans)]), tokenizer)


def test_a_step_that_was_shown_another_conversation_starts_a_row(tokenizer: Any) -> None:
    trajectory = attempt(("a", "b"), ("c", "d"), ("e", ""))
    shown = [Message(role="user", content="In short: fix it.")]
    steps = [trajectory.steps[0], replace(trajectory.steps[1], shown=shown), trajectory.steps[2]]
    first, second = examples_of(replace(trajectory, steps=steps), tokenizer)
    read = [[tokenizer.decode(row.ids[a:b]) for a, b in row.spans] for row in (first, second)]
    assert read == [["a<|im_end|>"], ["c<|im_end|>", "e<|im_end|>"]]
    text = tokenizer.decode(second.ids)
    assert text.startswith("<|im_start|>user\nIn short: fix it.") and "b<" not in text and "\nd<" in text
