"""One after the other, in this process."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rft.pools import at_work

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(kw_only=True)
class Serial:
    """One after the other: the slowest and the easiest to debug."""

    def run(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        lost: Callable[[Item, str], Result],
    ) -> Iterator[Result]:
        """One result an item, in order."""
        with at_work(make_worker()) as worker:
            for item in items:
                yield worker(item)
