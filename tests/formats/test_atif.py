"""ATIF both ways: valid whatever an attempt holds, nothing lost on either way, and what must not be learnt is not."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.errors import RecipeError
from rft.formats import atif, read, strictly
from rft.formats.documents import Document
from rft.types import Trajectory
from tests.formats.attempts_strategy import EXTRA, TEXT, WORD, attempts
from tests.formats.real_data import DATA, needs_data
from tests.interpreters import atif_errors, needs_harbor

HERE = Path("x.json")


def again(document: Any) -> Trajectory:
    return atif.read(Document(json.loads(json.dumps(document)), "x.json", HERE))


def agent(**facts: Any) -> dict[str, Any]:
    return {"source": "agent", "message": "look"} | facts


def document(*steps: dict[str, Any], **facts: Any) -> dict[str, Any]:
    numbered = [{"step_id": number, **step} for number, step in enumerate(steps, 1)]
    base = {"schema_version": "ATIF-v1.8", "agent": {"name": "a", "version": "1"}, "steps": numbered}
    return base | facts


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(attempts())
def test_an_attempt_comes_back_as_it_was(attempt: Trajectory) -> None:
    assert again(atif.write(attempt)) == attempt


RESULT = st.fixed_dictionaries(
    {}, optional={"content": TEXT | st.none(), "source_call_id": st.just("c1"), "extra": EXTRA}
)
CALL = st.fixed_dictionaries(
    {"tool_call_id": st.just("c1"), "function_name": WORD, "arguments": EXTRA}, optional={"extra": EXTRA}
)
METRICS = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": st.integers(0, 9), "cached_tokens": st.integers(0, 9), "cost_usd": st.floats(0, 1),
        "prompt_token_ids": st.lists(st.integers(0, 9), max_size=3), "logprobs": st.lists(st.just(-0.5), max_size=3),
        "completion_token_ids": st.lists(st.integers(0, 9), max_size=3), "extra": EXTRA,
    },
)  # fmt: skip
PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXT), max_size=2)
AGENT = st.fixed_dictionaries(
    {"source": st.just("agent"), "message": TEXT | PARTS, "tool_calls": st.lists(CALL, min_size=1, max_size=1)},
    optional={
        "timestamp": st.just("2026-01-02T03:04:05Z"), "model_name": TEXT, "reasoning_content": TEXT, "extra": EXTRA,
        "reasoning_effort": st.just("high") | st.just(0.5),
        "observation": st.builds(lambda r: {"results": r}, st.lists(RESULT, max_size=2)),
        "metrics": METRICS, "is_copied_context": st.booleans(), "llm_call_count": st.integers(1, 2),
    },
)  # fmt: skip
OTHER = st.fixed_dictionaries(
    {"source": st.sampled_from(["system", "user"]), "message": TEXT | PARTS},
    optional={"timestamp": st.just("2026-01-02"), "extra": EXTRA, "is_copied_context": st.booleans()},
)
ROOT = st.fixed_dictionaries(
    {},
    optional={
        "session_id": TEXT, "trajectory_id": TEXT, "notes": TEXT, "extra": EXTRA, "continued_trajectory_ref": TEXT,
        "final_metrics": st.fixed_dictionaries(
            {}, optional={"total_cost_usd": st.floats(0, 1), "total_steps": st.integers(0, 9)}
        ),
        "agent": st.fixed_dictionaries({"name": TEXT, "version": TEXT}, optional={"model_name": TEXT, "extra": EXTRA}),
    },
)  # fmt: skip


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(AGENT | OTHER, min_size=1, max_size=4), ROOT)
def test_a_document_of_others_comes_back_as_it_was(steps: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    given_ = document(*steps, **facts)
    back = atif.write(again(given_))
    own = [given_, *given_["steps"]]
    for one, other in zip(own, [back, *back["steps"]], strict=True):
        told = {key: value for key, value in other.get("extra", {}).items() if key != "rft"}
        assert told == one.get("extra", {})
        for key in ("extra", "steps", "schema_version"):
            one, other = ({k: v for k, v in side.items() if k != key} for side in (one, other))
        assert other == one


def test_what_was_copied_or_made_by_no_model_is_context_and_never_learnt() -> None:
    attempt = again(
        document(
            {"source": "user", "message": "mend f"},
            agent(message="from before", is_copied_context=True),
            agent(message="mine"),
            agent(message="dispatch", llm_call_count=0),
            {"source": "user", "message": "go on"},
        )
    )
    assert [(m.role, m.content) for m in attempt.prompt] == [("user", "mend f"), ("assistant", "from before")]
    assert [step.reply for step in attempt.steps] == ["mine"]
    assert [(m.role, m.content) for m in attempt.steps[0].after] == [("assistant", "dispatch"), ("user", "go on")]


def test_exact_tokens_are_rows() -> None:
    told = [
        agent(metrics={"prompt_token_ids": [1, 2], "completion_token_ids": [3], "logprobs": [-0.1]}),
        agent(metrics={"prompt_token_ids": [1, 2, 3, 4], "completion_token_ids": [5, 6], "logprobs": [-0.2, -0.3]}),
    ]
    (row,) = again(document(*told)).tokens
    assert row.ids == [1, 2, 3, 4, 5, 6] and row.spans == [(2, 3, 1), (4, 6, 2)]
    assert row.logprobs == [-0.1, -0.2, -0.3]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (document(agent(), schema_version="ATIF-v2.0"), "schema_version: 'ATIF-v2.0'; rft reads up to ATIF-v1.8"),
        (document(), "steps: Expected array of length >= 1"),
        ({**document(agent()), "x": 1}, "Object contains unknown field x"),
        (document({**agent(), "step_id": 2}), r"steps[0].step_id: 2; expected 1"),
        (document(agent(source="bot")), "steps[0].source: Invalid enum value 'bot'"),
        (document(agent(timestamp="soon")), "steps[0].timestamp: 'soon'; expected ISO 8601"),
        (document({"source": "user", "message": "", "metrics": {}}), "steps[0].metrics: stands on a step of"),
        (document(agent(llm_call_count=0, metrics={})), "steps[0].llm_call_count: 0 beside metrics"),
        (document(agent(observation={"results": [{"source_call_id": "z"}]})), "source_call_id 'z' is no call"),
        (document(agent(message=[{"type": "text"}])), "a content part of type text with the wrong one"),
        (document(agent(), subagent_trajectories=[document(agent())]), "subagent_trajectories[0].trajectory_id:"),
        (document(agent(extra={"rft": 5})), "extra.rft: Expected object, got int"),
        (document(agent(extra={"rft": {"index": "x"}})), "index: Expected int, got str"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_one_line(value: Any, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        again(value)
    assert says in str(caught.value) and str(caught.value).startswith("x.json: ")


@pytest.mark.slow
@needs_data
@needs_harbor
def test_the_reference_validator_agrees() -> None:
    """Every real file as ATIF, drawn attempts, and broken documents: ours and harbor's say the same of each."""
    documents = [atif.write(a) for path in DATA.rglob("*.traj") for a in strictly(read(path))]
    drawn: list[Any] = []
    settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))(
        given(attempts())(lambda a: drawn.append(atif.write(a)))
    )()
    broken = [
        document(agent(), schema_version="ATIF-v2.0"), document(), document({**agent(), "step_id": 2}),
        document(agent(timestamp="soon")), document({"source": "user", "message": "", "metrics": {}}),
        document(agent(observation={"results": [{"source_call_id": "z"}]})),
        document(agent(message=[{"type": "text"}])),
        document(agent(), subagent_trajectories=[document(agent())]), {**document(agent()), "x": 1},
    ]  # fmt: skip
    said = atif_errors([*documents, *drawn, *broken])
    valid = len(documents) + len(drawn)
    assert len(documents) == 11 and len(drawn) >= 200
    assert [errors for errors in said[:valid] if errors] == []
    assert len(said) == valid + len(broken) and all(said[valid:])
