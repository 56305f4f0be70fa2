"""Threads of this process: for engines that batch, and for commands that wait."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from rft.pools import at_work

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(kw_only=True)
class Threads:
    """Many at once in one process, with one engine between them."""

    concurrency: int = 8
    """How many run at once."""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}; expected at least 1")

    def run(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        lost: Callable[[Item, str], Result],
    ) -> Iterator[Result]:
        """One result an item, in the order they finish; no more than `concurrency` items are taken ahead."""
        running: set[Future[Result]] = set()
        with (
            at_work(make_worker()) as worker,
            ThreadPoolExecutor(self.concurrency, thread_name_prefix="attempt") as executor,
        ):
            for item in items:
                running.add(executor.submit(worker, item))
                if len(running) >= self.concurrency:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
