"""The Ray actors of one run, where they are, and who has which item."""

import contextlib
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rft.errors import RftError, StageError
from rft.interfaces import Doing
from rft.pools import close
from rft.pools.cluster import ray_says, stands_here
from rft.pools.watch import Watch, doing
from rft.progress import say

if TYPE_CHECKING:
    from rft.pools.ray import Ray

TICK = 5.0
"""Seconds between two looks at nodes, leases and the watch."""
PATIENCE = 2.0
"""Seconds that actors have to say what they are at."""
CLOSING = 10.0
"""Seconds that workers have to close what they hold."""


@dataclass
class _Member:
    """An actor and where it is."""

    handle: Any
    node: str
    hired: float = field(default_factory=time.monotonic)
    ready: bool = False
    """Whether its worker is made."""


@dataclass
class _Flight:
    """An item in an actor's hands."""

    item: Any
    tries: int
    actor: int
    since: float = field(default_factory=time.monotonic)
    why: str = ""
    """Why it was taken out of those hands."""


@dataclass
class Crew:
    """Hires actors, hands items to them, and takes back what is lost with one."""

    pool: "Ray"
    make_worker: Callable[[], Any]
    actors: dict[int, _Member] = field(default_factory=dict)
    making: dict[Any, int] = field(default_factory=dict)
    """Reference to the actor whose worker is being made."""
    flights: dict[Any, _Flight] = field(default_factory=dict)
    owed: deque[tuple[Any, int]] = field(default_factory=deque)
    """Items that are to be tried again, and which try it is."""
    hired: int = 0
    stillborn: int = 0
    """Actors that died before their worker was made, since the last one that was."""
    begun: bool = False
    """Whether a worker has been made."""
    barred: dict[str, str] = field(default_factory=dict)
    """Node to why no worker can be made there."""
    addresses: dict[str, str] = field(default_factory=dict)
    """Node to its address, of nodes that are lost as well."""
    full: Counter[str] = field(default_factory=Counter)
    """Node to the actors that found no place there in time, whatever the node is said to have."""
    looked: float = 0.0
    manned: float = field(default_factory=time.monotonic)
    """When there was last an actor."""

    def work(self, items: Iterator[Any], lost: Callable[[Any, str], Any]) -> Iterator[Any]:
        """Keep every actor busy until nothing is owed."""
        watch = Watch(self.pool.watch)
        pause = min(TICK, self.pool.watch, self.pool.boot)
        self._fill()
        while self._hand_out(items):
            for reference in self._next(pause):
                if reference in self.making:
                    self._made(reference, self.making.pop(reference))
                elif (result := self._result(reference, lost)) is not _NOTHING:
                    watch.finished()
                    yield result
            if time.monotonic() - self.looked > pause:
                self._look_around()
                watch.look(self._report)

    def _next(self, pause: float) -> list[Any]:
        """What has ended, one at most; nothing after `pause` seconds."""
        import ray

        waiting = [*self.flights, *self.making]
        if not waiting:
            time.sleep(pause)
            return []
        ready: list[Any] = ray.wait(waiting, num_returns=1, timeout=pause)[0]
        return ready

    def dismiss(self) -> None:
        """Close every worker and end its actor."""
        import ray

        with contextlib.suppress(Exception):  # a cluster in trouble, or nobody to wait for
            closing = [member.handle.close.remote() for member in self.actors.values() if member.ready]
            ray.wait(closing, num_returns=len(closing), timeout=CLOSING)
        for actor in list(self.actors):
            self._end(actor)

    def _hand_out(self, items: Iterator[Any]) -> bool:
        """Fill free places, those that are owed again first. False when there is nothing left to wait for.

        Two that are tried for the last time do not share an actor: the one that ends it would take the other with it.
        """
        if not self.owed and (item := next(items, _NOTHING)) is not _NOTHING:
            self.owed.append((item, 1))
        if not self.owed:
            return bool(self.flights)  # nobody is waited for who would have nothing to do
        load = {name: 0 for name, member in self.actors.items() if member.ready}
        for flight in self.flights.values():
            if flight.actor in load:
                load[flight.actor] += 1
        risky = {flight.actor for flight in self.flights.values() if self._is_last(flight.tries)}
        while load and min(load.values()) < self.pool.concurrency:
            places = [name for name in load if load[name] < self.pool.concurrency]
            item, tries = self.owed.popleft() if self.owed else (next(items, _NOTHING), 1)
            if item is _NOTHING:
                return bool(self.flights)
            if self._is_last(tries):
                places = [name for name in places if name not in risky]
                if not places:
                    self.owed.appendleft((item, tries))
                    return True
            actor = min(places, key=lambda name: load[name])
            reference = self.actors[actor].handle.call.remote(item)
            self.flights[reference] = _Flight(item=item, tries=tries, actor=actor)
            load[actor] += 1
            risky |= {actor} if self._is_last(tries) else set()
        return True

    def _is_last(self, tries: int) -> bool:
        return tries == self.pool.tries > 1

    def _result(self, reference: Any, lost: Callable[[Any, str], Any]) -> Any:
        """An item's result, _NOTHING when it is owed again. What the worker itself raises is raised here."""
        import ray
        from ray.exceptions import ObjectLostError, RayError, RayTaskError

        flight = self.flights.pop(reference)
        try:
            return ray.get(reference)
        except RayTaskError:
            raise
        except RayError as error:
            if flight.actor in self.actors and not isinstance(error, ObjectLostError):
                say(f"pool: a Ray worker died{self._where(flight.actor)}; its items are owed again")
                self._end(flight.actor)  # a lost result says nothing of the actor that made it
                self._fill()
            if flight.tries >= self.pool.tries:
                return lost(flight.item, f"its worker died {flight.tries} times: {flight.why or ray_says(error)}")
            self.owed.append((flight.item, flight.tries + 1))
            return _NOTHING

    def _fill(self) -> None:
        """Hire on the emptiest nodes as long as actors are missing and a node has room."""
        import ray

        known = ray.nodes()
        self.addresses |= {one["NodeID"]: one["NodeManagerAddress"] for one in known}
        nodes = {one["NodeID"]: self.pool.room(one["Resources"]) for one in known if one["Alive"]}
        for gone in [name for name, member in self.actors.items() if member.node not in nodes]:
            self._end(gone)
        while len(self.actors) < self.pool.workers:
            taken = Counter(member.node for member in self.actors.values())
            free = [
                node for node, room in nodes.items() if node not in self.barred and taken[node] < room - self.full[node]
            ]
            if not free:
                return
            self._hire(min(free, key=lambda node: taken[node]))

    def _hire(self, node: str) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor_class = ray.remote(_Actor).options(
            num_cpus=self.pool.cpus,
            num_gpus=self.pool.gpus,
            memory=int(self.pool.memory * 2**30) or None,
            max_concurrency=self.pool.concurrency + 2,  # one beside the items to make the worker, one to be asked
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False),
        )
        place = str(Path.cwd()) if stands_here(self.pool.ship) else ""
        member = _Member(handle=actor_class.remote(self.make_worker, place), node=node)
        self.making[member.handle.make.remote()] = self.hired
        self.actors[self.hired] = member
        self.hired += 1

    def _made(self, reference: Any, actor: int) -> None:
        """A worker is made, or cannot be: its node's fault, or its recipe's, which would only fail again."""
        import ray
        from ray.exceptions import RayActorError, RayError

        try:
            problem = str(ray.get(reference))
        except RayError as error:
            self.stillborn += 1
            is_broken = isinstance(error, RayActorError) and error.actor_init_failed
            if is_broken or self.stillborn > self.pool.tries * self.pool.workers:
                raise StageError(f"pool: a worker could not start: {_last_line(error)}") from None
            self._end(actor)
            self._fill()
            return
        if problem:
            self._bar(actor, problem)
        elif actor in self.actors:
            self.actors[actor].ready = self.begun = True
            self.stillborn = 0

    def _bar(self, actor: int, problem: str) -> None:
        """Hire nobody else where a worker could not be made. Raises StageError when none can be made anywhere."""
        problem = f"pool: a worker could not start{self._where(actor)}: {problem}"
        known = len(self.barred)
        if actor in self.actors:
            self.barred.setdefault(self.actors[actor].node, problem)
            self._end(actor)
        self._fill()
        if not self.begun and (not self.making or len(self.barred) >= self.pool.tries):
            raise StageError(problem)
        if len(self.barred) > known:
            say(f"{problem}; going on without that node")

    def _look_around(self) -> None:
        """End what has outlived its time, hire where there is room, give up where there has long been none."""
        now = self.looked = time.monotonic()
        for actor in {flight.actor for flight in self.flights.values() if now - flight.since > self.pool.lease}:
            if actor in self.actors:
                self._expire(actor, now)
        for actor, member in list(self.actors.items()):
            if not member.ready and now - member.hired > self.pool.boot:
                say(f"pool: a worker did not start within {self.pool.boot:g} s{self._where(actor)}; going on without")
                self.full[member.node] += 1
                self._end(actor)
        self._fill()
        if self.actors:
            self.manned = now
        elif now - self.manned > self.pool.boot:
            left_out = f" Left out: {next(iter(self.barred.values()))}." if self.barred else ""
            raise StageError(
                f"pool: no node has had room for a worker for {self.pool.boot:g} s; expected one with "
                f"{self.pool.cpus:g} cores, {self.pool.gpus:g} GPUs and {self.pool.memory:g} GiB.{left_out} Look at "
                "`ray status`, and run the same command again: it carries on."
            )

    def _expire(self, actor: int, now: float) -> None:
        """Replace an actor that keeps an item too long. Its other items have done nothing, and keep their tries."""
        phases = {doing.name: doing.phase for _, doing in self._report()}
        for flight in self.flights.values():
            if flight.actor != actor:
                continue
            if now - flight.since > self.pool.lease:
                name = _name(flight.item)
                flight.why = f"{phases.get(name, 'its worker')} took longer than the lease of {self.pool.lease:g} s"
                say(f"pool: {name}: {flight.why}{self._where(actor)}; its worker is replaced")
            else:
                flight.tries -= 1
        self._end(actor)

    def _report(self) -> Iterator[tuple[str, Doing]]:
        """Where each item is and what is done about it, in its worker's words where it answers."""
        import ray
        from ray.exceptions import RayError

        asked = {member.handle.doing.remote(): name for name, member in self.actors.items() if member.ready}
        answered = ray.wait(list(asked), num_returns=len(asked), timeout=PATIENCE)[0] if asked else []
        known: dict[tuple[int, str], Doing] = {}
        for reference in answered:
            with contextlib.suppress(RayError):
                known |= {(asked[reference], one.name): one for one in ray.get(reference)}
        now = time.monotonic()
        for flight in self.flights.values():
            name = _name(flight.item)
            silent = Doing(name=name, phase="a worker that does not answer", seconds=now - flight.since)
            yield self._where(flight.actor), known.get((flight.actor, name), silent)
        for actor in self.making.values():
            if actor in self.actors:
                seconds = now - self.actors[actor].hired
                yield self._where(actor), Doing(name=f"worker {actor}", phase="boot", seconds=seconds)

    def _where(self, actor: int) -> str:
        node = self.actors[actor].node if actor in self.actors else ""
        return f" on node {self.addresses.get(node, '')} ({node[:8]})" if node else " on a lost node"

    def _end(self, actor: int) -> None:
        import ray

        with contextlib.suppress(Exception):
            ray.kill(self.actors.pop(actor).handle)


