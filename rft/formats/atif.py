"""ATIF, the Agent Trajectory Interchange Format, up to v1.8: both ways, and nothing is lost on either.

Each half of the translation says what both sides have fields for. What the other side has no field for is found by
translating back and looking for what differs: it is kept under `extra.rft` of a document, or under `extra["atif"]` of
a record, and put back on the way home.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

import rft
from rft.errors import RecipeError
from rft.formats.atif_schema import VERSIONS, check, is_timestamp
from rft.formats.documents import Document, converted
from rft.formats.messages import command_in
from rft.formats.trajectory import trajectory
from rft.transcript import commands_of, extend_rows
from rft.types import Message, Step, TokenRow, ToolCall, Trajectory

Json = dict[str, Any]
R = TypeVar("R", Message, Step, Trajectory)


def fits(value: Any) -> bool:
    """Whether a document says that it is ATIF."""
    return isinstance(value, dict) and str(value.get("schema_version", "")).startswith("ATIF-v")


def read(document: Document) -> Trajectory:
    """The attempt. Steps that were copied from elsewhere (`is_copied_context`), or that no model made, are context:
    they become messages, and are never learnt. Raises RecipeError where the document breaks ATIF's rules."""
    check(document.value, document.where)
    steps = [
        {key: value for key, value in step.items() if key != "step_id" and value is not None}
        for step in document.value["steps"]
    ]
    try:
        return _home({**document.value, "steps": steps}, _root_to, _root_from, "trajectory")
    except RecipeError as error:
        raise RecipeError(f"{document.where}: {error}") from None


def write(attempt: Trajectory) -> Json:
    """The document of an attempt. Raises RecipeError where it would not be valid ATIF."""
    document = _away(attempt, _root_to, _root_from)
    for number, step in enumerate(document["steps"], 1):
        step["step_id"] = number
    check(document, attempt.id)
    return document


def _away(record: R, to: Callable[[R], Json], back: Callable[[Json], R]) -> Json:
    """A record as a document, with what `back` would not restore under `extra.rft`."""
    kept: Json = record.extra.get("atif") or {}
    bare = replace(record, extra={key: value for key, value in record.extra.items() if key != "atif"})
    document = {key: value for key, value in {**to(bare), **kept}.items() if value is not None}
    lost = _differing(msgspec.to_builtins(bare), msgspec.to_builtins(back(document)))
    # a field that holds its default is no field of the encoded record
    fields = {name: getattr(bare, name) for name in lost if name in bare.__struct_fields__}
    if lost:
        document["extra"] = {**(document.get("extra") or {}), "rft": msgspec.json.decode(msgspec.json.encode(fields))}
    return document


def _home(document: Json, to: Callable[[R], Json], back: Callable[[Json], R], where: str) -> R:
    """A document as a record, with what `to` would not restore under `extra["atif"]`."""
    own = (document.get("extra") or {}).get("rft")
    plain = dict(document)
    if own is not None:
        plain["extra"] = {key: value for key, value in document["extra"].items() if key != "rft"} or None
    plain = {key: value for key, value in plain.items() if value is not None}
    record = back(plain)
    if own is not None:
        told = converted(own, dict, where, "extra.rft")
        record = converted({**msgspec.to_builtins(record), **told}, type(record), where, "extra.rft")
    again = to(record)
    missing = {key: value for key, value in plain.items() if again.get(key) != value}
    missing |= {key: None for key in again if key not in plain}
    return replace(record, extra=record.extra | {"atif": missing}) if missing else record


def _differing(one: Json, other: Json) -> Json:
    names = [*one, *(name for name in other if name not in one)]
    return {name: one.get(name) for name in names if one.get(name) != other.get(name)}


