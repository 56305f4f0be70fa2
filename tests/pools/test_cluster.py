"""A cluster of our own lets nobody else in; what Ray complains of is told in one line."""

import os
import subprocess
import sys

import pytest

from rft.pools.cluster import connected, ray_says

STRANGER = """
import ray
try:
    ray.init(address="{address}", log_to_driver=False, logging_level="ERROR")
except Exception as error:
    print(type(error).__name__, error)
else:
    print("connected", ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


def knock(address: str, *, knowing: bool) -> str:
    """What a process says that joins the cluster, with the secrets of this one or none."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER.format(address=address)],
        env=dict(os.environ) if knowing else own,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.strip()


@pytest.mark.process
def test_a_process_that_does_not_know_its_token_cannot_use_our_cluster() -> None:
    with connected(None, ship=False, cores=1):
        import ray

        address = ray.get_runtime_context().gcs_address
        stranger, friend = knock(address, knowing=False), knock(address, knowing=True)
    assert friend == "connected 42"
    assert stranger.startswith("ConnectionError Failed to connect")


def test_versions_that_differ_are_both_named() -> None:
    error = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
        "This process on node 10.0.0.5 was started with:\n    Ray: 2.58.0\n    Python: 3.11.7\n"
    )
    assert ray_says(error).startswith(
        "Version mismatch: The cluster was started with: Ray: 2.60.0 Python: 3.11.7 This process"
    )
    assert "Ray: 2.58.0" in ray_says(error)


def test_an_error_is_told_by_its_first_line_or_its_type() -> None:
    assert ray_says(RuntimeError("\n  no cluster at 10.0.0.5\nTraceback (most recent call last):")) == (
        "no cluster at 10.0.0.5"
    )
    assert ray_says(TimeoutError()) == "TimeoutError"
    assert len(ray_says(RuntimeError("x" * 5000))) == 300
