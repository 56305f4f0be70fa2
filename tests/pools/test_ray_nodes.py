"""The Ray pool on a cluster of several nodes, each a real raylet on this machine: spread, caps, and what gets lost."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from raylets import Nodes  # type: ignore[import-not-found]

from rft.errors import StageError
from rft.interfaces import Doing
from rft.pools.ray import Ray

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head and a node beside it, with two cores each."""
    made = Nodes(beside=1, cores=2, head_cores=2)
    yield made
    made.lose_all()


def lost(item: int, why: str) -> tuple[int, str]:
    return (-item, why)


class Where:
    """Says which item was made on which node; writes a mark for each try."""

    def __init__(self, marks: Path, seconds: float) -> None:
        import ray

        self.node = ray.get_runtime_context().get_node_id()
        self.marks = marks
        self.seconds = seconds

    def __call__(self, item: int) -> tuple[int, str]:
        (self.marks / f"{item}.{self.node}.{os.getpid()}.{time.monotonic_ns()}").touch()
        time.sleep(self.seconds)
        return (item, self.node)


class Make:
    def __init__(self, kind: Callable[..., Any], *arguments: Any) -> None:
        self.kind = kind
        self.arguments = arguments

    def __call__(self) -> Any:
        return self.kind(*self.arguments)


class Sick(Where):
    """Cannot be made on one of the nodes."""

    def __init__(self, marks: Path, node: str) -> None:
        super().__init__(marks, 0.05)
        if self.node == node:
            raise OSError("no such device")


class Hangs:
    """Never comes back from item 3 the first time."""

    def __init__(self, marks: Path) -> None:
        self.marks = marks

    def doing(self) -> list[Doing]:
        return [Doing(name="3", phase="grading", seconds=1.0)]

    def __call__(self, item: int) -> tuple[int, str]:
        first = not list(self.marks.glob(f"{item}.*"))
        (self.marks / f"{item}.{time.monotonic_ns()}").touch()
        if item == 3 and first:
            time.sleep(600)
        return (item, "")


def tried(marks: Path) -> Counter[int]:
    return Counter(int(mark.name.split(".")[0]) for mark in marks.iterdir())


@pytest.mark.slow
def test_actors_are_spread_and_capped(nodes: Nodes, tmp_path: Path) -> None:
    pool = Ray(workers=2, concurrency=2, address=nodes.address)
    used = Counter(node for _, node in pool.run(Make(Where, tmp_path, 0.05), range(24), lost))
    assert sum(used.values()) == 24 and len(used) == 2

    for mark in tmp_path.iterdir():
        mark.unlink()
    capped = Ray(workers=9, per_node=1, cpus=0.1, concurrency=2, address=nodes.address)
    assert len(list(capped.run(Make(Where, tmp_path, 0.05), range(24), lost))) == 24
    processes = {tuple(mark.name.split(".")[1:3]) for mark in tmp_path.iterdir()}
    per_node = Counter(node for node, _ in processes)
    assert set(per_node.values()) == {1} and len(per_node) == 2


def test_what_fits_nowhere_is_said(nodes: Nodes, tmp_path: Path) -> None:
    pool = Ray(workers=1, gpus=1, boot=1.5, address=nodes.address)
    with pytest.raises(StageError, match=r"no node has had room .* for 1\.5 s; expected one with 1 cores, 1 GPUs"):
        list(pool.run(Make(Where, tmp_path, 0.0), range(3), lost))


def test_a_node_where_no_worker_can_be_made_is_left_out(
    nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sick = nodes.beside[0].node_id
    pool = Ray(workers=2, per_node=1, concurrency=2, address=nodes.address)
    results = list(pool.run(Make(Sick, tmp_path, sick), range(12), lost))
    assert sorted(item for item, _ in results) == list(range(12)), "each item once, by the other node"
    assert {node for _, node in results} == {nodes.cluster.head_node.node_id}
    said = [line for line in capsys.readouterr().err.splitlines() if "could not start" in line]
    assert len(said) == 1 and f"({sick[:8]}): OSError: no such device; going on without that node" in said[0]


@pytest.mark.slow
def test_a_hanging_worker_is_named_and_replaced(
    nodes: Nodes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = Ray(workers=1, concurrency=2, lease=3, watch=1, address=nodes.address)
    results = sorted(pool.run(Make(Hangs, tmp_path), range(6), lost))
    assert results == [(item, "") for item in range(6)] and tried(tmp_path)[3] == 2
    said = capsys.readouterr().err
    assert "3 waits in grading for 1 s on node" in said
    assert "3: grading took longer than the lease of 3 s on node" in said


def test_a_lost_node_costs_its_items_in_flight(nodes: Nodes, tmp_path: Path) -> None:
    pool = Ray(workers=2, concurrency=2, address=nodes.address)
    results = pool.run(Make(Where, tmp_path, 0.3), range(40), lost)
    made = [next(results) for _ in range(6)]
    nodes.lose("ray::_Actor")
    made += results
    assert sorted(item for item, _ in made) == list(range(40)), "each item once, none lost"
    assert sum(count - 1 for count in tried(tmp_path).values()) <= 2 * pool.concurrency
    assert {node for _, node in made[-10:]} == {nodes.cluster.head_node.node_id}
