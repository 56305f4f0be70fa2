"""OpenHands: event logs of the SDK (a file or a folder), evaluation rows with a history, logs of single model calls."""

from typing import Any

from msgspec.structs import replace

from rft.formats.documents import Document, Fields
from rft.formats.messages import attempt_of, read_messages
from rft.formats.trajectory import outcome_of, patch_of, stop_of, trajectory
from rft.types import Message, Step, StopReason, Trajectory

Told = dict[str, Any]


def fits(value: Any) -> bool:
    """Whether a document looks like a log of OpenHands."""
    if isinstance(value, dict):
        call = isinstance(value.get("messages"), list) and isinstance(value.get("response"), dict)
        events = value.get("events") or value.get("history")
        return call or (isinstance(events, list) and bool(events) and is_event(events[0]))
    return isinstance(value, list) and bool(value) and is_event(value[0])


def is_event(value: Any) -> bool:
    """Whether a value is one event of a log, of the SDK or of the versions before it."""
    if not isinstance(value, dict) or "id" not in value or "source" not in value:
        return False
    return "kind" in value or "action" in value or "observation" in value


def read(document: Document) -> Trajectory:
    """The attempt. Raises RecipeError."""
    if isinstance(document.value, dict) and "response" in document.value:
        return _model_call(document)
    row = Fields({"events": document.value} if isinstance(document.value, list) else document.value, document.where)
    name = "events" if row.has("events") else "history"
    log = _Log(document.where)
    for number, event in enumerate(row.items(name)):
        log.take(Fields(event, document.where, f"{name}[{number}]"))
    prompt, steps = attempt_of(log.messages)
    result = row.inner("test_result")
    patch, note = patch_of(result.first(("git_patch", "model_patch"), str, ""))
    resolved = result.inner("report").pop_bool("resolved") if result.has("report") else None
    state = row.inner("base_state")
    error = row.text("error")
    kept = row.rest() | ({"test_result": result.rest()} if result.rest() else {})
    return trajectory(
        prompt=prompt,
        steps=[_step(step, log.told) for step in steps],
        id=row.text("attempt_id") or state.text("id"),
        task_id=row.text("instance_id"),
        stop=StopReason.SUBMITTED if log.finished else stop_of(error) if error else StopReason.UNKNOWN,
        patch=patch,
        outcome=outcome_of(resolved),
        policy=log.model or state.inner("agent").inner("llm").text("model"),
        agent="OpenHands",
        cost=log.cost,
        extra=kept | note | ({"error": error} if error else {}) | log.rest(),
    )


