"""The agent `bash` against hostile replies and breakdowns, in a real sandbox, with the scripted policy."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.agents.attempt import Attempt
from rft.agents.bash import Bash, cut_in_the_middle, read_command
from rft.errors import ContextFull, InferenceError, RecipeError, SandboxError
from rft.inference.scripted import Scripted
from rft.interfaces import Conversation, StartState
from rft.sandboxes.local import Local
from rft.types import Completion, Execution, Message, StopReason, Tool
from tests.conftest import bash_block, completion, make_task


def attempt(agent: Bash, repository: Path, replies: list[str]) -> tuple[Attempt, str]:
    policy = Scripted(replies=replies)
    policy.load("none", None)
    sandbox = Local().open(StartState(repository))
    try:
        made = agent.attempt(make_task(), sandbox, policy.open(make_task(), seed=0))
        return made, sandbox.diff()
    finally:
        sandbox.close()


def test_a_bug_is_mended_and_submitted(repository: Path) -> None:
    replies = [
        bash_block("cat code.py"),
        bash_block("sed -i 's/x - 1/x + 1/' code.py"),
        bash_block("python test_code.py && echo fine"),
        bash_block("submit"),
    ]
    made, patch = attempt(Bash(), repository, replies)
    assert made.stop == StopReason.SUBMITTED
    assert [step.command for step in made.steps] == [
        "cat code.py",
        "sed -i 's/x - 1/x + 1/' code.py",
        "python test_code.py && echo fine",
        "submit",
    ]
    assert "return x - 1" in made.steps[0].observation
    assert made.steps[2].observation == "[exit 0]\nfine"
    assert "-    return x - 1\n+    return x + 1" in patch
    assert made.prompt[0].role == "system" and made.prompt[-1].content == "mend f"


def test_the_conversation_shows_the_model_what_it_did(repository: Path) -> None:
    made, _ = attempt(Bash(prompt="terse"), repository, [bash_block("exit 3"), bash_block("submit")])
    assert [message.role for message in made.messages()] == ["user", "assistant", "user", "assistant", "user"]
    assert made.messages()[2].content == "[exit 3]"


def tool_call(name: str, **arguments: str) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def test_commands_come_as_calls_of_a_tool(repository: Path) -> None:
    replies = [
        "Look. " + tool_call("bash", command="cat code.py"),
        bash_block("ls"),
        tool_call("bash", command="ls") * 2,
        tool_call("bash", script="ls"),
        tool_call("bash", command="sed -i 's/x - 1/x + 1/' code.py"),
        tool_call("submit"),
    ]
    made, patch = attempt(Bash(tools=True, prompt="bash_tools", format_errors=9), repository, replies)
    assert made.stop == StopReason.SUBMITTED and "+    return x + 1" in patch
    assert [step.command is None for step in made.steps] == [False, True, True, True, False, False]
    assert [tool.name for tool in made.tools] == ["bash", "submit"] and "call `submit`" in made.prompt[0].content
    assert [step.problem for step in made.steps if step.problem] == [
        "expected one call of a tool, found none",
        "expected one call of a tool, found 2",
        "expected a call of bash with a command, or of submit",
    ]
    roles = [message.role for message in made.messages()[2:]]
    assert roles[:7] == ["assistant", "tool", "assistant", "user", "assistant", "tool", "tool"]
    results = [message.content for message in made.messages() if message.role == "tool"]
    assert "return x - 1" in results[0] and all("found 2" in result for result in results[1:3])


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("no block at all", "found none"),
        (bash_block("a") + bash_block("b"), "found 2"),
        (bash_block("   "), "empty"),
        ("", "found none"),
        ("```python\nprint(1)\n```", "found none"),
        ("```bash\nls", "found none"),
    ],
)
def test_a_reply_without_one_command_is_told_so_and_runs_nothing(repository: Path, reply: str, problem: str) -> None:
    made, patch = attempt(Bash(), repository, [reply, bash_block("submit")])
    assert made.steps[0].command is None and problem in made.steps[0].problem
    assert problem in made.steps[0].observation
    assert made.stop == StopReason.SUBMITTED and patch == ""


def test_limits_end_the_attempt_with_their_own_reason(repository: Path) -> None:
    ls, talk = bash_block("ls"), "hm"
    assert attempt(Bash(max_steps=2), repository, [ls] * 9)[0].stop == StopReason.STEP_LIMIT
    assert attempt(Bash(format_errors=2), repository, [talk] * 9)[0].stop == StopReason.FORMAT_LIMIT
    slow, _ = attempt(Bash(time_limit=0.6), repository, [bash_block("sleep 30"), ls])
    assert slow.stop == StopReason.TIME_LIMIT
    assert slow.steps[0].timed_out and slow.steps[0].exit_code is None and "[killed: time]" in slow.steps[0].observation


def test_a_script_that_ends_too_early_is_a_failure_not_an_outcome(repository: Path) -> None:
    made, _ = attempt(Bash(), repository, [bash_block("ls")])
    assert made.stop == StopReason.ERROR
    assert made.failure is not None and made.failure.where == "inference"
    assert len(made.steps) == 1


class Broken:
    """A sandbox that breaks at its first command."""

    def run(self, command: str, *, timeout: float | None = None) -> Execution:
        raise SandboxError("the supervisor died")

    def read(self, path: str, *, limit: int = 0) -> bytes:
        raise SandboxError("gone")

    def write(self, path: str, data: bytes) -> None:
        raise SandboxError("gone")

    def diff(self) -> str:
        raise SandboxError("gone")

    def close(self) -> None:
        pass


class Fails:
    """A model that answers with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        raise self.error

    def close(self) -> None:
        pass


