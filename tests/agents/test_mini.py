"""mini-swe-agent itself, unchanged, in the sandbox: `RFT_MINI_PYTHON=/its/bin/python pytest -m slow tests/agents`."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from rft.agents.external import External
from rft.agents.mini import Mini, exit_code
from rft.inference.scripted import Scripted
from rft.interfaces import StartState
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.types import Step, StopReason
from tests.conftest import make_task

PYTHON = os.environ.get("RFT_MINI_PYTHON") or (sys.executable if importlib.util.find_spec("minisweagent") else "")


def call(command: str) -> str:
    return f"Go.\n<tool_call>{json.dumps({'name': 'bash', 'arguments': {'command': command}})}</tool_call>"


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="mini-swe-agent is not installed; name its interpreter in RFT_MINI_PYTHON")
def test_it_mends_a_bug_in_the_sandbox(repository: Path) -> None:
    if reason := Bubblewrap().missing():
        pytest.skip(reason)
    policy = Scripted(
        replies=[
            call("cat code.py"),
            "no call at all",
            call("sed -i 's/x - 1/x + 1/' code.py; exit 2"),
            call("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"),
        ]
    )
    policy.load("none", None)
    sandbox = Bubblewrap(readable=[str(Path(PYTHON).parents[1])], cpu=300).open(StartState(repository))
    try:
        task = make_task(statement='mend f; it\'s "$HOME" {{ 7 * 7 }}')
        made = Mini(python=PYTHON, time_limit=240).attempt(task, sandbox, policy.open(task, seed=0))
        patch = sandbox.diff()
    finally:
        sandbox.close()
    assert (made.stop, made.failure) == (StopReason.SUBMITTED, None), made
    assert task.statement in made.prompt[-1].content and [tool.name for tool in made.tools] == ["bash"]
    assert [step.exit_code for step in made.steps] == [0, None, 2, None] and "+    return x + 1" in patch
    # it drops a reply without a call from its history and asks again
    assert [bool(step.shown) for step in made.steps] == [False, False, True, False]
    assert "Tool call error" in made.steps[2].shown[-1].content


@pytest.mark.parametrize(
    ("observation", "code"),
    [
        ('{\n  "returncode": 0,\n  "output": "<returncode>7</returncode>"\n}', 0),
        ("<returncode>-9</returncode>\n<output>\n</output>", -9),
        ("no code", None),
    ],
)
def test_exit_codes_are_read_from_what_it_shows(observation: str, code: int | None) -> None:
    assert exit_code(Step(index=1, reply="", command="x", observation=observation)) == code


def test_its_command_line_holds_nothing_of_the_task() -> None:
    command = Mini(python="/a b/python", config=["mini.yaml", "agent.step_limit=3"])._command()
    assert "'/a b/python' -m minisweagent.run.mini" in command and command.endswith('--task "$RFT_STATEMENT"')
    assert External(command=command).command == command
