"""A trajectory -> the exact tokens to learn from, and which of them the policy itself produced."""

from typing import Any

from rft.errors import StageError
from rft.inference.chat import Chat, Turn
from rft.transcript import turn, written_out
from rft.types import Example, TokenRow, Trajectory


def examples_of(trajectory: Trajectory, tokenizer: Any) -> list[Example]:
    """One example for each token row: the engine's own tokens, or derived from the messages where it gave none.

    Learnt is what the policy wrote, its end-of-turn tokens included; what it was shown never is.
    Raises StageError when nothing can be learnt from a row, or when the chat template rewrites earlier turns.
    """
    recorded = bool(trajectory.tokens)
    rows = trajectory.tokens if recorded else _rendered_rows(trajectory, tokenizer)
    empty = sum(not row.spans for row in rows)
    if empty:
        raise StageError(
            f"{trajectory.id}: {empty} of {len(rows)} token rows hold nothing that the policy produced; expected "
            "at least one reply in each. Drop the attempt by a rule of select, or collect it again."
        )
    for row in rows:
        _check_spans(trajectory.id, row)
        _check_logprobs(trajectory.id, row)
    return [
        Example(
            id=f"{trajectory.id}/{number}",
            trajectory_id=trajectory.id,
            task_id=trajectory.task_id,
            ids=row.ids,
            spans=[(start, end) for start, end, _ in row.spans],
            steps=[step for _, _, step in row.spans],
            logprobs=row.logprobs or [],
            provenance="recorded" if recorded else "rendered",
        )
        for number, row in enumerate(rows)
    ]


def _rendered_rows(trajectory: Trajectory, tokenizer: Any) -> list[TokenRow]:
    """The rows that the engine would have recorded, had every reply come as the tokens of its text.

    The engine's own `Chat` reads the conversation, turn by turn, so both tokenise in the same pieces. A step that was
    shown another conversation than the one carried on starts a row.
    """
    chat = Chat(tokenizer, trajectory.id)
    rows: list[TokenRow] = []
    messages = written_out(trajectory.prompt, trajectory.tools)
    last: Turn | None = None
    for step in trajectory.steps:
        if step.shown:
            messages, last = written_out(step.shown, step.tools), None
        rendered, ids = chat.prompt(messages, last)
        if last is not None:
            _check_prefix(trajectory.id, chat, last, rendered, ids)
        reply, *rest = written_out(turn(step))
        start = len(ids)
        ids = [*ids, *chat.encode(chat.mark(reply.content)), tokenizer.eos_token_id]
        spans = [*(rows.pop().spans if last is not None else []), (start, len(ids), step.index)]
        rows.append(TokenRow(ids=ids, spans=spans))
        last = Turn(
            rendered=rendered, messages=list(messages), ids=ids, text=reply.content, ended_by=tokenizer.eos_token
        )
        messages = [*messages, reply, *rest]
    return rows or [TokenRow(ids=chat.prompt(messages, None)[1], spans=[])]


def _check_prefix(identity: str, chat: Chat, last: Turn, rendered: str, ids: list[int]) -> None:
    """What is read for a reply begins with all that was read and written before it."""
    name = getattr(chat.tokenizer, "name_or_path", "") or "the tokenizer"
    if ids[: len(last.ids)] != last.ids:
        raise StageError(
            f"{identity}: the chat template of {name} rewrites earlier turns when one is added (templates that strip "
            "reasoning do), so the tokens learnt would not be the tokens read; expected each rendering to begin with "
            "the one before. Use a template that keeps earlier turns as they were."
        )
    follows = rendered[len(last.rendered) :]
    closing = min((token for token in chat.control if token in follows), key=follows.find, default="nothing")
    if closing != last.ended_by:
        raise StageError(
            f"{identity}: the chat template of {name} ends a reply with {closing}; expected the tokenizer's eos_token "
            f"{last.ended_by}, where generation stops. Set the one to the other."
        )


def _check_spans(identity: str, row: TokenRow) -> None:
    """Spans are in order, apart, not empty, and after the prompt."""
    end_before = 1
    for start, end, step in row.spans:
        if not end_before <= start < end <= len(row.ids):
            raise StageError(
                f"{identity}: step {step} claims tokens {start} to {end} of {len(row.ids)}; expected spans in order, "
                "apart and after the prompt. The record is damaged: collect the attempt again."
            )
        end_before = end


def _check_logprobs(identity: str, row: TokenRow) -> None:
    learnt = sum(end - start for start, end, _ in row.spans)
    if row.logprobs is not None and len(row.logprobs) != learnt:
        raise StageError(
            f"{identity}: {len(row.logprobs)} log-probabilities of {learnt} tokens that the policy produced; expected "
            "one for each. The record is damaged: collect the attempt again."
        )
