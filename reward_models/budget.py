"""What judging costs: prices, a cap on it, and the account that holds both against the calls of a run."""

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from reward_models.cache import Cache, Usage
from reward_models.errors import BudgetSpent, JudgeDown, RubricError
from reward_models.types import Verdict

BYTES_A_TOKEN = 3
"""Fewer than English or code have (about 4), so that estimates err on the dear side."""


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money for a million tokens, in any currency."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


def as_price(given: Mapping[str, float] | None) -> Price:
    """A price from `{prompt: …, completion: …}`; none is free. Raises RubricError."""
    try:
        found = msgspec.convert(given, Price) if given is not None else Price(prompt=0.0, completion=0.0)
    except msgspec.ValidationError as error:
        raise RubricError(
            f"price: {error}; expected {{prompt: …, completion: …}}, money for a million tokens"
        ) from None
    if not all(math.isfinite(value) and value >= 0 for value in (found.prompt, found.completion)):
        raise RubricError("price: expected 0 or more for a million tokens")
    return found


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The most that a run's judge may cost; None is no limit."""

    money: float | None = None
    tokens: int | None = None

    def broken_by(self, usage: Usage) -> str:
        """The name of the limit that so much would break, else an empty string."""
        if self.tokens is not None and usage.tokens > self.tokens:
            return "tokens"
        return "money" if self.money is not None and usage.money > self.money else ""


class Account:
    """What a run's judge knows from before and what it has cost; shared by the threads that ask.

    Without a cache nothing is known and nothing outlives the process. Every call is written down with its cost before
    its place in the budget is given up, so what stands in the file plus what is under way never passes the budget by
    more than the estimates of the calls under way were too low.
    """

    def __init__(self, cache: Cache | None = None, *, run: str = "", budget: Budget | None = None) -> None:
        self.cache = cache
        self.run = run
        self.budget = budget or Budget()
        self._changed = threading.Condition()
        self._spent: Usage | None = None
        self._held = Usage()
        self._stopped = False

    def stop(self) -> None:
        """Let no further call begin; those under way are still written down."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def known(self, keys: Sequence[bytes]) -> dict[bytes, Verdict]:
        """The verdicts that are known from before. Raises CacheError."""
        return self.cache.get(keys) if self.cache is not None else {}

    @property
    def spent(self) -> Usage:
        """What the run's calls cost so far, those of earlier processes included. Raises CacheError."""
        with self._changed:
            return self._so_far()

    @contextlib.contextmanager
    def room(self, estimate: Usage) -> Iterator[None]:
        """A place in the budget for a call that may cost so much; waits while calls under way may still leave room.

        Raises BudgetSpent when there is none, JudgeDown after `stop`, CacheError.
        """
        with self._changed:
            while broken := self.budget.broken_by(self._so_far() + self._held + estimate):
                if self._stopped or not self._held.calls:
                    break
                self._changed.wait()
            if self._stopped:
                raise JudgeDown("judging was stopped")
            if broken:
                raise BudgetSpent(self._spent_out(broken, estimate))
            self._held += estimate
        try:
            yield
        finally:
            with self._changed:
                held = self._held - estimate
                self._held = held if held.calls else Usage()  # fractions of money do not add up to nothing
                self._changed.notify_all()

    def book(self, judge: str, usage: Usage, verdicts: Mapping[bytes, Verdict], *, read: bool) -> None:
        """Write down a call: its cost, whether its reply could be read, and the verdicts worth keeping.

        Raises CacheError.
        """
        with self._changed:
            self._spent = self._so_far() + usage
        if self.cache is not None:
            self.cache.put(judge, verdicts, usage, run=self.run, read=read)

    def _so_far(self) -> Usage:
        if self._spent is None:
            self._spent = self.cache.spent(self.run) if self.cache is not None else Usage()
        return self._spent

    def _spent_out(self, limit: str, estimate: Usage) -> str:
        spent = self._so_far()
        if limit == "money":
            so_far, cap, next_ = f"{spent.money:.4g}", f"{self.budget.money:g} in money", f"{estimate.money:.2g}"
        else:
            so_far, cap, next_ = f"{spent.tokens}", f"{self.budget.tokens} tokens", f"{estimate.tokens}"
        return f"another call may cost {next_}, with {so_far} of {cap} spent"


def estimated_tokens(texts: Sequence[str]) -> int:
    """About how many tokens texts have, rather too many."""
    return sum(len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN + 1 for text in texts)
