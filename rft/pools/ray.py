"""Ray actors, spread over the nodes of a cluster, each with many items at once.

Items of an actor that dies, with its process or its node, or that keeps one longer than its lease, are owed again, and
no others.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from rft.pools.cluster import connected
from rft.pools.crew import Crew

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(kw_only=True)
class Ray:
    """Actors on this machine or on a cluster."""

    workers: int = 2
    """Actors, spread evenly over the nodes that have room; each makes one worker, and so one engine."""
    per_node: int | None = None
    """The most actors on one node, and so, times `concurrency`, the most sandboxes."""
    concurrency: int = 16
    """Items at once in each actor."""
    cpus: float = 1.0
    """Cores that an actor reserves, and threads that its engine uses."""
    gpus: float = 0.0
    """GPUs that an actor reserves."""
    memory: float = 0.0
    """GiB that an actor reserves on its node."""
    address: str | None = None
    """A running cluster (`auto`, `ray://…`); left out: RAY_ADDRESS, or a cluster of its own on this machine."""
    ship: bool = False
    """Send this folder (plug-ins, rubrics, data; not runs, wandb, .venv, .git, .env) to nodes that do not share it."""
    tries: int = 3
    """How often an item is tried when its actor dies, before its loss is recorded."""
    boot: float = 900.0
    """Seconds that an actor has to find its place and make its worker, and that a run waits for a node with room."""
    lease: float = 7200.0
    """Seconds after which an item is taken from an actor that has not finished it, and the actor replaced; more than
    the deadlines of its phases together."""
    watch: float = 60.0
    """Seconds without a result after which it is said who waits for what."""

    def __post_init__(self) -> None:
        least = min(self.workers, self.concurrency, self.tries, 1 if self.per_node is None else self.per_node)
        if least < 1:
            raise ValueError("workers, per_node, concurrency and tries must be at least 1")
        if min(self.cpus, self.gpus, self.memory) < 0:
            raise ValueError("cpus, gpus and memory must be at least 0")
        if min(self.boot, self.lease, self.watch) <= 0:
            raise ValueError("boot, lease and watch must be more than 0 seconds")

    def run(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        lost: Callable[[Item, str], Result],
    ) -> Iterator[Result]:
        """One result an item, in the order they finish. Raises StageError when no worker can be made."""
        with self.connected():
            crew = Crew(self, make_worker)
            try:
                yield from crew.work(iter(items), lost)
            finally:
                crew.dismiss()

    def connected(self) -> contextlib.AbstractContextManager[None]:
        """Join the cluster that is there, or bring one up on this machine and take it down again."""
        return connected(self.address, ship=self.ship, cores=math.ceil(self.workers * self.cpus))

    def room(self, resources: dict[str, float]) -> int:
        """How many actors a node of such resources may hold."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory * 2**30}
        fits = [int(resources.get(name, 0.0) / amount + 1e-9) for name, amount in wanted.items() if amount]
        return min([*fits, self.workers if self.per_node is None else self.per_node])
