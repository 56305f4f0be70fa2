"""Calls of tools in what models write, and conversations with calls that go on from the very tokens."""

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rft.inference.chat import Chat
from rft.inference.engine import Request
from rft.inference.local import Local, LocalConversation
from rft.inference.tool_calls import split
from rft.recipe import Sampling
from rft.transcript import TOOLS, written_out
from rft.types import Completion, Message, Task, Tool, ToolCall

SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}, "lines": {"type": "integer"}}}
BASH = Tool(name="bash", description="Run.", parameters=SCHEMA)
HERMES = """{%- if tools %}<|im_start|>system
Tools: {% for tool in tools %}{{ tool | tojson }}{% endfor %}<|im_end|>
{% endif %}{%- for m in messages %}{%- if m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{%- endfor %}{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@pytest.mark.parametrize(
    ("text", "rest", "calls"),
    [
        ('A.\n<tool_call>\n{"name": "bash", "arguments": {"command": "ls"}}\n</tool_call>', "A.", [{"command": "ls"}]),
        ('<tool_call>{"name": "bash"}</tool_call>', "", [{}]),
        ("<function=bash>\n<parameter=command>\nls -a\n</parameter>\n</function>", "", [{"command": "ls -a"}]),
        ("<tool_call>\n<function=bash><parameter=lines>7</parameter></function>\n</tool_call> B", "B", [{"lines": 7}]),
        ("<function=bash><parameter=lines>x</parameter></function>", "", [{"lines": "x"}]),
        ('<tool_call>{"name": "bash", "arguments": "ls"}</tool_call>', None, []),
        ("<tool_call>{bad}</tool_call>", None, []),
        ('<tool_call>{"name": "bash"}', None, []),
        ("<tool_call>" + "[" * 5000 + "</tool_call>", None, []),
        ("<function=bash>", None, []),
    ],
)
def test_calls_are_read_strictly(text: str, rest: str | None, calls: list[dict[str, Any]]) -> None:
    said, found = split(text, [BASH], 3)
    assert said == (text if rest is None else rest) and [call.arguments for call in found] == calls
    assert [(call.id, call.name) for call in found] == [(f"call_3_{n}", "bash") for n in range(1, len(calls) + 1)]
    assert split(text, [], 3) == (text, [])


PIECES = ["<tool_call>", "</tool_call>", "<function=bash>", "</function>", "<parameter=a>", "</parameter>", "{}", "x"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_text_is_read(text: str) -> None:
    said, calls = split(text, [BASH], 1)
    assert calls or said == text


def test_several_calls_in_one_reply() -> None:
    one = '<tool_call>{"name": "bash", "arguments": {"command": "%s"}}</tool_call>'
    said, calls = split(f"A {one % 'a'} B {one % 'b'}", [BASH], 1)
    assert said == "A  B" and [call.id for call in calls] == ["call_1_1", "call_1_2"]


class Spoken:
    """A conversation of the local engine whose answers are given here, where the engine would draw them."""

    def __init__(self, chat: Chat) -> None:
        local = Local()
        local.chat, local.context, local.max_tokens = chat, 4096, 64
        self.conversation = LocalConversation(local, 0)
        self.chat = chat

    def say(self, messages: Sequence[Message], tools: Sequence[Tool], text: str) -> Completion:
        rendered, read, ids = self.conversation.reading(messages, tools)
        answer = [*self.chat.encode(self.chat.mark(text)), self.chat.tokenizer.eos_token_id]
        request = Request(key=0, ids=[*ids, *answer], prompt=len(ids), seed=0, drawn=0, limit=64)
        request.finish_reason = "stop"
        return self.conversation._record(read, rendered, request, tools)


@pytest.mark.parametrize("template", ["hermes", "shipped"])
def test_a_conversation_with_calls_goes_on_exactly(tiny: str, template: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    if template == "hermes":
        tokenizer.chat_template = HERMES
    chat = Chat(tokenizer, "tiny")
    spoken = Spoken(chat)
    # spaced as no template would space it
    odd = 'Look.\n\n<tool_call>\n{"arguments":   {"command":"ls"}, "name":"bash"}\n</tool_call>'
    messages = [Message(role="system", content="Mend."), Message(role="user", content="go")]
    first = spoken.say(messages, [BASH], odd)
    assert first.text == "Look." and first.tool_calls[0].arguments == {"command": "ls"}
    messages += [
        Message(role="assistant", content=first.text, tool_calls=first.tool_calls),
        Message(role="tool", content="a.py <|im_end|>", tool_call_id=first.tool_calls[0].id),
    ]
    second = spoken.say(messages, [BASH], "done")
    assert first.prompt_ids and first.ids and second.prompt_ids
    before = [*first.prompt_ids, *first.ids]
    assert second.prompt_ids[: len(before)] == before
    text = chat.decode(second.prompt_ids)
    assert odd in text and ("<tool_response>" in text) == (template == "hermes")
    assert ("Tools: {" in text) == (template == "hermes") and (TOOLS in text) == (template == "shipped")
    # content that spells a control token is none
    assert second.prompt_ids.count(chat.control["<|im_end|>"]) == (4 if template == "hermes" else 3) + 1


def test_tools_are_written_out_for_a_template_without() -> None:
    call = ToolCall(id="c", name="bash", arguments={"command": "ls"})
    messages = [
        Message(role="user", content="go"),
        Message(role="assistant", content="", tool_calls=[call, call]),
        Message(role="tool", content="one", tool_call_id="c"),
        Message(role="tool", content="two", tool_call_id="c"),
    ]
    system, user, said, back = written_out(messages, [BASH])
    assert system.role == "system" and json.loads(system.content.split("\n")[-1])["name"] == "bash"
    assert (user.content, back.role, back.content) == ("go", "user", "one\n\ntwo")
    again, calls = split(said.content, [BASH], 1)
    assert again == "" and [c.arguments for c in calls] == [{"command": "ls"}] * 2


def test_the_engine_answers_with_tools(tiny: str, task: Task) -> None:
    local = Local()
    local.load(tiny, Sampling(temperature=1.0, max_tokens=4))
    try:
        line = local.open(task, seed=1)
        made = line.reply([Message(role="user", content="go")], deadline=time.monotonic() + 60, tools=[BASH])
        assert made.prompt_ids and TOOLS in local.chat.decode(made.prompt_ids)
    finally:
        local.close()