def _root_to(attempt: Trajectory) -> Json:
    steps = [_away(message, _message_to, _message_from) for message in attempt.prompt]
    places: dict[int, Json] = {}
    for step in attempt.steps:
        # the number and what is said afterwards follow from where the steps stand
        steps.append(_away(replace(step, index=1, after=[]), _step_to, _step_from))
        places[step.index] = steps[-1]
        steps += [_away(message, _message_to, _message_from) for message in step.after]
    _put_tokens(attempt.tokens, places)
    name, _, version = attempt.agent.rpartition(" ")
    return _said(
        schema_version=VERSIONS[-1],
        trajectory_id=attempt.id or None,
        agent=_said(
            name=name or attempt.agent or "rft",
            version=version if name else "unknown" if attempt.agent else rft.__version__,
            model_name=attempt.policy or None,
        ),
        # ATIF has at least one step
        steps=steps or [{"source": "system", "message": ""}],
        final_metrics=_said(
            total_prompt_tokens=sum(step.prompt_tokens for step in attempt.steps) or None,
            total_completion_tokens=sum(step.completion_tokens for step in attempt.steps) or None,
            total_cost_usd=attempt.cost,
            total_steps=len(steps) or 1,
        ),
    )


def _root_from(document: Json) -> Trajectory:
    prompt: list[Message] = []
    steps: list[Step] = []
    given, rows = _take_tokens(document["steps"])
    for number, step in enumerate(given):
        if _is_turn(step):
            made = _home(step, _step_to, _step_from, f"steps[{number}]")
            steps.append(replace(made, index=len(steps) + 1, after=[]))
        else:
            message = _home(step, _message_to, _message_from, f"steps[{number}]")
            (steps[-1].after if steps else prompt).append(message)
    agent, metrics = document["agent"], document.get("final_metrics") or {}
    return trajectory(
        id=document.get("trajectory_id") or "",
        prompt=prompt,
        steps=steps,
        tokens=rows,
        agent=f"{agent['name']} {agent['version']}",
        policy=agent.get("model_name") or "",
        cost=metrics.get("total_cost_usd"),
        extra={},
    )


def _is_turn(step: Json) -> bool:
    """Whether a model of this attempt made the step."""
    return step["source"] == "agent" and not step.get("is_copied_context") and step.get("llm_call_count") != 0


def _message_to(message: Message) -> Json:
    if message.role != "assistant":
        source = "system" if message.role in ("system", "developer") else "user"
        return {"source": source, "message": message.content}
    return _said(
        source="agent",
        message=message.content,
        reasoning_content=message.reasoning or None,
        tool_calls=_calls_to(message.tool_calls, 0) or None,
        is_copied_context=True,
    )


def _message_from(step: Json) -> Message:
    results = (step.get("observation") or {}).get("results", [])
    texts = [_text(step["message"]), *(_text(result.get("content")) for result in results)]
    return Message(
        role="assistant" if step["source"] == "agent" else step["source"],
        content="\n\n".join(text for text in texts if text),
        reasoning=step.get("reasoning_content") or "",
        tool_calls=[_call_from(call) for call in step.get("tool_calls") or []],
    )


def _step_to(step: Step) -> Json:
    calls = _calls_to(step.tool_calls, step.index)
    return _said(
        source="agent",
        message=step.reply,
        timestamp=step.timestamp if step.timestamp and is_timestamp(step.timestamp) else None,
        model_name=step.model or None,
        reasoning_content=step.reasoning or None,
        tool_calls=calls or None,
        observation=_observation_to(step, calls),
        metrics=_said(
            prompt_tokens=step.prompt_tokens or None,
            completion_tokens=step.completion_tokens or None,
            cost_usd=step.cost,
        )
        or None,
    )


