"""One recipe, several agents: shipped ones, programs, mini-swe-agent; all are collected, scored, selected, trained on.

`RFT_MINI_PYTHON=/its/bin/python pytest -m slow tests/e2e/test_agents.py`
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rft import loop
from rft.plugins import build
from rft.recipe import load
from rft.rundir import Run
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.store import Records
from rft.types import Example, StopReason, Trajectory
from tests.conftest import bash_block

KATA = {"use": "kata", "modules": ["clock"]}
MINI = os.environ.get("RFT_MINI_PYTHON", "")


def as_block(command: str) -> str:
    return bash_block(command, "Next.")


def as_call(command: str) -> str:
    return f"Next.\n<tool_call>{json.dumps({'name': 'bash', 'arguments': {'command': command}})}</tool_call>"


def program(command: str) -> dict[str, Any]:
    return {"use": "external", "files": ["plain.py", "tools.mjs"], "command": command}


AGENTS: dict[str, tuple[dict[str, Any], Any, str]] = {
    "scripted": ({"use": "bash", "prompt": "terse"}, as_block, as_block("submit")),
    "tools": ({"use": "bash", "tools": True}, as_call, '<tool_call>{"name": "submit"}</tool_call>'),
    "python": (program('python "$RFT_FILES/plain.py"'), as_block, as_block("submit")),
    "node": (program('node "$RFT_FILES/tools.mjs"'), as_call, "Done."),
    "mini": ({"use": "mini", "python": MINI}, as_call, as_call("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")),
}  # fmt: skip
"""The agent, how its policy speaks, and how it ends."""


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_solves_a_task_and_its_steps_are_learnt(name: str, tmp_path: Path) -> None:
    agent, spoken, end = AGENTS[name]
    if reason := Bubblewrap().missing():
        pytest.skip(reason)
    if name == "node" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    if name == "mini" and not MINI:
        pytest.skip("mini-swe-agent is not installed; name its interpreter in RFT_MINI_PYTHON")
    script = {
        task.id: [
            spoken("ls"),
            spoken(f"git apply - <<'END'\n{task.gold_patch}\nEND\npython check.py {task.meta['function']}"),
            end,
        ]
        for task in build("environment", KATA, "environment").tasks("train")
    }
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(script))
    fields = {
        "name": name,
        "runs": str(tmp_path),
        "policy": {
            "model": "tiny",
            "create": {"use": "tiny_qwen3", "vocab_size": 400, "hidden_size": 32, "layers": 1, "max_position": 8192},
        },
        "environment": KATA,
        "sandbox": {
            "use": "bubblewrap",
            "cpu": 300,
            "readable": [str(Path(MINI).parents[1])] if name == "mini" else [],
        },
        "agent": agent,
        "collect": {
            "tasks": 1,
            "samples": 1,
            "inference": {"use": "scripted", "path": str(tmp_path / "script.yaml")},
            "pool": {"use": "serial"},
        },
        "select": {"rules": [{"use": "finished"}, {"use": "resolved"}, {"use": "no_leak"}]},
        "train": {"trl": {"max_steps": 1}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(fields))
    recipe = load(str(tmp_path / "recipe.yaml"))
    for stage in ("collect", "score", "select", "train"):
        loop.one_stage(recipe, 1, stage)
    run = Run(recipe)
    (made,) = Records(run.stage(1, "collect").path / "trajectories.jsonl", Trajectory)
    assert made.failure is None and made.stop == StopReason.SUBMITTED and made.outcome and made.outcome.resolved, made
    assert len(made.steps) == 3 and "git apply" in (made.steps[1].command or "") and "OK" in made.steps[1].observation
    (example,) = Records(run.stage(1, "select").path / "examples.jsonl", Example)
    assert len(example.spans) == 3 and example.provenance == "rendered"
    assert run.stage(1, "train").require().counts
