"""Joining a Ray cluster, or bringing one up on this machine and taking it down again."""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rft.errors import StageError

STAYS = ["runs", "wandb", ".venv", ".git", ".env"]
"""What is not sent along with a folder: what is large, and keys."""
DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SCHEDULER_EVENTS": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # At Ray's own 15 attempts starve where anything else works.
    "RAY_worker_niceness": "0",
    # libgomp's idle threads spin and starve the neighbouring actors.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Variables of a cluster of our own that the environment does not set."""


@contextlib.contextmanager
def connected(address: str | None, *, ship: bool, cores: int) -> Iterator[None]:
    """Join the cluster at `address`, or of RAY_ADDRESS; without one, bring one up here with `cores` logical cores.

    Raises StageError when there is none at the address, or the folder cannot be sent along.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    # What can be imported here can be imported there: plug-ins of the user's folder above all.
    path = os.pathsep.join([str(Path.cwd()), *(entry for entry in sys.path if entry)])
    address = address or os.environ.get("RAY_ADDRESS")
    settings = {"runtime_env": _sent_along(path, ship)} if address else _own_cluster(path, cores)
    try:
        # `local`: without it Ray would join whichever cluster was last started on this machine
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **settings)
    except Exception as error:  # no cluster there, a version that differs, a folder too large, a machine too busy
        raise StageError(f"ray: {address or 'a cluster of its own'}: {ray_says(error)} Look at `ray status`.") from None
    try:
        yield
    finally:
        ray.shutdown()


def ray_says(error: BaseException) -> str:
    """What an error of Ray's says first, at most 300 characters; its type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # A first line that ends in a colon says what follows: of versions that differ, which they are.
    return (" ".join(lines) if lines[0].endswith(":") else lines[0])[:300]


def stands_here(ship: bool) -> bool:
    """Whether workers use this very folder, which all nodes share, rather than a copy that was sent to them."""
    return not ship and not _in_job()


def _sent_along(path: str, ship: bool) -> dict[str, Any]:
    sent: dict[str, Any] = {"env_vars": {"PYTHONPATH": path}}
    if ship and not _in_job():
        sent |= {"working_dir": str(Path.cwd()), "excludes": STAYS}
    return sent


def _in_job() -> bool:
    """A job's folder was sent to every node when it was submitted."""
    return "working_dir" in os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "")


def _own_cluster(path: str, cores: int) -> dict[str, Any]:
    """Workers inherit the environment, which spares the start of an agent process for it.

    Ray asks a token of whoever connects to a cluster that it starts: one of this process's own, and no file, so that no
    other user of the machine can run code here.
    """
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ["PYTHONPATH"] = path
    # More logical cores than there are, where the recipe asks for more actors than the machine has cores.
    return {"num_cpus": max(os.cpu_count() or 1, cores), "include_dashboard": False}
