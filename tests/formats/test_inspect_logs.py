"""Logs that Inspect itself wrote: RFT_INSPECT_PYTHON=… pytest -m slow tests/formats/test_inspect_logs.py"""

import subprocess
from pathlib import Path

import pytest

from rft.cli import main
from rft.formats import strictly
from rft.formats.attempts import Attempts
from rft.store import Records
from rft.types import StopReason, Trajectory
from tests.interpreters import INSPECT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSPECT, reason="RFT_INSPECT_PYTHON names no Python that has inspect-ai"),
]
WRITE = """
import sys
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message, use_tools
from inspect_ai.tool import tool

@tool
def shell():
    async def execute(command: str) -> str:
        '''Run a command.

        Args:
            command: What to run.
        '''
        if command == "fail":
            raise PermissionError("not allowed")
        return "42 " + "a long line of output " * 100
    return execute

def call(command):
    return ModelOutput.for_tool_call("mockllm/model", "shell", {"command": command}, content=f"I run {command}.")

def say(text):
    return ModelOutput.from_content("mockllm/model", text)

outputs = [call("cat answer"), say("It is 42."), call("fail"), say("I do not know.")]
for output in outputs:  # counting tokens would ask the network for an encoding
    output.usage = ModelUsage(input_tokens=9, output_tokens=3, total_tokens=12)
model = get_model("mockllm/model", custom_outputs=outputs)
samples = [Sample(id=name, input=f"Find the answer, {name}.", target="42") for name in ("one", "two")]
eval(
    Task(dataset=samples, solver=[system_message("You have a shell."), use_tools(shell()), generate()],
         scorer=includes()),
    model=model, log_dir=sys.argv[1], log_format=sys.argv[2], display="none", max_samples=1, max_tasks=1,
)
"""


@pytest.mark.parametrize("form", ["eval", "json"])
def test_a_log_of_inspect_is_scored_and_selected_from(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run([INSPECT, "-c", WRITE, "logs", form], check=True)
    assert [path.suffix for path in Path("logs").iterdir()] == [f".{form}"]
    found = {attempt.task_id.split("/")[-1]: attempt for attempt in strictly(Attempts([Path("logs")]))}
    assert sorted(found) == ["one", "two"]
    one, two = found["one"], found["two"]
    assert [(m.role, m.content) for m in one.prompt] == [
        ("system", "You have a shell."),
        ("user", "Find the answer, one."),
    ]
    assert [step.command for step in one.steps] == ["cat answer", None] and one.steps[0].observation.startswith("42 a")
    assert len(one.steps[0].observation) > 2000, "long texts are back in place"
    assert one.steps[0].reply == "I run cat answer." and one.steps[1].reply == "It is 42."
    assert one.policy == "mockllm/model"
    resolved = [attempt.outcome.resolved for attempt in (one, two) if attempt.outcome]
    assert resolved == [True, False] and "not allowed" in two.steps[0].observation
    assert [one.stop, two.stop] == [StopReason.SUBMITTED] * 2
    assert main(["import", "logs", "--to", "mine"]) == 0 and main(["score", "runs/mine"]) == 0
    assert main(["select", "runs/mine", "select.rules=[{use: resolved}]"]) == 0
    records = Path("runs/mine/round_01/1_collect/trajectories.jsonl")
    assert len(list(Records(records, Trajectory))) == 2