class Counts:
    """A model that says how many tokens it used."""

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        return completion(bash_block("ls"), completion_tokens=60, reasoning="Hm.")

    def close(self) -> None:
        pass


def test_breakdowns_are_recorded_where_they_happened() -> None:
    policy = Scripted(replies=[bash_block("ls")])
    made = Bash().attempt(make_task(), Broken(), policy.open(make_task(), seed=0))
    assert made.failure is not None and (made.failure.where, made.stop) == ("sandbox", StopReason.ERROR)
    full: Conversation = Fails(ContextFull("full"))
    made = Bash().attempt(make_task(), Broken(), full)
    assert made.failure is None and made.stop == StopReason.CONTEXT_FULL
    late: Conversation = Fails(InferenceError("time"))
    made = Bash(time_limit=0).attempt(make_task(), Broken(), late)
    assert made.failure is None and made.stop == StopReason.TIME_LIMIT


def test_the_token_limit_counts_the_whole_attempt(repository: Path) -> None:
    sandbox = Local().open(StartState(repository))
    made = Bash(max_tokens=100).attempt(make_task(), sandbox, Counts())
    sandbox.close()
    assert made.stop == StopReason.TOKEN_LIMIT and len(made.steps) == 2
    assert [step.reasoning for step in made.steps] == ["Hm.", "Hm."]


def test_tokens_extend_one_row_until_the_prefix_breaks() -> None:
    made = Attempt(prompt=[])
    made.add_tokens(completion("", prompt_ids=[1, 2], ids=[3], logprobs=[-0.5]), 1)
    made.add_tokens(completion("", prompt_ids=[1, 2, 3, 4], ids=[5, 6], logprobs=[-1.0, -2.0]), 2)
    made.add_tokens(completion("", prompt_ids=[1, 9], ids=[7], logprobs=None), 3)
    assert [row.ids for row in made.tokens] == [[1, 2, 3, 4, 5, 6], [1, 9, 7]]
    assert made.tokens[0].spans == [(2, 3, 1), (4, 6, 2)]
    assert made.tokens[0].logprobs == [-0.5, -1.0, -2.0] and made.tokens[1].logprobs is None
    assert made.prefix_breaks == 1


@given(st.text(max_size=400) | st.text(alphabet="`bash\n ", max_size=60))
def test_any_reply_is_a_command_or_a_problem(text: str) -> None:
    command, problem = read_command(completion(text))
    assert (command is None) == bool(problem)
    assert command is None or (command and command in text)


def test_a_huge_hostile_reply_is_read_quickly() -> None:
    began = time.monotonic()
    for text in ("```bash\n" * 50_000, "`" * 500_000, "```bash\n" + "x" * 1_000_000):
        read_command(completion(text))
    assert time.monotonic() - began < 5


@given(st.text(max_size=300), st.integers(1, 50))
def test_a_cut_says_exactly_what_is_missing(text: str, limit: int) -> None:
    shown = cut_in_the_middle(text, limit)
    if len(text) <= limit:
        assert shown == text
    else:
        half = max(1, limit // 2)
        assert shown.startswith(text[:half]) and shown.endswith(text[-half:])
        assert f"[... {len(text) - 2 * half} characters cut ...]" in shown


def test_the_statement_is_data_and_never_a_template() -> None:
    task = make_task(statement="{{ 7 * 7 }} {% raw %} ${HOME} `id`")
    assert Bash(prompt="terse").first_messages(task)[0].content == task.statement


def test_wrong_prompts_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Did you mean 'terse'"):
        Bash(prompt="tersee")
    lacking = tmp_path / "p.jinja"
    lacking.write_text("{% block system %}{% endblock %}")
    with pytest.raises(RecipeError, match="'task' is missing"):
        Bash(prompt=str(lacking))
    lacking.write_text("{% block system %}")
    with pytest.raises(RecipeError, match="not a template"):
        Bash(prompt=str(lacking))
