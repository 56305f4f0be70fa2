"""Threads of this process: for engines that batch, and for commands that wait."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from rft.interfaces import Doing
from rft.pools import at_work
from rft.pools.watch import Watch, doing

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(kw_only=True)
class Threads:
    """Many at once in one process, with one engine between them."""

    concurrency: int = 8
    """How many run at once."""
    watch: float = 60.0
    """Seconds without a result after which it is said who waits for what."""

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}; expected at least 1")
        if self.watch <= 0:
            raise ValueError(f"watch is {self.watch}; expected more than 0 seconds")

    def run(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        lost: Callable[[Item, str], Result],
    ) -> Iterator[Result]:
        """One result an item, in the order they finish; no more than `concurrency` items are taken ahead."""
        running: set[Future[Result]] = set()
        watch = Watch(self.watch)
        with (
            ThreadPoolExecutor(self.concurrency, thread_name_prefix="attempt") as executor,
            # closed first: who stops in the middle does not wait till attempts that wait for the engine are over
            at_work(make_worker()) as worker,
        ):

            def report() -> Iterator[tuple[str, Doing]]:
                return (("", one) for one in doing(worker))

            def finished() -> Iterator[Result]:
                done, left = wait(running, timeout=self.watch, return_when=FIRST_COMPLETED)
                running.intersection_update(left)
                for future in done:
                    watch.finished()
                    yield future.result()
                watch.look(report)

            for item in items:
                running.add(executor.submit(worker, item))
                while len(running) >= self.concurrency:
                    yield from finished()
            while running:
                yield from finished()
