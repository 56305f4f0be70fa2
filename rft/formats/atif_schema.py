"""What a valid ATIF v1.8 document is: its types, and the rules that types do not say."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from rft.formats.documents import wrong

Extra = dict[str, Any] | None
VERSIONS = tuple(f"ATIF-v1.{minor}" for minor in range(9))


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class _Source(_Strict, kw_only=True):
    media_type: str
    path: str
    duration_sec: float | None = None


class _Part(_Strict, kw_only=True):
    type: Literal["text", "image", "audio"]
    text: str | None = None
    source: _Source | None = None


class _Ref(_Strict, kw_only=True):
    trajectory_id: str | None = None
    session_id: str | None = None
    trajectory_path: str | None = None
    extra: Extra = None


class _Result(_Strict, kw_only=True):
    source_call_id: str | None = None
    content: str | list[_Part] | None = None
    subagent_trajectory_ref: list[_Ref] | None = None
    extra: Extra = None


class _Observation(_Strict, kw_only=True):
    results: list[_Result]


class _Call(_Strict, kw_only=True):
    tool_call_id: str
    function_name: str
    arguments: dict[str, Any]
    extra: Extra = None


class _Metrics(_Strict, kw_only=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None
    prompt_token_ids: list[int] | None = None
    completion_token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    extra: Extra = None


class _Step(_Strict, kw_only=True):
    step_id: int
    timestamp: str | None = None
    source: Literal["system", "user", "agent"]
    model_name: str | None = None
    reasoning_effort: str | float | None = None
    message: str | list[_Part]
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    observation: _Observation | None = None
    metrics: _Metrics | None = None
    is_copied_context: bool | None = None
    llm_call_count: Annotated[int, msgspec.Meta(ge=0)] | None = None
    extra: Extra = None


class _Agent(_Strict, kw_only=True):
    name: str
    version: str
    model_name: str | None = None
    tool_definitions: list[dict[str, Any]] | None = None
    extra: Extra = None


class _Final(_Strict, kw_only=True):
    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None
    total_cost_usd: float | None = None
    total_steps: Annotated[int, msgspec.Meta(ge=0)] | None = None
    extra: Extra = None


class _Root(_Strict, kw_only=True):
    schema_version: str
    session_id: str | None = None
    trajectory_id: str | None = None
    agent: _Agent
    steps: Annotated[list[_Step], msgspec.Meta(min_length=1)]
    notes: str | None = None
    final_metrics: _Final | None = None
    continued_trajectory_ref: str | None = None
    extra: Extra = None
    subagent_trajectories: list["_Root"] | None = None


def check(value: Any, where: str) -> None:
    """Raises RecipeError that names the place and the rule of ATIF that a document breaks."""
    try:
        root = msgspec.convert(value, _Root)
    except msgspec.ValidationError as error:
        problem, _, at = str(error).replace("`", "").partition(" - at $")
        raise wrong(where, at.removeprefix("."), problem) from None
    _root(root, where, "")


def _root(root: _Root, where: str, path: str) -> None:
    if root.schema_version not in VERSIONS:
        raise wrong(where, f"{path}schema_version", f"'{root.schema_version[:40]}'; rft reads up to {VERSIONS[-1]}")
    for number, step in enumerate(root.steps, 1):
        at = f"{path}steps[{number - 1}]"
        if step.step_id != number:
            raise wrong(where, f"{at}.step_id", f"{step.step_id}; expected {number}, steps count from 1")
        _step(step, where, at)
    seen: set[str] = set()
    for number, sub in enumerate(root.subagent_trajectories or []):
        at = f"{path}subagent_trajectories[{number}]"
        if not sub.trajectory_id or sub.trajectory_id in seen:
            raise wrong(where, f"{at}.trajectory_id", "missing, or there twice; expected one of its own")
        seen.add(sub.trajectory_id)
        _root(sub, where, f"{at}.")


def _step(step: _Step, where: str, at: str) -> None:
    if step.timestamp is not None and not is_timestamp(step.timestamp):
        raise wrong(where, f"{at}.timestamp", f"'{step.timestamp[:40]}'; expected ISO 8601")
    agents = ("model_name", "reasoning_effort", "reasoning_content", "tool_calls", "metrics")
    for name in agents if step.source != "agent" else ():
        if getattr(step, name) is not None:
            raise wrong(
                where, f"{at}.{name}", f"stands on a step of the source '{step.source}'; expected on an agent's"
            )
    if step.source == "agent" and step.llm_call_count == 0 and (step.metrics or step.reasoning_content is not None):
        raise wrong(where, f"{at}.llm_call_count", "0 beside metrics or reasoning_content; expected neither")
    known = {call.tool_call_id for call in step.tool_calls or []}
    parts = list(step.message) if isinstance(step.message, list) else []
    for result in step.observation.results if step.observation else []:
        if result.source_call_id is not None and result.source_call_id not in known:
            raise wrong(
                where, f"{at}.observation", f"source_call_id '{result.source_call_id[:60]}' is no call of the step"
            )
        parts += result.content if isinstance(result.content, list) else []
        for ref in result.subagent_trajectory_ref or []:
            if ref.trajectory_id is None and ref.trajectory_path is None:
                raise wrong(where, f"{at}.observation", "a subagent_trajectory_ref without trajectory_id or _path")
    for part in parts:
        if (part.type == "text") != (part.text is not None) or (part.type == "text") == (part.source is not None):
            raise wrong(where, at, f"a content part of type {part.type} with the wrong one of text and source")


def is_timestamp(text: str) -> bool:
    """Whether a text is a time in ISO 8601."""
    try:
        datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True
