"""A judge's reply becomes verdicts, strictly: what a reply does not state is not read into it."""

import json
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from reward_models.transcript import Rendered, neutral
from reward_models.types import Cause, Criterion, Verdict

MAX_REPLY = 1 << 20
"""Characters; a longer reply is refused."""
MAX_LABEL = 2_000
"""Characters of an answer in words."""
UNKNOWN = "unknown"
"""The answer to any question that the transcript cannot settle."""

_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL)
_ELISION = re.compile(r"\[?(?:\.\.\.|…)\]?")
_QUOTE_MARKS = "\"'`“”‘’«» "


class UnreadableReply(ValueError):
    """What is wrong with a reply, in words that help the judge to mend it."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    answer: str
    reason: str = ""
    steps: list[int] = []
    quote: str = ""


class _Reply(msgspec.Struct, forbid_unknown_fields=True):
    verdicts: list[_Line]


def answers(question: Criterion) -> list[str]:
    """The answers that a question may be given, besides UNKNOWN; empty for one that is answered in words."""
    return ["no", "yes"] if question.kind == "binary" else question.answers


def value_of(question: Criterion, answer: str) -> float | None:
    """What an answer is worth, in [0, 1]; None where it is a label and no more."""
    if question.kind == "binary":
        return float(answer == "yes")
    if question.kind == "ordered":
        return question.answers.index(answer) / (len(question.answers) - 1)
    return float(answer in question.met) if question.met else None


def schema(questions: Sequence[Criterion]) -> dict[str, Any]:
    """The JSON schema of a reply to these questions, for servers that hold a model to one.

    It keeps to what all of them know: every field is required, nothing else is allowed, and the reason comes before
    the answer. That each question is answered once is for `parse` to see.
    """
    entries = [_entry(question) for question in questions]
    return {
        "type": "object",
        "properties": {
            "verdicts": {
                "type": "array",
                "items": entries[0] if len(entries) == 1 else {"anyOf": entries},
                "minItems": len(entries),
                "maxItems": len(entries),
            }
        },
        "required": ["verdicts"],
        "additionalProperties": False,
    }


def parse(reply: str, questions: Sequence[Criterion], shown: Rendered) -> list[Verdict]:
    """One verdict for each question, in the questions' order.

    A reply is one JSON object and nothing else; a thought in front of it and a code fence around it are taken off.
    An answer is one of the question's own, letter by letter, or UNKNOWN. What is cited must be there: a verdict is
    unknown when it cites a step that was not shown, or quotes what does not stand in a step that it cites (compared
    without regard to white space; `...` may stand for what a quote leaves out). A quote without a step is looked up:
    the first step that holds it is cited; one that stands in the task, the final change or the follow-up cites none.
    Raises UnreadableReply, naming what is wrong.
    """
    asked = {question.id: question for question in questions}
    found: dict[str, _Line] = {}
    for line in _decode(reply).verdicts:
        if line.id not in asked:
            raise UnreadableReply(f"no question is called '{_told(line.id)}'; the questions are {', '.join(asked)}")
        if line.id in found:
            raise UnreadableReply(f"question '{line.id}' is answered twice")
        _refuse_other_answers(asked[line.id], line.answer)
        found[line.id] = line
    missing = [name for name in asked if name not in found]
    if missing:
        raise UnreadableReply(f"question '{missing[0]}' is not answered")
    return [_verdict(question, found[name], shown) for name, question in asked.items()]


def unknown(questions: Sequence[Criterion], why: str, cause: Cause) -> list[Verdict]:
    """Unknown verdicts on all questions, for one reason."""
    return [Verdict(criterion=question.id, value=None, why=why, cause=cause) for question in questions]


def elect(question: Criterion, votes: Sequence[Verdict]) -> Verdict:
    """One verdict from several answers to one question; a single one stands as it is.

    Unknown answers are not counted. Of values the median stands, which of yes and no is the majority; where the two
    middle ones differ the votes are tied. Of labels without a value the most frequent one stands. A tie is unknown.
    Free text is not voted on: the first one stands. Reason, steps and evidence are those of the first answer that
    agrees.
    """
    if len(votes) == 1:
        return votes[0]
    values = [vote.value for vote in votes]
    known = [vote for vote in votes if not vote.cause]
    if not known:
        return msgspec.structs.replace(votes[0], votes=values)
    if question.kind == "text":
        winners = known[:1]
    elif known[0].value is None:
        winners = _most_frequent(known)
    else:
        winners = _middle(known)
    if not winners:
        counts = ", ".join(f"{n} for {name}" for name, n in _counted(known).items())
        why = f"the votes are tied: {counts}"
        return Verdict(criterion=question.id, value=None, why=why, cause="tie", votes=values)
    return msgspec.structs.replace(winners[0], votes=values)


def merge(question: Criterion, parts: Sequence[Verdict]) -> Verdict:
    """One verdict on a whole transcript from the verdicts on its parts, in order.

    The highest value stands: a behaviour is there as soon as one part shows it. A discouraged one is absent only when
    every part says so; an encouraged one when one part says so and none shows it. Of a class without value the label
    must be the same wherever there is one; texts are joined. Steps are those of all parts that agree, reason and
    evidence the first one's.
    """
    known = [part for part in parts if not part.cause]
    if not known:
        return parts[0]
    if known[0].value is None:
        return _merged_labels(question, known)
    best = max(part.value for part in known if part.value is not None)
    unsure = [part for part in parts if part.cause]
    if best == 0.0 and unsure and question.polarity == "discourage":
        return unsure[0]
    return _joined([part for part in known if part.value == best])


def _merged_labels(question: Criterion, known: list[Verdict]) -> Verdict:
    labels = list(dict.fromkeys(part.label for part in known))
    if question.kind == "text":
        return msgspec.structs.replace(_joined(known), label=" ".join(labels)[:MAX_LABEL])
    if len(labels) > 1:
        why = f"parts of the transcript say different things: {', '.join(labels)}"
        return Verdict(criterion=question.id, value=None, why=why, cause="tie")
    return _joined(known)


def _joined(agreeing: list[Verdict]) -> Verdict:
    steps = sorted({step for part in agreeing for step in part.steps})
    return msgspec.structs.replace(agreeing[0], steps=steps)


def _middle(known: list[Verdict]) -> list[Verdict]:
    """The answers at the median of the values, none when it falls between two."""
    values = sorted(vote.value for vote in known if vote.value is not None)
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    return [vote for vote in known if vote.value == low] if low == high else []


def _most_frequent(known: list[Verdict]) -> list[Verdict]:
    """The answers with the most frequent label, none when two are equally frequent."""
    counts = _counted(known)
    most = [label for label, count in counts.items() if count == max(counts.values())]
    return [vote for vote in known if vote.label == most[0]] if len(most) == 1 else []


def _counted(known: list[Verdict]) -> dict[str, int]:
    names = [vote.label or ("yes" if vote.value else "no") for vote in known]
    return {name: names.count(name) for name in names}


def _entry(question: Criterion) -> dict[str, Any]:
    allowed = answers(question)
    answer: dict[str, Any] = {"type": "string", "enum": [*allowed, UNKNOWN]} if allowed else {"type": "string"}
    properties = {
        "id": {"type": "string", "enum": [question.id]},
        "reason": {"type": "string"},
        "steps": {"type": "array", "items": {"type": "integer"}},
        "quote": {"type": "string"},
        "answer": answer,
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _decode(reply: str) -> _Reply:
    if len(reply) > MAX_REPLY:
        raise UnreadableReply(f"the reply has {len(reply)} characters; expected a short JSON object")
    text = _without_thought(reply).strip()
    fenced = _FENCED.match(text)
    text = fenced[1] if fenced else text
    if not text:
        raise UnreadableReply("the reply is empty; expected a JSON object")
    try:
        tree = json.loads(text, strict=False, object_pairs_hook=_without_doubles, parse_constant=_no_number)
        return msgspec.convert(tree, _Reply)
    except (ValueError, RecursionError) as error:
        raise UnreadableReply(f"not the JSON object that was asked for: {_told(str(error), 300)}") from None


def _told(text: str, limit: int = 80) -> str:
    """A piece of a reply as part of one printable line."""
    return " ".join(neutral(text[:limit]).replace("`", "").split())


def _without_thought(reply: str) -> str:
    """The reply behind the model's thought; some servers leave out the tag that opens it."""
    thought, closed, rest = reply.partition("</think>")
    return rest if closed and not thought.lstrip().startswith(("{", "`")) else reply


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{twice[:80]}' stands twice in one object")
    return tree


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refuse_other_answers(question: Criterion, answer: str) -> None:
    allowed = [*answers(question), UNKNOWN]
    if question.kind == "text":
        if not answer.strip():
            raise UnreadableReply(f"question '{question.id}' has an empty answer; expected a few words")
    elif answer not in allowed:
        expected = ", ".join(f"'{one}'" for one in allowed)
        raise UnreadableReply(f"question '{question.id}' is answered '{_told(answer)}'; expected one of {expected}")


