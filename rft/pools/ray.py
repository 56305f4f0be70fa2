"""Ray actors, each with many items at once. A dead actor's items are owed again, and no others."""

import contextlib
import math
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rft.errors import StageError
from rft.progress import say

Item = TypeVar("Item")
Result = TypeVar("Result")

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # libgomp's idle threads spin and starve the neighbouring actors.
    "OMP_WAIT_POLICY": "PASSIVE",
}


@dataclass(kw_only=True)
class Ray:
    """Actors on this machine or on a cluster."""

    workers: int = 2
    """Actors; each makes one worker, and so one engine."""
    concurrency: int = 16
    """Items at once in each actor."""
    cpus: float = 1.0
    """Cores that an actor reserves, and threads that its engine uses."""
    gpus: float = 0.0
    """GPUs that an actor reserves."""
    address: str | None = None
    """A running cluster (`auto`, `ray://…`); left out: RAY_ADDRESS, or a cluster of its own on this machine."""
    tries: int = 3
    """How often an item is tried when its actor dies, before its loss is recorded."""

    def __post_init__(self) -> None:
        if min(self.workers, self.concurrency, self.tries) < 1:
            raise ValueError("workers, concurrency and tries must be at least 1")

    def run(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        lost: Callable[[Item, str], Result],
    ) -> Iterator[Result]:
        """One result an item, in the order they finish. Raises StageError when no worker can be made."""
        with self.connected():
            crew = _Crew(self, make_worker)
            try:
                yield from crew.work(iter(items), lost)
            finally:
                crew.dismiss()

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Join the cluster that is there, or bring one up on this machine and take it down again."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        import ray

        if ray.is_initialized():
            yield
            return
        # What can be imported here can be imported there: plug-ins of the user's folder above all.
        path = os.pathsep.join([str(Path.cwd()), *(entry for entry in sys.path if entry)])
        shared = self.address or os.environ.get("RAY_ADDRESS")
        settings = {"runtime_env": {"env_vars": {"PYTHONPATH": path}}} if shared else self._own_cluster(path)
        ray.init(address=shared or "local", log_to_driver=False, logging_level="ERROR", **settings)
        try:
            yield
        finally:
            ray.shutdown()

    def _own_cluster(self, path: str) -> dict[str, Any]:
        """Workers inherit the environment, which spares the start of an agent process for it."""
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        os.environ["PYTHONPATH"] = path
        # More logical cores than there are, where the recipe asks for more actors than the machine has cores.
        cores = max(os.cpu_count() or 1, math.ceil(self.workers * self.cpus))
        return {"num_cpus": cores, "include_dashboard": False}


@dataclass
class _Flight:
    """An item in an actor's hands."""

    item: Any
    tries: int
    actor: int


@dataclass
class _Crew:
    """The actors of one run and who has what."""

    pool: Ray
    make_worker: Callable[[], Any]
    actors: dict[int, Any] = field(default_factory=dict)
    flights: dict[Any, _Flight] = field(default_factory=dict)
    owed: deque[tuple[Any, int]] = field(default_factory=deque)
    hired: int = 0

    def work(self, items: Iterator[Any], lost: Callable[[Any, str], Any]) -> Iterator[Any]:
        """Keep every actor busy until nothing is owed."""
        import ray
        from ray.exceptions import RayActorError

        for _ in range(self.pool.workers):
            self._hire()
        self._await_all()
        while self._hand_out(items) or self.flights:
            ready, _ = ray.wait(list(self.flights), num_returns=1)
            for reference in ready:
                flight = self.flights.pop(reference)
                try:
                    yield ray.get(reference)
                except RayActorError as error:
                    if flight.tries >= self.pool.tries:
                        yield lost(flight.item, f"its worker died {flight.tries} times: {_first_line(error)}")
                    else:
                        self.owed.append((flight.item, flight.tries + 1))
                    self._replace(flight.actor)

    def dismiss(self) -> None:
        """End every actor."""
        import ray

        for actor in self.actors.values():
            with contextlib.suppress(Exception):
                ray.kill(actor)

    def _hire(self) -> None:
        import ray

        actor_class = ray.remote(_Actor).options(
            num_cpus=self.pool.cpus, num_gpus=self.pool.gpus, max_concurrency=self.pool.concurrency + 1
        )
        self.actors[self.hired] = actor_class.remote(self.make_worker)
        self.hired += 1

    def _await_all(self) -> None:
        """A worker that cannot be made is the recipe's fault and would only fail again."""
        import ray
        from ray.exceptions import RayActorError

        for made in [actor.make.remote() for actor in self.actors.values()]:  # all at once
            try:
                problem = ray.get(made)
            except RayActorError as error:
                problem = _last_line(error)
            if problem:
                raise StageError(f"pool: a worker could not start: {problem}")

    def _hand_out(self, items: Iterator[Any]) -> bool:
        """Fill free places, those that are owed again first. False when nothing was left to hand out."""
        load = dict.fromkeys(self.actors, 0)
        for flight in self.flights.values():
            if flight.actor in load:
                load[flight.actor] += 1
        handed = False
        while load and min(load.values()) < self.pool.concurrency:
            item, tries = self.owed.popleft() if self.owed else (next(items, _NOTHING), 1)
            if item is _NOTHING:
                break
            actor = min(load, key=lambda name: load[name])
            reference = self.actors[actor].call.remote(item)
            self.flights[reference] = _Flight(item=item, tries=tries, actor=actor)
            load[actor] += 1
            handed = True
        return handed

    def _replace(self, actor: int) -> None:
        """Hire in a dead actor's place, once however many of its items are reported."""
        if self.actors.pop(actor, None) is not None:
            say("pool: a Ray worker died; its items are owed again")
            self._hire()


class _Actor:
    """One worker process."""

    def __init__(self, make_worker: Callable[[], Any]) -> None:
        import threading

        self._make_worker = make_worker
        self._worker: Any = None
        self._lock = threading.Lock()

    def make(self) -> str:
        """Make the worker; what is wrong when that fails, in a line."""
        try:
            with self._lock:
                if self._worker is None:
                    self._worker = self._make_worker()
        except Exception as error:  # whatever a plug-in raises is the driver's to report
            return f"{type(error).__name__}: {_first_line(error)}"
        return ""

    def call(self, item: Any) -> Any:
        problem = self.make()
        if problem:
            raise StageError(f"pool: a worker could not start: {problem}")
        return self._worker(item)


_NOTHING = object()


def _last_line(error: Exception) -> str:
    """The cause at the end of a traceback that Ray prints, colours removed."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error).strip().rpartition("\n")[2])[:300]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