def _step_from(document: Json) -> Step:
    calls = [_call_from(call) for call in document.get("tool_calls") or []]
    texts: list[str] = []
    for result in (document.get("observation") or {}).get("results", []):
        start = sum(map(len, texts)) + 2 * len(texts)
        texts.append(_text(result.get("content")))
        place = next(
            (n for n, c in enumerate(calls) if c.id == result.get("source_call_id") and c.result is None), None
        )
        if place is not None:
            calls[place] = replace(calls[place], result=(start, start + len(texts[-1])))
    metrics = document.get("metrics") or {}
    reply = _text(document["message"])
    return Step(
        index=1,
        reply=reply,
        reasoning=document.get("reasoning_content") or "",
        command=commands_of(calls) or command_in(reply),
        tool_calls=calls,
        observation="\n\n".join(texts),
        model=document.get("model_name") or "",
        timestamp=document.get("timestamp") or "",
        prompt_tokens=metrics.get("prompt_tokens") or 0,
        completion_tokens=metrics.get("completion_tokens") or 0,
        cost=metrics.get("cost_usd"),
    )


def _calls_to(calls: Sequence[ToolCall], index: int) -> list[Json]:
    return [
        _said(
            tool_call_id=call.id or f"call_{index}_{number}",
            function_name=call.name,
            arguments=call.arguments if isinstance(call.arguments, dict) else {"arguments": call.arguments},
            extra=call.extra or None,
        )
        for number, call in enumerate(calls, 1)
    ]


def _call_from(call: Json) -> ToolCall:
    return ToolCall(
        id=call["tool_call_id"],
        name=call["function_name"],
        arguments=call["arguments"],
        extra=call.get("extra") or {},
    )


def _observation_to(step: Step, calls: list[Json]) -> Json | None:
    spans = [
        (call.result, made["tool_call_id"]) for call, made in zip(step.tool_calls, calls, strict=True) if call.result
    ]
    results = [{"source_call_id": made, "content": step.observation[a:b]} for (a, b), made in sorted(spans)]
    if not results and step.observation:
        results = [{"content": step.observation}]
    return {"results": results} if results else None


def _text(content: Any) -> str:
    """A content's text, with a note in place of what is no text."""
    if isinstance(content, list):
        return "\n".join(part["text"] if part.get("text") is not None else f"[{part['type']}]" for part in content)
    return content or ""


def _put_tokens(rows: Sequence[TokenRow], places: dict[int, Json]) -> None:
    """The exact tokens of each turn, on its step."""
    for row in rows:
        before = 0
        for start, end, step in row.spans:
            if step in places:
                logprobs = row.logprobs[before : before + end - start] if row.logprobs is not None else None
                metrics = _said(
                    prompt_token_ids=row.ids[:start], completion_token_ids=row.ids[start:end], logprobs=logprobs
                )
                places[step]["metrics"] = {**places[step].get("metrics", {}), **metrics}
            before += end - start


def _take_tokens(steps: Sequence[Json]) -> tuple[list[Json], list[TokenRow]]:
    """The steps without their exact tokens, and these as rows; left where they are unless all of a turn's are there."""
    rows: list[TokenRow] = []
    turns = [number for number, step in enumerate(steps) if _is_turn(step)]
    having = [n for n in turns if _has_tokens(steps[n].get("metrics") or {})]
    if len({(steps[n]["metrics"].get("logprobs") is None) for n in having}) != 1:
        return list(steps), rows
    without = list(steps)
    for number in having:
        metrics = dict(steps[number]["metrics"])
        prompt, made = metrics.pop("prompt_token_ids"), metrics.pop("completion_token_ids")
        extend_rows(rows, prompt, made, metrics.pop("logprobs", None), turns.index(number) + 1)
        rest = {key: value for key, value in steps[number].items() if key != "metrics"}
        without[number] = {**rest, "metrics": metrics} if metrics else rest
    return without, rows


def _has_tokens(metrics: Json) -> bool:
    made, logprobs = metrics.get("completion_token_ids") or [], metrics.get("logprobs")
    return bool(metrics.get("prompt_token_ids") and made) and (logprobs is None or len(logprobs) == len(made))


def _said(**fields: Any) -> Json:
    """An object of the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