class _Log:
    """Events, read one by one into messages; what is no message is kept."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.messages: list[Message] = []
        self.told: dict[str, Told] = {}
        """Call id to what the events tell of it beside its message."""
        self.finished = False
        self.model = ""
        self.cost: float | None = None
        self.others: list[Told] = []
        self._response = ""
        self._stats: Told = {}

    def rest(self) -> Told:
        """Events that are neither said nor done, and the last statistics."""
        return ({"events": self.others} if self.others else {}) | ({"stats": self._stats} if self._stats else {})

    def take(self, event: Fields) -> None:
        """One more event."""
        sort = event.text("kind")
        if sort == "ActionEvent":
            self._act(event)
        elif sort == "MessageEvent":
            self._say(event)
        elif sort == "SystemPromptEvent":
            self.add({"role": "system", "content": [event.pop("system_prompt")]}, event)
        elif event.has("tool_call_id") and event.has("tool_name"):
            self._observe(event)
        elif sort == "ConversationStateUpdateEvent" and event.text("key") == "stats":
            self._count(event)
        elif not sort:
            _take_older(self, event)
        else:
            event.put_back("kind", sort)
            self.others.append(event.rest())

    def add(self, message: Told, event: Fields) -> None:
        """One more message."""
        self.messages += read_messages([message], self.where, event.path or "event")
        self._response = ""

    def _act(self, event: Fields) -> None:
        call, name, identity = event.inner("tool_call"), event.text("tool_name"), event.text("tool_call_id")
        action = event.pop("action")
        given = call.pop("arguments")
        arguments = given if given is not None else action
        said = {
            "role": "assistant",
            "content": event.items("thought"),
            "reasoning_content": event.text("reasoning_content"),
            "tool_calls": [{"id": identity, "function": {"name": name or call.text("name"), "arguments": arguments}}],
            "timestamp": event.text("timestamp"),
        }
        response = event.text("llm_response_id")
        self.told[identity] = {"seen_as": action, **event.rest()}
        joins = bool(response) and response == self._response and self.messages[-1].role == "assistant"
        self.add(said, event)
        self._response = response
        if joins:  # calls that one reply made come one event each
            added = self.messages.pop()
            first = self.messages[-1]
            text = "\n".join(part for part in (first.content, added.content) if part)
            self.messages[-1] = replace(first, content=text, tool_calls=[*first.tool_calls, *added.tool_calls])
        self.finished = self.finished or name in ("finish", "submit")

    def _say(self, event: Fields) -> None:
        message = event.inner("llm_message")
        said = {**message.rest(), "role": message.text("role") or event.text("source") or "user"}
        said["timestamp"] = event.text("timestamp")
        self.add(said, event)

    def _observe(self, event: Fields) -> None:
        identity = event.text("tool_call_id")
        seen = event.inner("observation") if isinstance(event.peek("observation"), dict) else None
        content = seen.pop("content") if seen else event.first(("error", "rejection_reason", "observation"), str, "")
        told = {"observed": seen.rest() if seen else {}, **event.rest()}
        self._response = ""
        self.messages += read_messages(
            [{"role": "tool", "tool_call_id": identity, "content": content, "extra": told}], self.where, event.path
        )

    def _count(self, event: Fields) -> None:
        """The newest statistics count for all before."""
        stats = event.inner("value")
        self._stats = stats.rest()
        used = [
            stats_of
            for name, value in stats.inner("usage_to_metrics").rest().items()
            for stats_of in [Fields(value, self.where, name)]
        ]
        self.cost = sum(one.pop_float("accumulated_cost") or 0.0 for one in used)
        self.model = next((one.text("model_name") for one in used), "")


def _take_older(log: _Log, event: Fields) -> None:
    """An event of OpenHands before the SDK: `action` with `args`, or `observation` with `content`."""
    action, seen = event.text("action"), event.text("observation")
    args, call = event.inner("args"), event.inner("tool_call_metadata")
    source = event.text("source")
    identity = call.text("tool_call_id")
    if action in ("message", "system"):
        role = "system" if action == "system" else "assistant" if source == "agent" else "user"
        log.add({"role": role, "content": args.take("content", str, "")}, event)
    elif action and source == "agent":
        name = call.text("function_name") or action
        thought = args.text("thought")
        log.finished = log.finished or action == "finish"
        calls = [{"id": identity, "function": {"name": name, "arguments": args.rest()}}]
        log.add({"role": "assistant", "content": thought, "tool_calls": calls}, event)
        log.told[identity] = event.rest()
    elif seen and log.messages:
        said = {"role": "tool", "tool_call_id": identity, "content": event.text("content"), "extra": event.rest()}
        log.add(said, event)
    else:
        event.put_back("action", action)
        event.put_back("args", args.rest())
        log.others.append(event.rest())


def _step(step: Step, told: dict[str, Told]) -> Step:
    """The step with what the events tell of it."""
    facts = {call.id: told[call.id] for call in step.tool_calls if told.get(call.id)}
    results = [_inner(call.extra.get("result"), "extra") for call in step.tool_calls]
    observed = _inner(results[-1], "observed") or _inner(results[-1], "extras") if results else {}
    code = observed.get("exit_code")
    code = _inner(observed, "metadata").get("exit_code") if code is None else code
    timestamp = step.extra.get("timestamp")
    return replace(
        step,
        # -1 stands for a command that still runs, or was never begun
        exit_code=code if isinstance(code, int) and code >= 0 else step.exit_code if code is None else None,
        timed_out=observed.get("timeout") is True,
        timestamp=timestamp if isinstance(timestamp, str) else "",
        extra={k: v for k, v in step.extra.items() if k != "timestamp"} | ({"calls": facts} if facts else {}),
    )


def _inner(value: Any, name: str) -> Told:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _model_call(document: Document) -> Trajectory:
    """A log of one model call: the conversation up to it, and the reply."""
    row = Fields(document.value, document.where)
    response = row.inner("response")
    replies = [Fields(choice, document.where, "response.choices") for choice in response.items("choices")[:1]]
    said = [reply.pop("message") for reply in replies]
    prompt, steps = attempt_of(read_messages([*row.items("messages"), *said], document.where))
    finish = [call.name for step in steps[-1:] for call in step.tool_calls]
    kept = {name: value for name in ("tools", "kwargs") for value in [row.pop(name)] if value}
    return trajectory(
        prompt=prompt,
        steps=steps,
        stop=StopReason.SUBMITTED if "finish" in finish else StopReason.UNKNOWN,
        policy=response.text("model"),
        agent="OpenHands",
        extra=row.rest() | {"response": response.rest()} | kept,
    )
