"""Attempts as hypothesis draws them: anything that an import or the recorder may hold."""

from typing import Any

from hypothesis import strategies as st

from rft.transcript import commands_of, extend_rows
from rft.types import Message, Outcome, Step, StopReason, TokenRow, ToolCall, Trajectory

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORD = st.text("abcxyz_-", min_size=1, max_size=6)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORD, inner, max_size=2),
    max_leaves=4,
)
EXTRA = st.dictionaries(WORD, JSON, max_size=2)
TIMES = st.sampled_from(["", "2026-01-02T03:04:05Z", "2026-01-02", "yesterday"])
COST = st.none() | st.floats(0, 10, allow_nan=False)


@st.composite
def calls_and_observation(draw: Any) -> tuple[list[ToolCall], str]:
    calls, pieces = [], []
    for number in range(draw(st.integers(0, 3))):
        start = sum(map(len, pieces)) + 2 * len(pieces)
        result = draw(st.none() | TEXT)
        if result is not None:
            pieces.append(result)
        calls.append(
            ToolCall(
                id=f"c{number}",
                name=draw(WORD),
                arguments=draw(EXTRA | TEXT.filter(lambda text: text[:1] != "{")),
                result=None if result is None else (start, start + len(result)),
                extra=draw(EXTRA),
            )
        )
    return calls, "\n\n".join(pieces) if pieces else draw(TEXT)


@st.composite
def steps(draw: Any, index: int) -> Step:
    calls, observation = draw(calls_and_observation())
    return Step(
        index=index, reply=draw(TEXT), command=commands_of(calls) or draw(st.none() | WORD), observation=observation,
        exit_code=draw(st.none() | st.integers(0, 255)), timed_out=draw(st.booleans()), seconds=draw(st.floats(0, 9)),
        prompt_tokens=draw(st.integers(0, 9)), completion_tokens=draw(st.integers(0, 9)), reasoning=draw(TEXT),
        tool_calls=calls, after=draw(st.lists(messages(), max_size=2)), model=draw(TEXT), timestamp=draw(TIMES),
        cost=draw(COST), extra=draw(EXTRA), problem=draw(TEXT),
    )  # fmt: skip


def messages() -> st.SearchStrategy[Message]:
    return st.builds(
        Message, role=st.sampled_from(["system", "user", "assistant", "tool", "developer"]), content=TEXT,
        reasoning=TEXT, tool_call_id=TEXT, extra=EXTRA,
        tool_calls=st.lists(st.builds(ToolCall, id=TEXT, name=WORD, arguments=EXTRA), max_size=1),
    )  # fmt: skip


@st.composite
def rows(draw: Any, turns: int) -> list[TokenRow]:
    """What an engine reports: each prompt goes on from what came before, or breaks with it."""
    found: list[TokenRow] = []
    told = draw(st.booleans())
    for step in range(1, turns + 1):
        before = found[-1].ids if found and draw(st.booleans()) else []
        made = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))
        prompt = [*before, *draw(st.lists(st.integers(0, 9), min_size=1, max_size=3))]
        extend_rows(found, prompt, made, [-0.5] * len(made) if told else None, step)
    return found


@st.composite
def attempts(draw: Any) -> Trajectory:
    made = [draw(steps(index)) for index in range(1, draw(st.integers(0, 3)) + 1)]
    return Trajectory(
        id=draw(TEXT), task_id=draw(WORD), split="train", round=draw(st.integers(0, 3)), sample=draw(st.integers(0, 3)),
        seed=draw(st.integers(0, 9)), prompt=draw(st.lists(messages(), max_size=3)), steps=made,
        stop=draw(st.sampled_from(StopReason)), patch=draw(TEXT), policy=draw(TEXT), agent=draw(TEXT), cost=draw(COST),
        outcome=draw(st.none() | st.builds(Outcome, resolved=st.none() | st.booleans(), tampered=st.lists(WORD))),
        tokens=draw(rows(len(made)) if made else st.just([])), protected=draw(st.lists(WORD, max_size=2)),
        seconds=draw(st.floats(0, 9)), extra=draw(EXTRA),
    )  # fmt: skip
