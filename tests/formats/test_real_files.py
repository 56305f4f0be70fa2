"""Every real file comes in with all its steps, its patch and its outcome, whatever program wrote it."""

import json
from pathlib import Path
from typing import Any

import pytest

from reward_models.behaviours import leaking
from reward_models.history import changed_lines
from rft.formats import format_of, read, strictly
from rft.formats.attempts import Attempts
from rft.transcript import to_transcript
from rft.types import StopReason, Trajectory
from tests.formats.real_data import DATA, needs_data

pytestmark = [pytest.mark.real, needs_data]
TRAJS = sorted(DATA.glob("**/*.traj"))
MODEL_CALLS = sorted(DATA.glob("openhands/**/*llm-logs/*.json"))


def one(path: Path) -> Trajectory:
    (attempt,) = strictly(read(path))
    return attempt


@pytest.mark.parametrize("path", TRAJS, ids=lambda path: path.parent.name[-30:])
def test_a_trajectory_of_swe_agent_keeps_every_step_and_its_patch(path: Path) -> None:
    """Four generations: state as text or object, `messages`, `replay_config`, and `history` alone."""
    source: dict[str, Any] = json.loads(path.read_text())
    attempt = one(path)
    assert format_of(path) == "swe-agent" and attempt.source == str(path)
    turns = [m for m in source["history"] if m["role"] == "assistant" and not m.get("is_demo")]
    taken = source.get("trajectory") or turns
    assert len(attempt.steps) == len(taken)
    for step, item in zip(attempt.steps, taken, strict=True):
        assert step.command == item["action"].strip()
        assert item.get("response", item.get("content")) in (step.reply, step.extra.get("response"))
        seen = item.get("observation", "").strip()
        assert seen in step.observation or seen == step.extra["observation"].strip()
        assert step.seconds == item.get("execution_time", 0.0) and step.extra.get("state") == item.get("state")
    info = source.get("info", {})
    if "submission" in info:
        assert changed_lines(attempt.patch) == changed_lines(info["submission"].replace("\r\n", "\n")) > 0
        assert attempt.patch.startswith("diff --git") and "\r" not in attempt.patch
        assert attempt.stop is StopReason.SUBMITTED and attempt.cost == info["model_stats"]["instance_cost"]
    asked = [m for m in source["history"][: source["history"].index(turns[0])] if m["role"] in ("system", "user")]
    assert len(attempt.prompt) == len(asked) and attempt.prompt[0].role == "system"


def test_what_the_model_was_shown_is_the_observation_and_belongs_to_its_call() -> None:
    attempt = one(next(path for path in TRAJS if "pr_53652" in str(path)))
    assert attempt.policy == "claude-3-7-sonnet-20250219" and attempt.agent == "SWE-agent 1.0.1"
    assert attempt.task_id == "pandas-dev__pandas.95280573.pr_53652"
    assert all(step.observation for step in attempt.steps) and attempt.steps[0].observation.startswith("OBSERVATION:\n")
    for step in attempt.steps:
        (call,) = step.tool_calls
        assert call.result == (0, len(step.observation)) and call.id
    assert attempt.extra["left_out"] == {"query": 37}, "the prompts that every step repeats are counted"


def test_outcomes_come_from_the_graders_reports() -> None:
    logs = DATA / "swesmith" / "tests" / "test_logs"
    attempts = list(strictly(Attempts([logs / "trajectories"], outcomes=[logs / "run_evaluation"])))
    found = {attempt.task_id[-8:]: attempt.outcome for attempt in attempts}
    resolved, failed = found["pr_53652"], found["pr_53856"]
    assert resolved is not None and resolved.resolved is True and set(resolved.tests.values()) == {"passed"}
    assert failed is not None and failed.resolved is False
    assert sum(verdict == "failed" for verdict in failed.tests.values()) == 28
    marshmallow = list(strictly(Attempts([DATA / "sweagent"], outcomes=[DATA / "sweagent" / "local_verdicts.jsonl"])))
    verdicts = [a.outcome.resolved for a in marshmallow if a.outcome and "marshmallow" in a.task_id]
    assert verdicts == [False] * 5 and len({a.id for a in marshmallow}) == 9


@pytest.mark.parametrize("path", MODEL_CALLS, ids=lambda path: path.stem[-14:])
def test_a_log_of_a_model_call_is_the_conversation_and_the_reply(path: Path) -> None:
    source = json.loads(path.read_text())
    attempt = one(path)
    before = sum(message["role"] == "assistant" for message in source["messages"])
    assert len(attempt.steps) == before + 1 and attempt.policy == source["response"]["model"]
    (said,) = [choice["message"] for choice in source["response"]["choices"]]
    assert [call.id for call in attempt.steps[-1].tool_calls] == [call["id"] for call in said["tool_calls"]]
    assert attempt.extra["cost"] == source["cost"] and attempt.extra["tools"] == source["tools"]


def test_an_event_log_of_openhands() -> None:
    """Ten events: two actions with their observations, one observation of an action that is not in the log."""
    path = DATA / "openhands" / "tests" / "sdk" / "conversation" / "goal" / "fixtures" / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    attempt = one(path)
    actions = [event for event in events if event["kind"] == "ActionEvent"]
    assert [step.command for step in attempt.steps] == [action["action"]["command"] for action in actions]
    assert [step.reasoning for step in attempt.steps] == [action["reasoning_content"] for action in actions]
    assert [step.timestamp for step in attempt.steps] == [action["timestamp"] for action in actions]
    everything = "".join(step.observation for step in attempt.steps)
    observations = [event["observation"] for event in events if event["kind"] == "ObservationEvent"]
    assert all(observation["content"][0]["text"] in everything for observation in observations)
    assert attempt.policy == "litellm_proxy/minimax-m2.7"


def test_message_lists_of_mini_swe_agent_and_openhands() -> None:
    mini = one(DATA / "mini_swe_agent" / "local.traj.json")
    assert [step.command for step in mini.steps] == ["echo 'hello world'", "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"]
    assert mini.steps[0].exit_code == 0 and "hello world" in mini.steps[0].observation
    chat = one(DATA / "openhands" / "tests" / "fixtures" / "llm_data" / "fncall-llm-message.json")
    assert len(chat.steps) == 6 and chat.steps[4].command == "python hello.py"


def test_a_folder_names_what_holds_no_trajectory() -> None:
    attempts = Attempts([DATA])
    assert len(list(strictly(attempts))) == 28 and len(attempts.files) == 26
    assert {path.name for path in attempts.others} >= {"README.md", "report.json", "test_output.txt", "args.yaml"}


def test_who_took_a_short_cut_is_named_and_nobody_else() -> None:
    """Read by eye: of all these attempts one installs a package that its project has not; none digs, tampers or writes
    outputs down, though some install the project itself, start a server and ask it, or say URLs."""
    rules = (
        leaking.read_history,
        leaking.reached_for_network,
        leaking.tampered_with_grader,
        leaking.hard_coded_outputs,
    )
    found, looked_at = [], 0
    for attempt in Attempts([DATA]):
        if isinstance(attempt, Trajectory):
            looked_at += 1
            transcript = to_transcript(attempt)
            found += [
                (rule.__name__, finding.steps, finding.evidence)
                for rule in rules
                if (finding := rule(transcript)) and finding.value
            ]
    assert looked_at == 28
    assert found == [("reached_for_network", [9], "pip install duckdb-engine")]