def _verdict(question: Criterion, line: _Line, shown: Rendered) -> Verdict:
    told = Verdict(
        criterion=question.id, value=None, why=neutral(line.reason)[:1000], evidence=neutral(line.quote)[:500]
    )
    if line.answer == UNKNOWN:
        steps = sorted(set(line.steps) & shown.shown.keys())
        return msgspec.structs.replace(told, cause="judge", steps=steps, why=told.why or "the judge cannot tell")
    steps, problem = _cited(line, shown)
    if problem:
        return msgspec.structs.replace(told, cause="citation", why=problem)
    return msgspec.structs.replace(
        told,
        value=value_of(question, line.answer),
        label="" if question.kind == "binary" else neutral(line.answer)[:MAX_LABEL],
        steps=steps,
    )


def _cited(line: _Line, shown: Rendered) -> tuple[list[int], str]:
    """The steps that a line rests on, and what is wrong with its citation."""
    steps = sorted(set(line.steps))[:50]
    absent = [step for step in line.steps if step not in shown.shown]
    if absent:
        return [], f"the judge cited step {absent[0]}, which it was not shown"
    if not line.quote.strip():
        return steps, ""
    if steps:
        held = any(_stands(line.quote, shown.shown[step]) for step in steps)
        return steps, "" if held else "the judge quoted what does not stand in a step that it cited"
    where = next((step for step, text in shown.shown.items() if _stands(line.quote, text)), None)
    if where is not None:
        return [where], ""
    return [], "" if _stands(line.quote, shown.rest) else "the judge quoted what stands nowhere in what it was shown"


def _stands(quote: str, text: str) -> bool:
    """Whether a quote is to be found in a text, as it is, without the marks around it, or piece by piece in order."""
    folded, text = _folded(quote), _folded(text)
    if any(piece in text for piece in (folded, folded.strip(_QUOTE_MARKS)) if piece):
        return True
    at = 0
    pieces = [piece.strip(_QUOTE_MARKS) for piece in _ELISION.split(folded)]
    for piece in filter(None, pieces):
        at = text.find(piece, at) + len(piece)
        if at < len(piece):
            return False
    return len(pieces) > 1 and any(pieces)


def _folded(text: str) -> str:
    """The text as it is compared: harmless, without the `| ` before its lines, white space folded."""
    return " ".join(re.sub(r"(?m)^[ \t]*\|[ \t]?", "", neutral(text)).split())
