"""Agent programs that really run in both sandboxes and reach the policy through the recorder."""

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rft.agents.attempt import Attempt
from rft.agents.external import External
from rft.errors import InferenceError, RecipeError
from rft.inference.scripted import Scripted
from rft.interfaces import Conversation, Sandbox, StartState
from rft.plugins import build
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.sandboxes.local import Local
from rft.transcript import messages_of
from rft.types import Completion, Message, StopReason, Task, Tool
from tests.conftest import bash_block, make_task

pytestmark = pytest.mark.process
PLAIN = 'python "$RFT_FILES/plain.py"'
FIX = "sed -i 's/x - 1/x + 1/' code.py"
NASTY = """mend f; it's "$(touch /tmp/owned)" `id` $HOME \\ \n{{ 7 * 7 }} %s ü"""


def call(command: str) -> str:
    return f"Go.\n<tool_call>\n<function=bash>\n<parameter=command>\n{command}\n</parameter>\n</function>\n</tool_call>"


Run = Callable[..., tuple[Attempt, str]]


@pytest.fixture(params=["local", "bubblewrap"])
def run(request: pytest.FixtureRequest, repository: Path) -> Iterator[Run]:
    """One attempt of a program in a fresh sandbox: what it left behind, and the patch."""
    provider: Any = Local() if request.param == "local" else Bubblewrap()
    if reason := provider.missing():
        pytest.skip(reason)

    def attempt(agent: External, policy: Sequence[str] | Conversation, task: Task | None = None) -> tuple[Attempt, str]:
        if isinstance(policy, list):
            scripted = Scripted(replies=policy)
            scripted.load("none", None)
            policy = scripted.open(make_task(), seed=0)
        sandbox: Sandbox = provider.open(StartState(repository))
        try:
            assert not isinstance(policy, Sequence)
            made = agent.attempt(task or make_task(), sandbox, policy)
            return made, sandbox.diff()
        finally:
            sandbox.close()

    yield attempt


def test_a_program_of_the_standard_library(run: Run) -> None:
    replies = [bash_block("cat code.py"), bash_block(FIX), bash_block("submit")]
    made, patch = run(External(command=PLAIN, files=["plain.py"]), replies, make_task(statement=NASTY))
    assert (made.stop, made.failure) == (StopReason.SUBMITTED, None), made
    assert [step.command for step in made.steps] == ["cat code.py", FIX, "submit"]
    assert made.prompt[-1].content == NASTY and "return x - 1" in made.steps[0].observation
    assert patch.count("\n+") == 2 and "+    return x + 1" in patch and "statement" not in patch
    assert made.extra["program"]["exit_code"] == 0


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_program_of_another_language_with_tool_calls(run: Run) -> None:
    replies = [call("cat code.py"), call(FIX), "It is done."]
    made, patch = run(External(command='node "$RFT_FILES/tools.mjs"', files=["tools.mjs"]), replies)
    assert (made.stop, made.failure) == (StopReason.SUBMITTED, None), made
    assert [step.command for step in made.steps] == ["cat code.py", FIX, None] and "+    return x + 1" in patch
    assert [tool.name for tool in made.tools] == ["bash"]
    roles = [message.role for message in messages_of(made.prompt, made.steps)]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "tool", "assistant", "user"]


def test_the_statement_reaches_the_command_as_one_word(run: Run) -> None:
    command = 'test "$(cat "$RFT_STATEMENT_FILE")" = "$RFT_STATEMENT" && printf %s "$RFT_STATEMENT" > got; exit 3'
    made, patch = run(External(command=command), ["x"], make_task(statement=NASTY))
    assert made.failure is not None and made.failure.where == "agent" and "exit code 3" in made.failure.message
    assert "".join(
        line[1:] for line in patch.split("\n") if line.startswith("+") and "+++" not in line
    ) == NASTY.replace("\n", "")
    long = make_task(statement="y" * 300_000)
    made, patch = run(
        External(command='wc -c < "$RFT_STATEMENT_FILE" > got; echo "$RFT_STATEMENT" >> got'), ["x"], long
    )
    assert "+300000" in patch and "+The task is described in the file" in patch


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 3", "exit code 3"),
        ("echo oh no; exit 1", "Its last line: oh no"),
        ("/nowhere/agent", "sandbox.readable"),
        ("true", "without a call to the policy"),
        ("kill -9 $$", "killed (signal 9)"),
    ],
)
def test_a_program_that_breaks_is_a_failure_and_no_zero(run: Run, command: str, words: str) -> None:
    made, _ = run(External(command=command), ["x"])
    assert made.stop == StopReason.ERROR and made.failure is not None
    assert made.failure.where == "agent" and words in made.failure.message
    assert made.prompt == [Message(role="user", content="mend f")] and not made.steps


def test_limits_have_their_own_reasons(run: Run) -> None:
    look = [bash_block("ls")] * 9
    made, _ = run(External(command=PLAIN, files=["plain.py"], max_steps=2), look)
    assert (made.stop, made.failure, len(made.steps)) == (StopReason.STEP_LIMIT, None, 2)
    made, _ = run(External(command=f"{PLAIN}; sleep 60", files=["plain.py"], time_limit=3), [bash_block("submit")])
    assert (made.stop, made.failure, len(made.steps)) == (StopReason.TIME_LIMIT, None, 1)


class Gone:
    """A policy whose server is gone after one answer."""

    def __init__(self) -> None:
        self.turn = 0

    def reply(self, messages: Sequence[Message], *, deadline: float, tools: Sequence[Tool] = ()) -> Completion:
        self.turn += 1
        if self.turn > 1:
            raise InferenceError("the server is gone")
        return Completion(text=bash_block("ls"), finish_reason="stop")

    def close(self) -> None:
        """Nothing is held."""


def test_a_policy_that_is_gone_is_no_fault_of_the_program(run: Run) -> None:
    made, _ = run(External(command=PLAIN, files=["plain.py"]), Gone())
    assert made.failure is not None and (made.failure.where, made.failure.message) == (
        "inference",
        "the server is gone",
    )
    assert len(made.steps) == 1


def test_many_attempts_at_once_keep_apart(repository: Path) -> None:
    results: dict[int, Attempt] = {}

    def one(number: int) -> None:
        scripted = Scripted(replies=[bash_block(f"echo {number}"), bash_block("submit")])
        scripted.load("none", None)
        sandbox = Local().open(StartState(repository))
        try:
            agent = External(command=PLAIN, files=["plain.py"])
            results[number] = agent.attempt(make_task(), sandbox, scripted.open(make_task(), seed=0))
        finally:
            sandbox.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: made.steps[0].observation for n, made in results.items()} == {n: f"[exit 0]\n{n}\n" for n in range(8)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "'command' is missing"),
        ({"command": " "}, "command is empty"),
        ({"command": "x", "files": ["nowhere.py"]}, "expected a path, or one of plain.py, tools.mjs"),
        ({"command": "x", "files": ["a/plain.py", "plain.py"]}, "names that differ"),
        ({"command": "x", "variables": {"A=B": "c"}}, "is no name"),
    ],
)
def test_what_a_recipe_gets_wrong_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        build("agent", {"use": "external"} | options, "agent")
