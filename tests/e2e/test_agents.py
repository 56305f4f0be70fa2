"""One recipe, several agents: each mends a bug put into a package, and its attempts are scored, selected, trained on.

RFT_MINI_PYTHON=/its/bin/python RFT_HARBOR_PYTHON=/its/bin/python pytest -m slow tests/e2e/test_agents.py

A script shows each agent's policy how the bug is mended; a tiny model is trained on that until it knows it by heart,
and mends the bug itself: its attempts hold the local engine's own tokens.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rft import loop
from rft.formats import atif
from rft.plugins import build
from rft.recipe import load
from rft.rundir import Run
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.store import Records
from rft.types import Example, StopReason, Task, Trajectory
from tests.conftest import bash_block
from tests.interpreters import HARBOR, atif_errors

MINI = os.environ.get("RFT_MINI_PYTHON", "")
CODE = """def clamp(value, low, high):
    if value < low:
        return low
    if value > high:
        return high
    return value
"""
TESTS = """from counting import clamp


def test_low():
    assert clamp(-3, 0, 9) == 0


def test_high():
    assert clamp(30, 0, 9) == 9


def test_inside():
    assert clamp(3, 0, 9) == 3
"""


def as_block(command: str) -> str:
    return bash_block(command, "Next.")


def as_call(command: str) -> str:
    return f"Next.\n<tool_call>{json.dumps({'name': 'bash', 'arguments': {'command': command}})}</tool_call>"


def program(command: str) -> dict[str, Any]:
    return {"use": "external", "files": ["plain.py", "tools.mjs"], "command": command}


AGENTS: dict[str, tuple[dict[str, Any], Callable[[str], str], str]] = {
    "scripted": ({"use": "bash", "prompt": "terse"}, as_block, as_block("submit")),
    "tools": ({"use": "bash", "tools": True}, as_call, '<tool_call>{"name": "submit"}</tool_call>'),
    "python": (program('python "$RFT_FILES/plain.py"'), as_block, as_block("submit")),
    "node": (program('node "$RFT_FILES/tools.mjs"'), as_call, "Done."),
    "mini": ({"use": "mini", "python": MINI}, as_call, as_call("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")),
}  # fmt: skip
"""The agent, how its policy speaks, and how it ends."""


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The one recipe, on a small package with a bug whose task is made once."""
    if reason := Bubblewrap().missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("agents")
    (folder / "counting/tests").mkdir(parents=True)
    (folder / "counting/counting.py").write_text(CODE)
    (folder / "counting/conftest.py").write_text("")
    (folder / "counting/tests/test_counting.py").write_text(TESTS)
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    yield {
        "runs": str(folder / "runs"),
        "policy": {
            "model": "tiny",
            "create": {"use": "tiny_qwen3", "vocab_size": 700, "hidden_size": 64, "layers": 2, "max_position": 8192},
            "sampling": {"temperature": 0.0, "max_tokens": 400},
        },
        "environment": {"use": "mutate", "path": str(folder / "counting"), "install": False, "count": 1},
        "sandbox": {"use": "bubblewrap", "cpu": 300, "readable": [str(Path(MINI).parents[1])] if MINI else []},
        "collect": {"tasks": 1, "samples": 1, "pool": {"use": "serial"}},
        "select": {"rules": [{"use": "finished"}, {"use": "resolved"}, {"use": "no_leak"}]},
        "train": {"trl": {"max_steps": 150, "learning_rate": 3.0e-3}},
    }
    patch.undo()


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_mends_a_bug_and_a_model_learns_it_from_its_steps(
    name: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    if name == "node" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    if name == "mini" and not MINI:
        pytest.skip("mini-swe-agent is not installed; name its interpreter in RFT_MINI_PYTHON")
    agent, spoken, end = AGENTS[name]
    (task,) = build("environment", fields["environment"], "environment").tasks("train")
    (tmp_path / "script.yaml").write_text(yaml.safe_dump({task.id: replies(task, spoken, end)}))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(fields))
    given = [f"agent={json.dumps(agent)}"]

    script = f"collect.inference={json.dumps({'use': 'scripted', 'path': str(tmp_path / 'script.yaml')})}"
    shown, attempt, example = made(tmp_path, [*given, f"name={name}", script])
    assert example.provenance == "rendered" and not attempt.tokens and len(example.spans) == 3
    if HARBOR:
        assert atif_errors([atif.write(attempt)]) == [[]]
    if name == "mini":
        return  # its prompt is five times as long: minutes more until a model this small knows it by heart

    learnt = [f"name={name}_learnt", f"policy.model={shown.checkpoint(1)}", "policy.create=null"]
    _, own, example = made(tmp_path, [*given, *learnt, "policy.inference={use: local}", "train.trl={max_steps: 1}"])
    assert [step.reply for step in own.steps] == [step.reply for step in attempt.steps]
    (row,) = own.tokens
    assert [span[2] for span in row.spans] == [1, 2, 3] and own.prefix_breaks == 0
    assert row.logprobs and len(row.logprobs) == sum(stop - start for start, stop, _ in row.spans)
    assert (example.provenance, example.ids) == ("recorded", row.ids)
    if HARBOR:
        assert atif_errors([atif.write(own)]) == [[]]


def replies(task: Task, spoken: Callable[[str], str], end: str) -> list[str]:
    """How a policy mends the bug."""
    return [spoken("ls"), spoken(f"git apply - <<'END'\n{task.gold_patch}\nEND\ngit diff --stat"), end]


def made(folder: Path, given: list[str]) -> tuple[Run, Trajectory, Example]:
    """A round of the recipe, to the end of training: the run, its attempt and what is learnt of it."""
    recipe = load(str(folder / "recipe.yaml"), given)
    for stage in ("collect", "score", "select", "train"):
        loop.one_stage(recipe, 1, stage)
    run = Run(recipe)
    (attempt,) = Records(run.stage(1, "collect").path / "trajectories.jsonl", Trajectory)
    assert attempt.failure is None and attempt.stop == StopReason.SUBMITTED, attempt
    assert attempt.outcome is not None and attempt.outcome.resolved is True, attempt
    assert len(attempt.steps) == 3 and "1 file changed" in attempt.steps[1].observation
    (example,) = Records(run.stage(1, "select").path / "examples.jsonl", Example)
    assert run.stage(1, "train").require().counts
    return run, attempt, example
