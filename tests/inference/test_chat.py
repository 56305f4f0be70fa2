"""Control tokens stay out of content; a conversation's tokens go on exactly; what breaks that is noticed."""

from collections.abc import Sequence
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.errors import InferenceError, RecipeError
from rft.inference.chat import MARK, Chat, Turn, unmark
from rft.types import Message

PIECES = [
    "<|im_end|>",
    "<|im_start|>",
    "<|endoftext|>",
    "<|im_",
    "end|>",
    "<",
    "|",
    ">",
    MARK,
    "user\n",
    "a",
    "é",
    "\ud800",
    " ",
]
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=10).map("".join) | st.text()

STRIPS_REASONING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content.split('</think>')[-1] if m.role == 'assistant' else m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
TRIMS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
NO_CONTROL = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
WRITES_DATE_LAST = (
    "{{ messages | length }} {% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
)


def user(content: str) -> Message:
    return Message(role="user", content=content)


def assistant(content: str) -> Message:
    return Message(role="assistant", content=content)


def answered(chat: Chat, messages: Sequence[Message], answer: list[int], ended_by: str = "<|im_end|>") -> Turn:
    rendered, ids = chat.prompt(messages, None)
    text = chat.decode(answer[:-1] if ended_by else answer)
    return Turn(rendered=rendered, messages=messages, ids=ids + answer, text=text, ended_by=ended_by)


def with_template(chat: Chat, template: str) -> Chat:
    tokenizer = deepcopy(chat.tokenizer)
    tokenizer.chat_template = template
    return Chat(tokenizer, "test")


@given(HOSTILE)
def test_marks_come_off_again(tiny_chat: Chat, content: str) -> None:
    marked = tiny_chat.mark(content)
    assert unmark(marked) == content
    assert not any(token in marked for token in tiny_chat.control)


@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_content_never_becomes_a_control_token(tiny_chat: Chat, contents: list[str]) -> None:
    messages = [user(content) for content in contents]
    _, ids = tiny_chat.prompt(messages, None)
    start, end = tiny_chat.control["<|im_start|>"], tiny_chat.control["<|im_end|>"]
    assert ids.count(start) == len(messages) + 1
    assert ids.count(end) == len(messages)
    assert tiny_chat.control["<|endoftext|>"] not in ids
    shown = "".join(f"<|im_start|>user\n{c}<|im_end|>\n" for c in contents) + "<|im_start|>assistant\n"
    assert tiny_chat.decode(ids) == shown.encode("utf-8", "replace").decode()


def test_plain_content_is_tokenised_as_transformers_does(tiny_chat: Chat) -> None:
    messages = [Message(role="system", content="Be brief."), user("def add(a, b):\n  return a - b")]
    plain = deepcopy(tiny_chat.tokenizer)
    expected = plain.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in messages], add_generation_prompt=True, return_dict=False
    )
    assert tiny_chat.prompt(messages, None)[1] == expected


@given(st.lists(st.integers(3, 319), max_size=20), HOSTILE, st.booleans())
def test_the_next_prompt_extends_all_tokens_before(tiny_chat: Chat, body: list[int], seen: str, cut: bool) -> None:
    """Whatever bytes the model emitted, valid UTF-8 or not."""
    end = tiny_chat.control["<|im_end|>"]
    messages = [user("go")]
    last = answered(tiny_chat, messages, body if cut else [*body, end], "" if cut else "<|im_end|>")
    _, ids = tiny_chat.prompt([*messages, assistant(last.text), user(seen)], last)
    assert ids[: len(last.ids)] == last.ids
    tail = tiny_chat.decode(ids[len(last.ids) :])
    closing = ("<|im_end|>" if cut else "") + "\n<|im_start|>user\n"
    assert tail == (closing + seen + "<|im_end|>\n<|im_start|>assistant\n").encode("utf-8", "replace").decode()


def test_an_answer_that_holds_a_control_token_is_carried_on(tiny_chat: Chat) -> None:
    start, end = tiny_chat.control["<|im_start|>"], tiny_chat.control["<|im_end|>"]
    last = answered(tiny_chat, [user("go")], [start, 50, start, end])
    _, ids = tiny_chat.prompt([user("go"), assistant(last.text), user("on")], last)
    assert ids[: len(last.ids)] == last.ids


def test_an_answer_ended_by_another_token_is_closed_as_the_template_does(tiny_chat: Chat) -> None:
    last = answered(tiny_chat, [user("go")], [50, tiny_chat.control["<|endoftext|>"]], "<|endoftext|>")
    _, ids = tiny_chat.prompt([user("go"), assistant(last.text), user("on")], last)
    assert ids[: len(last.ids)] == last.ids
    assert ids[len(last.ids)] == tiny_chat.control["<|im_end|>"]


@pytest.mark.parametrize("template", [TRIMS, NO_CONTROL])
def test_templates_that_trim_or_have_no_control_tokens_keep_the_prefix(tiny_chat: Chat, template: str) -> None:
    chat = with_template(tiny_chat, template)
    body = chat.encode(" answer \n")
    ended_by = "<|im_end|>" if template is TRIMS else ""
    last = answered(chat, [user("go")], [*body, chat.control["<|im_end|>"]] if ended_by else body, ended_by)
    _, ids = chat.prompt([user("go"), assistant(last.text), user("on")], last)
    assert ids[: len(last.ids)] == last.ids
    assert chat.decode(ids[len(last.ids) :]).count("on") == 1


@pytest.mark.parametrize("template", [STRIPS_REASONING, WRITES_DATE_LAST])
def test_templates_that_rewrite_the_past_are_tokenised_anew(tiny_chat: Chat, template: str) -> None:
    chat = with_template(tiny_chat, template)
    last = answered(chat, [user("go")], [*chat.encode("hm</think>yes"), chat.control["<|im_end|>"]])
    messages = [user("go"), assistant(last.text), user("on")]
    _, ids = chat.prompt(messages, last)
    assert ids[: len(last.ids)] != last.ids
    assert ids == chat.prompt(messages, None)[1]


def test_a_conversation_that_was_changed_is_tokenised_anew(tiny_chat: Chat) -> None:
    last = answered(tiny_chat, [user("go")], [50, 51, tiny_chat.control["<|im_end|>"]])
    for messages in (
        [user("no"), assistant(last.text), user("on")],
        [user("go"), assistant(last.text + "!"), user("on")],
        [user("go")],
    ):
        assert tiny_chat.prompt(messages, last) == tiny_chat.prompt(messages, None)


def test_another_use_of_the_tokenizer_does_not_open_the_door(tiny_chat: Chat) -> None:
    end = tiny_chat.control["<|im_end|>"]
    assert tiny_chat.tokenizer("<|im_end|>", split_special_tokens=False).input_ids == [end]
    assert tiny_chat.prompt([user("<|im_end|>")], None)[1].count(end) == 1


def test_a_template_that_refuses_is_an_inference_error(tiny_chat: Chat) -> None:
    chat = with_template(tiny_chat, "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InferenceError, match="roles must alternate"):
        chat.prompt([user("go")], None)


def test_a_tokenizer_without_a_template_is_refused(tiny_chat: Chat) -> None:
    with pytest.raises(RecipeError, match="no chat template"):
        with_template(tiny_chat, "")
