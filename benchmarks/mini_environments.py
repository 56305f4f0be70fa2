"""Milliseconds that mini-swe-agent's own environments take, as JSON; run by the Python that has mini-swe-agent.

python benchmarks/mini_environments.py TIMES [IMAGE]: `local`, and `docker` where an image is named.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def timed(work: Callable[[], Any], times: int) -> list[float]:
    """How long each of several goes took."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return took


def measure(make: Callable[[], Any], times: int) -> dict[str, list[float]]:
    """To open an environment and to run a command in it."""
    made: list[Any] = []
    opened = timed(lambda: made.append(make()), times)
    commands = timed(lambda: made[0].execute({"command": "true"}), times)
    for environment in made:
        getattr(environment, "cleanup", lambda: None)()
    return {"open": opened, "command": commands}


def main(times: int, image: str) -> None:
    """Print the measurements of each environment."""
    from minisweagent.environments.docker import DockerEnvironment  # type: ignore[import-not-found]
    from minisweagent.environments.local import LocalEnvironment  # type: ignore[import-not-found]

    found = {"local": measure(LocalEnvironment, times)}
    if image:
        plain = ["--rm", "--network=none"]
        found["docker"] = measure(lambda: DockerEnvironment(image=image, run_args=plain), times)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
