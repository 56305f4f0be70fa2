"""A judge's reply becomes verdicts, strictly: what a reply does not state is not read into it."""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from reward_models.types import Criterion, Verdict

MAX_REPLY = 1 << 20
"""Characters; a longer reply is refused."""

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL)
_VALUES: dict[str, float | None] = {"yes": 1.0, "no": 0.0, "unknown": None}


class UnreadableReply(ValueError):
    """What is wrong with a reply, in words that help the judge to mend it."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    answer: Literal["yes", "no", "unknown"]
    reason: str = ""
    steps: list[int] = []
    quote: str = ""


class _Reply(msgspec.Struct, forbid_unknown_fields=True):
    verdicts: list[_Line]


def parse(reply: str, questions: Sequence[Criterion], *, steps: Sequence[int]) -> list[Verdict]:
    """One verdict for each question, in the questions' order.

    A reply is one JSON object and nothing else; a thought in front of it and a code fence around it are taken off.
    A verdict that cites a step that is not in `steps` (those that the judge was shown) is unknown, for that reason.
    Raises UnreadableReply, naming what is wrong.
    """
    lines = _decode(reply).verdicts
    found: dict[str, _Line] = {}
    asked = [question.id for question in questions]
    for line in lines:
        if line.id not in asked:
            raise UnreadableReply(f"no question is called {line.id[:80]!r}; the questions are {', '.join(asked)}")
        if line.id in found:
            raise UnreadableReply(f"question {line.id!r} is answered twice")
        found[line.id] = line
    missing = [name for name in asked if name not in found]
    if missing:
        raise UnreadableReply(f"question {missing[0]!r} is not answered")
    return [_verdict(found[name], steps) for name in asked]


def unknown(questions: Sequence[Criterion], why: str) -> list[Verdict]:
    """Unknown verdicts on all questions, for one reason."""
    return [Verdict(criterion=question.id, value=None, why=why) for question in questions]


def majority(ballots: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """One verdict for each question from several answers to all of them, given in the same order.

    The value with more answers stands, unknown answers not counted; a tie is unknown. Reason, steps and evidence are
    those of the first answer that agrees.
    """
    if len(ballots) == 1:
        return list(ballots[0])
    return [_elect(answers) for answers in zip(*ballots, strict=True)]


def _elect(answers: Sequence[Verdict]) -> Verdict:
    votes = [answer.value for answer in answers]
    met, unmet = votes.count(1.0), votes.count(0.0)
    if met == unmet:
        why = f"the votes are tied, {met} to {unmet}" if met else answers[0].why or "every answer was unknown"
        return Verdict(criterion=answers[0].criterion, value=None, why=why, votes=votes)
    winner = next(answer for answer in answers if answer.value == float(met > unmet))
    return msgspec.structs.replace(winner, votes=votes)


def _decode(reply: str) -> _Reply:
    if len(reply) > MAX_REPLY:
        raise UnreadableReply(f"the reply has {len(reply)} characters; expected a short JSON object")
    text = _THOUGHT.sub("", reply, count=1).strip()
    fenced = _FENCED.match(text)
    text = fenced[1] if fenced else text
    if not text:
        raise UnreadableReply("the reply is empty; expected a JSON object")
    try:
        return msgspec.json.decode(text.encode("utf-8", "replace"), type=_Reply)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableReply(f"not the JSON object that was asked for: {str(error).replace('`', '')}") from None


def _verdict(line: _Line, steps: Sequence[int]) -> Verdict:
    absent = [step for step in line.steps if step not in steps]
    if absent:
        why = f"the judge cited step {absent[0]}, which it was not shown"
        return Verdict(criterion=line.id, value=None, why=why)
    return Verdict(
        criterion=line.id,
        value=_VALUES[line.answer],
        steps=sorted(set(line.steps))[:50],
        evidence=line.quote[:500],
        why=line.reason[:1000],
    )