class _Actor:
    """One worker process."""

    def __init__(self, make_worker: Callable[[], Any], place: str) -> None:
        self._make_worker = make_worker
        self._place = place
        self._worker: Any = None

    def make(self) -> str:
        """Make the worker; what is wrong when that fails, in a line."""
        try:
            self._stand_where_the_driver_stands()
            self._worker = self._make_worker()
        except Exception as error:  # whatever a plug-in raises is the driver's to report
            return str(error) if isinstance(error, RftError) else f"{type(error).__name__}: {ray_says(error)}"
        return ""

    def _stand_where_the_driver_stands(self) -> None:
        """A recipe's relative paths mean the same everywhere."""
        if self._place and not Path(self._place).is_dir():
            raise StageError(
                f"this node has no folder {self._place}; expected the one that rft runs in, shared by all nodes. "
                "Share it, or set collect.pool.ship=true"
            )
        if self._place:
            os.chdir(self._place)

    def doing(self) -> Iterable[Doing]:
        """What the worker is at."""
        return doing(self._worker)

    def call(self, item: Any) -> Any:
        """The item's result."""
        return self._worker(item)

    def close(self) -> None:
        """Close the worker."""
        close(self._worker)


_NOTHING = object()


def _name(item: Any) -> str:
    """What an item is called: an attempt's id."""
    return str(getattr(item, "id", item))


def _last_line(error: Exception) -> str:
    """The cause at the end of a traceback that Ray prints, colours removed."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error).strip().rpartition("\n")[2])[:300]
