"""A Ray cluster of several nodes on this machine, each of which can be lost like a machine, all processes at once."""

import contextlib
import os
import secrets
from collections.abc import Callable
from typing import Any

import psutil

from rft.pools.cluster import DEFAULTS

QUICK = {"health_check_period_ms": 500, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3}
"""Within two seconds a node that has gone is known to be."""
SMALL = {"include_dashboard": False, "object_store_memory": 100 * 2**20}


class Nodes:
    """A head and nodes beside it."""

    def __init__(self, beside: int, cores: int = 1, head_cores: int = 1) -> None:
        os.environ.update({**DEFAULTS, "RAY_AUTH_MODE": "token"})
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        from ray._raylet import Config
        from ray.cluster_utils import Cluster

        Config.initialize("")  # a test before this one may have loaded Ray, which then knows of no token

        head = {"num_cpus": head_cores, "_system_config": QUICK, **SMALL}
        self.cluster: Any = _patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self.beside = [_patiently(lambda: self.cluster.add_node(num_cpus=cores, **SMALL)) for _ in range(beside)]

    @property
    def address(self) -> str:
        """What RAY_ADDRESS is set to."""
        return str(self.cluster.address)

    def lose(self, with_process: str = "") -> None:
        """One of the nodes beside the head is gone, the first on which a process of such a name runs."""
        node = next(node for node in self.beside if any(with_process in _title(one) for one in _processes(node)))
        self.beside.remove(node)
        _kill(node)

    def lose_all(self) -> None:
        """The head is gone, and the others with it."""
        for node in [self.cluster.head_node, *self.beside]:
            _kill(node)


def _patiently(start: Callable[[], Any]) -> Any:
    """Ray gives a node 30 seconds to start, which a busy machine may not keep."""
    for _ in range(4):
        with contextlib.suppress(Exception):
            return start()
    return start()


def _kill(node: Any) -> None:
    for process in _processes(node):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _processes(node: Any) -> list[psutil.Process]:
    found = []
    for processes in node.all_processes.values():
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(process.process.pid)
                found += [root, *root.children(recursive=True)]
    return found


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""
