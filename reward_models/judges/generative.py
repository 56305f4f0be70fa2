"""What the judges that write text have in common: which calls are made, strict reading, asking again, votes."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from reward_models import verdicts
from reward_models.budget import Account, Price, estimated_tokens
from reward_models.cache import Keys, Usage
from reward_models.chat import Reply
from reward_models.errors import JudgeDown, RubricError
from reward_models.judges import prompts
from reward_models.judges.base import Judgement, Request
from reward_models.rubric import by_view
from reward_models.transcript import Rendered, render, windows
from reward_models.types import Criterion, Rubric, Transcript, Verdict

ANSWER_TOKENS = 80
"""What one answer with its reason and its quote comes to, for estimates."""
_REAL = ("", "judge", "citation")
"""Causes of verdicts that the judge gave; others are no answers and are not kept."""


class Part(NamedTuple):
    """A piece of a transcript as it is shown, and the questions that are asked about it."""

    number: int
    shown: Rendered
    questions: list[Criterion]
    keys: Keys


class Call(NamedTuple):
    """Questions that are asked together, about one part, for one vote."""

    part: Part
    vote: int
    questions: list[Criterion]


class Answered(NamedTuple):
    """What a call came to."""

    verdicts: dict[bytes, Verdict]
    usage: Usage
    failure: str = ""


@dataclass(kw_only=True)
class Generative:
    """What the judges that write text have in common.

    A judge of one's own says how it is asked (`ask`) and what its answers follow from (`identity`).
    """

    asks: int = 3
    """How often one answer is asked for until it can be read; the judge is told what was wrong."""
    per_call: int = 0
    """Questions asked together; those of one group stay together where they can. 0: all that have the same view."""
    long: Literal["cut", "windows"] = "cut"
    """A transcript that is too long is cut, or judged in parts whose verdicts are merged by polarity."""
    step_chars: int = 4_000
    """Longer parts of a step are cut in the middle."""
    transcript_chars: int = 120_000
    """A longer transcript is too long."""
    style: Literal["mark", "quote"] = "mark"
    """How what is judged is set off from what is said about it: between marks, or with a sign before each line."""
    deadline: float = 3_600.0
    """Seconds for one transcript; what is not answered by then counts as an outage."""
    max_tokens: int = field(default=0, init=False)
    """The most tokens of one reply."""
    account: Account = field(default_factory=Account, init=False, repr=False, compare=False)
    """What is known from before, and where costs are written down."""

    def __post_init__(self) -> None:
        for name, least in (("asks", 1), ("per_call", 0), ("step_chars", 200), ("transcript_chars", 1_000)):
            if getattr(self, name) < least:
                raise RubricError(f"{name} is {getattr(self, name)}; expected at least {least}")

    def ask(self, request: Request) -> Reply:
        """One reply to a chat. Raises JudgeDown."""
        raise NotImplementedError

    def identity(self) -> list[str]:
        """What the answers follow from, besides the prompts and how transcripts are shown."""
        raise NotImplementedError

    @property
    def tariff(self) -> Price:
        """What its tokens cost."""
        return Price(prompt=0.0, completion=0.0)

    def each(self, answer: Callable[[Call], Answered], calls: Sequence[Call]) -> Iterable[Answered]:
        """The answers to calls that do not wait for each other, in order."""
        return map(answer, calls)

    def digest(self) -> str:
        """A short content address of the judge: its model and sampling, its prompts, and how transcripts are shown."""
        shown = [self.asks, self.per_call, self.long, self.step_chars, self.transcript_chars, self.style]
        parts = [type(self).__name__, *self.identity(), *shown, prompts.digest()]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]

    def judge(
        self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], *, votes: int, first: int = 0
    ) -> Judgement:
        """Ask what is not known from before; parts are merged, and of several votes the majority stands.

        Raises CacheError when the account's file fails.
        """
        end = time.monotonic() + self.deadline
        judge, numbers = self.digest(), range(first, first + votes)
        parts = self._parts(transcript, rubric, questions, judge)
        keys = [part.keys.of(question, vote) for part in parts for question in part.questions for vote in numbers]
        answers = self.account.known(keys)
        judgement = Judgement(verdicts=[], cut=sum(part.shown.cut for part in parts), cached=len(answers))
        usage = Usage()
        for answered in self._answers(_calls(parts, numbers, self.per_call, answers), rubric, judge, end):
            answers |= answered.verdicts
            usage += answered.usage
            judgement.failure = judgement.failure or answered.failure
        judgement.calls, judgement.money = usage.calls, usage.money
        judgement.prompt_tokens, judgement.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        judgement.verdicts = [_concluded(question, parts, numbers, answers) for question in questions]
        return judgement

    def estimate(self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], votes: int) -> Usage:
        """About what judging a transcript takes when nothing is known from before and every reply can be read."""
        calls = _calls(self._parts(transcript, rubric, questions, ""), range(votes), self.per_call, {})
        prompt = sum(_tokens(prompts.first_messages(rubric, call.questions, call.part.shown)) for call in calls)
        completion = ANSWER_TOKENS * sum(len(call.questions) for call in calls)
        return Usage(
            calls=len(calls),
            prompt_tokens=prompt,
            completion_tokens=completion,
            money=self.tariff.of(prompt, completion),
        )

    def _parts(self, transcript: Transcript, rubric: Rubric, questions: Sequence[Criterion], judge: str) -> list[Part]:
        """What is shown, by view, each with the questions that want it."""
        parts: list[Part] = []
        for view, asked in by_view(rubric, questions).items():
            show = windows if self.long == "windows" else _whole
            pieces = show(
                transcript, view=view, step_chars=self.step_chars, chars=self.transcript_chars, style=self.style
            )
            parts += [
                Part(number, shown, asked, Keys(judge, rubric, shown.text))
                for number, shown in enumerate(pieces, len(parts))
            ]
        return parts

    def _answers(self, calls: Sequence[Call], rubric: Rubric, judge: str, end: float) -> Iterator[Answered]:
        """What calls come to. The first about each part goes ahead, so that a server that keeps what it has read need
        not read a part for each of the others."""
        seen: set[int] = set()
        ahead: list[Call] = []
        others: list[Call] = []
        for call in calls:
            (others if call.part.number in seen else ahead).append(call)
            seen.add(call.part.number)
        for wave in (ahead, others):
            yield from self.each(lambda call: self._answered(call, rubric, judge, end), wave)

    def _answered(self, call: Call, rubric: Rubric, judge: str, end: float) -> Answered:
        """One answer to each question; unknown when none could be read or the judge could not be asked."""
        keys = [call.part.keys.of(question, call.vote) for question in call.questions]
        messages = prompts.first_messages(rubric, call.questions, call.part.shown)
        usage = Usage()
        problem = ""
        try:
            for _ in range(self.asks):
                request = Request(messages=messages, questions=call.questions, vote=call.vote, deadline=end)
                with self.account.room(self._cost(_tokens(messages), self.max_tokens)):
                    reply = self.ask(request)
                    cost = self._cost(reply.prompt_tokens, reply.completion_tokens)
                    usage += cost
                    found, problem = _read(reply, call)
                    kept = {key: v for key, v in zip(keys, found, strict=False) if v.cause in _REAL}
                    self.account.book(judge, cost, kept, read=not problem)
                if not problem:
                    return Answered(dict(zip(keys, found, strict=True)), usage)
                messages = prompts.messages_again(messages, reply.text, problem, call.questions)
        except JudgeDown as error:
            found = verdicts.unknown(call.questions, f"the judge could not be asked: {error}", error.cause)
            return Answered(dict(zip(keys, found, strict=True)), usage, str(error))
        found = verdicts.unknown(call.questions, f"the judge's reply could not be read: {problem}", "unreadable")
        return Answered(dict(zip(keys, found, strict=True)), usage)

    def _cost(self, prompt: int, completion: int) -> Usage:
        money = self.tariff.of(prompt, completion)
        return Usage(calls=1, prompt_tokens=prompt, completion_tokens=completion, money=money)

    def __getstate__(self) -> dict[str, Any]:
        """Without the account, which belongs to a process."""
        return {key: value for key, value in self.__dict__.items() if key != "account"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "account": Account()}


def packs(questions: Sequence[Criterion], per_call: int) -> list[list[Criterion]]:
    """Questions in the lots that they are asked in, at most `per_call` each (0: no limit); a group is only divided
    when it is larger than a lot."""
    if not per_call:
        return [list(questions)] if questions else []
    groups: dict[tuple[str, str], list[Criterion]] = {}
    for question in questions:
        groups.setdefault(("group", question.group) if question.group else ("id", question.id), []).append(question)
    lots: list[list[Criterion]] = []
    for group in groups.values():
        if lots and len(lots[-1]) + len(group) <= per_call:
            lots[-1] += group
        else:
            lots += [group[start : start + per_call] for start in range(0, len(group), per_call)]
    return lots


def _calls(parts: Sequence[Part], votes: range, per_call: int, known: dict[bytes, Verdict]) -> list[Call]:
    """The calls that ask all that is not known."""
    return [
        Call(part, vote, lot)
        for part in parts
        for vote in votes
        for lot in packs([q for q in part.questions if part.keys.of(q, vote) not in known], per_call)
    ]


def _concluded(question: Criterion, parts: Sequence[Part], votes: range, answers: dict[bytes, Verdict]) -> Verdict:
    """The verdict on a question: the parts of each vote merged, then the majority."""
    asked = [part for part in parts if question in part.questions]
    ballots = []
    for vote in votes:
        found = [answers[part.keys.of(question, vote)] for part in asked]
        ballots.append(found[0] if len(found) == 1 else verdicts.merge(question, found))
    return verdicts.elect(question, ballots)


def _read(reply: Reply, call: Call) -> tuple[list[Verdict], str]:
    """The verdicts of a reply, or what is wrong with it."""
    try:
        return verdicts.parse(reply.text, call.questions, call.part.shown), ""
    except verdicts.UnreadableReply as error:
        return [], str(error)


def _whole(transcript: Transcript, **options: Any) -> list[Rendered]:
    return [render(transcript, **options)]


def _tokens(messages: prompts.Messages) -> int:
    return estimated_tokens([message["content"] for message in messages])
