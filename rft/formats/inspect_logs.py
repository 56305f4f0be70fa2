"""Inspect logs, `.json` and `.eval`: an attempt for each sample, its messages, scores and cost."""

import re
from typing import Any

from msgspec.structs import replace

from rft.formats.documents import LIMIT, Document, Fields, too_large, wrong
from rft.formats.messages import attempt_of, read_messages
from rft.formats.trajectory import outcome_of, patch_of, stop_of, trajectory
from rft.types import Failure, Step, StopReason, Trajectory

REPEATED = ("events", "events_data", "store", "attachments", "timelines")
"""Parts of a sample that repeat what its messages say."""
_ATTACHMENT = re.compile(r"attachment://([0-9a-fA-F]{8,64})")


def fits(value: Any) -> bool:
    """Whether a document looks like an Inspect log."""
    return isinstance(value, dict) and isinstance(value.get("eval"), dict) and "samples" in value


def parts(document: Document) -> list[Document]:
    """A log with one sample each; one without any as it is, to be refused by `read`."""
    head = {k: v for k, v in document.value.items() if k not in ("samples", "reductions")}
    samples = Fields(document.value, document.where).items("samples")
    if len(samples) < 2:
        return [document]
    return [
        Document({**head, "samples": [sample]}, f"{document.where}, samples[{number}]", document.path)
        for number, sample in enumerate(samples)
    ]


def read(document: Document) -> Trajectory:
    """The attempt of a log's one sample.

    Events and the store repeat what the messages say, and are left out and counted under `left_out`. A score of C, 1 or
    true is a resolved outcome, of I, 0 or false one that is not; any other is unknown and kept. Raises RecipeError.
    """
    log = Fields(document.value, document.where)
    head = log.inner("eval")
    sample = Fields(_with_attachments(_only(log), document.where), document.where, "sample")
    values = sample.items("messages")
    prompt, steps = attempt_of(read_messages([_known(v) for v in values], document.where, "sample.messages"))
    steps = [_step(step) for step in steps]
    output = sample.inner("output")
    scores = sample.inner("scores").rest()
    limit = sample.inner("limit")
    error = sample.inner("error")
    metadata = sample.inner("metadata")
    left_out = {name: _size(sample.pop(name)) for name in REPEATED}
    patch, note = patch_of(metadata.first(("model_patch", "patch_submitted"), str, ""))
    epoch = sample.pop_int("epoch") or 1
    kept = {
        "scores": scores,
        "metadata": metadata.rest(),
        "output": {key: value for key, value in output.rest().items() if key != "choices"},
        "limit": limit.rest(),
        "eval": head.rest(),
        "epoch": epoch,
        "left_out": {name: count for name, count in left_out.items() if count},
    }
    message, task = error.text("message"), head.text("task")
    return trajectory(
        prompt=prompt,
        steps=steps,
        task_id=f"{task}/{sample.text('id')}".strip("/"),
        stop=_stop(limit.text("type"), error=bool(message), finished=bool(steps)),
        patch=patch,
        outcome=outcome_of(_resolved(scores)),
        failure=Failure(where="agent", message=message[:2000]) if message else None,
        policy=head.text("model"),
        agent=f"inspect {task}".strip(),
        extra=sample.rest() | note | {key: value for key, value in kept.items() if value},
    )


def _only(log: Fields) -> Any:
    samples = log.items("samples")
    if len(samples) != 1:
        raise wrong(log.where, "samples", f"{len(samples)} of them; expected one")
    return samples[0]


def _size(value: Any) -> int:
    return len(value) if isinstance(value, dict | list) else 0


def _known(value: Any) -> Any:
    """A message whose tool calls are named by `function`; its error, of a tool, is part of what came back."""
    if not isinstance(value, dict) or not isinstance(value.get("error"), dict):
        return value
    said = value["error"].get("message")
    content = value.get("content")
    return {**value, "content": said} if isinstance(said, str) and not content else value


def _with_attachments(sample: Any, where: str) -> Any:
    """The sample with the long texts back in place that the log keeps apart under their digests."""
    attachments = sample.get("attachments") if isinstance(sample, dict) else None
    if not isinstance(attachments, dict) or not attachments:
        return sample

    room = [LIMIT]

    def one(match: re.Match[str]) -> str:
        found = attachments.get(match[1])
        text = found if isinstance(found, str) else match[0]
        room[0] -= len(text)
        if room[0] < 0:
            raise too_large(where)
        return text

    def put(value: Any) -> Any:
        if isinstance(value, str):
            return _ATTACHMENT.sub(one, value)
        if isinstance(value, list):
            return [put(item) for item in value]
        return {key: put(item) for key, item in value.items()} if isinstance(value, dict) else value

    return {key: put(value) if key in ("messages", "input", "output") else value for key, value in sample.items()}


def _resolved(scores: dict[str, Any]) -> bool | None:
    """What the scores say when they agree."""
    said = {_verdict(score.get("value") if isinstance(score, dict) else score) for score in scores.values()}
    return said.pop() if len(said) == 1 else None


def _verdict(value: Any) -> bool | None:
    if value in ("C", "I"):
        return bool(value == "C")
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def _stop(limit: str, *, error: bool, finished: bool) -> StopReason:
    if error or not finished:
        return StopReason.ERROR if error else StopReason.UNKNOWN
    return stop_of(limit) if limit else StopReason.SUBMITTED


def _step(step: Step) -> Step:
    """The step with the model's name and its call's result's error."""
    model = step.extra.get("model")
    named = model if isinstance(model, str) else ""
    extra = {key: value for key, value in step.extra.items() if key != "model" or not named}
    return replace(step, model=named, extra=extra)
