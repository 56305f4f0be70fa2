"""Chats become transcripts: who said what, which result belongs to which call, and what is no chat."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.errors import TranscriptError
from reward_models.evaluation import evaluate
from reward_models.messages import transcript_of
from reward_models.rubric import load
from reward_models.types import Transcript

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "trajectories"


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str | None, *calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls)} if calls else {}), **more}


def call(name: str, arguments: Any, identity: str | None = None) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(text: str, identity: str | None = None) -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": identity}


def test_a_text_is_a_turn_and_a_prompt_a_statement() -> None:
    transcript = transcript_of("Four.", prompt="What is two and two?", id="a", resolved=True)
    assert (transcript.id, transcript.statement, transcript.resolved) == ("a", "What is two and two?", True)
    assert [(step.index, step.text, step.command) for step in transcript.steps] == [(1, "Four.", None)]


def test_a_chat_is_split_at_the_agents_first_turn() -> None:
    chat = [{"role": "system", "content": "be good"}, user("mend f"), says("done"), user("thanks")]
    transcript = transcript_of(chat)
    assert transcript.statement == "[system]\nbe good\n\n[user]\nmend f"
    assert [step.text for step in transcript.steps] == ["done"] and transcript.followup == "thanks"
    assert transcript_of(chat[1:]).statement == "mend f"


def test_turns_that_a_prompt_holds_are_not_the_agents() -> None:
    transcript = transcript_of([says("4")], prompt=[user("1+1?"), says("2"), user("2+2?")])
    assert [step.text for step in transcript.steps] == ["4"]
    assert transcript.statement == "[user]\n1+1?\n\n[assistant]\n2\n\n[user]\n2+2?"


def test_results_go_to_their_calls_by_id_and_else_in_order() -> None:
    calls = [call("bash", '{"command": "ls"}', "x"), call("bash", {"command": "cat f"}, "y")]
    by_id = transcript_of([user("go"), says("look", *calls), result("text", "y"), result("f", "x"), says("done")])
    assert [(s.index, s.text, s.command, s.output) for s in by_id.steps] == [
        (1, "look", "ls", "f"),
        (2, "", "cat f", "text"),
        (3, "done", None, ""),
    ]
    nameless = [call("bash", {"command": "ls"}), call("bash", {"command": "cat f"})]
    in_order = transcript_of([user("go"), says("look", *nameless), result("f"), result("text"), says("done")])
    assert [step.output for step in in_order.steps] == ["f", "text", ""]


def test_what_comes_back_as_a_user_message_is_the_output_of_the_turn() -> None:
    transcript = transcript_of([user("go"), says("run ls"), user("f"), says("done")])
    assert [step.output for step in transcript.steps] == ["f", ""] and transcript.followup == ""


def test_results_that_nobody_asked_for_are_kept() -> None:
    transcript = transcript_of([user("go"), says("hm", call("a", {})), result("1"), result("2"), says("end")])
    assert transcript.steps[0].output == "1\n\n2"


@pytest.mark.parametrize(
    ("name", "arguments", "command"),
    [
        ("execute_bash", '{"command": "python check.py", "timeout": 3}', "python check.py"),
        ("shell", {"cmd": "ls"}, "ls"),
        ("str_replace_editor", {"command": "view", "path": "/a b.py"}, "str_replace_editor view '/a b.py'"),
        (
            "str_replace_editor",
            {"command": "str_replace", "path": "f.py", "old_str": "<", "new_str": "<=", "view_range": None},
            "str_replace_editor str_replace f.py --old_str '<' --new_str '<='",
        ),
        ("submit", "{}", "submit"),
        ("submit", None, "submit"),
        ("search", {"query": "x", "top": 3}, 'search {"query":"x","top":3}'),
        ("search", "not json", "search not json"),
        ("search", "[1]", "search [1]"),
        ("bash", {"script": "ls"}, 'bash {"script":"ls"}'),
        ("bash", {"command": 7}, 'bash {"command":7}'),
    ],
)
def test_a_call_is_one_line_of_text(name: str, arguments: Any, command: str) -> None:
    transcript = transcript_of([says("", call(name, arguments))], prompt="go")
    assert transcript.steps[0].command == command


def test_rules_read_tool_calls_like_commands() -> None:
    """The same facts that they find in an attempt of our own."""
    run, edit = call("bash", {"command": "python check.py f"}), {"command": "str_replace", "path": "days.py"}
    change = call("str_replace_editor", {**edit, "old_str": "a < b", "new_str": "a <= b"})
    chat = [
        *[user("f is wrong"), says("see it fail", run), result("FAILED 2 of 4 tests")],
        *[says("read", call("str_replace_editor", {"command": "view", "path": "days.py"})), result("return a < b")],
        *[says("mend", change), result("The file has been edited.")],
        *[says("see it pass", run), result("OK 4 tests"), says("done", call("submit", {}))],
    ]
    report = evaluate(transcript_of(chat, resolved=True, stop="submitted"), load("coding_agent"))
    found = {verdict.criterion: verdict for verdict in report.verdicts}
    for name, step in {"reproduced_first": 1, "looked_first": 3, "verified": 4}.items():
        assert found[name].value == 1.0 and step in found[name].steps, name


def test_parts_and_thoughts_are_read_and_what_is_no_text_is_named() -> None:
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "…"}}]
    chat = [{"role": "user", "content": parts}, says("yes", reasoning_content="hm")]
    transcript = transcript_of(chat)
    assert transcript.statement == "see\n[image_url]" and transcript.steps[0].text == "hm\n\nyes"


@pytest.mark.parametrize(
    ("messages", "says_"),
    [
        ([{"role": "user", "content": "hi"}], "no message of the role 'assistant'"),
        ([], "no message of the role 'assistant'"),
        ([{"content": "hi"}], r"messages\[0\]: .*missing required field role"),
        ([says("a"), {"role": "judge", "content": "yes"}], r"messages\[1\]\.role: Invalid enum value 'judge'"),
        ([says("a"), {"role": "user", "content": 7}], r"messages\[1\]\.content: Expected"),
        ([{"role": "assistant", "tool_calls": "ls"}], r"messages\[0\]\.tool_calls: Expected"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], r"tool_calls\[0\]\.function: .*field name"),
        (["hi"], r"messages\[0\]: Expected `?object"),
        ({"role": "user"}, "messages: Expected `?array"),
        (None, "messages: Expected `?array"),
        (7, "messages: Expected `?array"),
    ],
)
def test_what_is_no_chat_is_one_line(messages: Any, says_: str) -> None:
    with pytest.raises(TranscriptError, match=says_) as caught:
        transcript_of(messages)
    assert "\n" not in str(caught.value)


def test_facts_are_checked() -> None:
    with pytest.raises(TranscriptError, match=r"resolvd: no fact .* Did you mean 'resolved'\?"):
        transcript_of("a", resolvd=True)
    with pytest.raises(TranscriptError, match=r"resolved: Expected"):
        transcript_of("a", resolved="maybe")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda x: st.lists(x) | st.dictionaries(st.text(max_size=8), x),
    max_leaves=8,
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "function": st.fixed_dictionaries(
                {"name": st.text(max_size=8)},
                optional={"arguments": st.text() | st.dictionaries(st.text(max_size=8), JSON)},
            )
        },
        optional={"id": st.none() | st.text(max_size=2)},
    ),
    max_size=3,
)
CHATS = st.lists(
    st.fixed_dictionaries(
        {"role": ROLES, "content": st.none() | st.text(max_size=20)},
        optional={"tool_calls": st.none() | CALLS, "tool_call_id": st.text(max_size=2)},
    ),
    max_size=8,
)


@given(CHATS)
def test_nothing_that_was_said_is_lost_and_steps_are_counted_from_one(chat: list[dict[str, Any]]) -> None:
    if not any(message["role"] == "assistant" for message in chat):
        return
    transcript = transcript_of(chat)
    assert [step.index for step in transcript.steps] == list(range(1, len(transcript.steps) + 1))
    everything = transcript.statement + transcript.followup + "".join(s.text + s.output for s in transcript.steps)
    for message in chat:
        assert (message["content"] or "") in everything


@given(JSON | st.lists(JSON))
def test_anything_else_is_a_transcript_or_one_line(messages: Any) -> None:
    try:
        assert isinstance(transcript_of(messages), Transcript)
    except TranscriptError as error:
        assert "\n" not in str(error).strip("\n")


needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no real trajectories lie beside this checkout")


@pytest.mark.real
@needs_data
def test_a_real_chat_whose_tools_are_called_in_text() -> None:
    for line in (DATA / "swesmith" / "tests" / "test_logs" / "ft_xml_example.jsonl").read_text().splitlines():
        chat = json.loads(line)["messages"]
        transcript = transcript_of(chat)
        turns = [message for message in chat if message["role"] == "assistant"]
        assert [step.text for step in transcript.steps] == [turn["content"] for turn in turns]
        assert all(step.output for step in transcript.steps[:-1])


@pytest.mark.real
@needs_data
def test_a_real_chat_with_tool_calls() -> None:
    file = DATA / "openhands" / "tests" / "fixtures" / "llm_data" / "fncall-llm-message.json"
    transcript = transcript_of(json.loads(file.read_text()))
    assert transcript.statement.count("[user]") == 1 and "hello.py" in transcript.statement
    commands = [(step.command or "").split()[0] for step in transcript.steps]
    assert commands == ["str_replace_editor", "pwd", "str_replace_editor", "str_replace_editor", "python", "finish"]
    assert transcript.steps[4].command == "python hello.py" and "Hello, World!" in transcript.steps[4].output
    assert "No such file" in transcript.steps[0].output
