"""A model server as a process: on this machine, or on a node of a Ray cluster that Ray picks."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rft.errors import RecipeError

KEEPER = Path(__file__).with_name("keeper.py")
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
"""What says where this program's Python is and how it computes; a server has its own."""
STOPPING = 30.0
"""Seconds for a server to be gone once it is told to end."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a server is started with; its address is added where it runs."""

    command: tuple[str, ...]
    variables: Mapping[str, str]
    """Environment variables that it has beside those of the process that starts it."""
    log: str
    """An absolute path; what the server prints is appended."""
    gpus: int = 0


class Server(Protocol):
    """A server that was started."""

    def url(self) -> str:
        """Its base, without `/v1`; empty while it has none, because it still waits for its place."""

    def ended(self) -> str:
        """How it ended, in words; empty while it runs."""

    def stop(self) -> None:
        """End it and all that it started, and wait until that is so. Safe to call twice."""


class Process:
    """A server on this machine, in a process group of its own that does not outlive this process."""

    def __init__(self, launch: Launch, *, host: str = "127.0.0.1", devices: str | None = None) -> None:
        port = _free_port(host)
        self._url = f"http://{host}:{port}"
        mine = {name: value for name, value in os.environ.items() if name not in OURS}
        mine |= {} if devices is None else {"CUDA_VISIBLE_DEVICES": devices}
        command = [*launch.command, "--host", host, "--port", str(port)]
        with Path(launch.log).open("ab") as log:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=mine | dict(launch.variables),
                start_new_session=True,
            )

    def url(self) -> str:
        """Known at once."""
        return self._url

    def ended(self) -> str:
        """How the server ended, its exit code or signal."""
        code = self._keeper.poll()
        return "" if code is None else _how(code)

    def wait(self) -> str:
        """The same, once it has ended."""
        return _how(self._keeper.wait())

    def stop(self) -> None:
        """Close the pipe; the keeper ends the group."""
        assert self._keeper.stdin is not None
        with contextlib.suppress(OSError):
            self._keeper.stdin.close()
        try:
            self._keeper.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()


class Seat:
    """An actor's end of a server on Ray."""

    def start(self, launch: Launch) -> str:
        """Start it on this node, with the GPUs that Ray has given; its URL."""
        import ray

        self._process = Process(launch, host=ray.util.get_node_ip_address())
        return self._process.url()

    def wait(self) -> str:
        """How it ended, once it has."""
        return self._process.wait()

    def stop(self) -> None:
        """End it."""
        self._process.stop()


class OnRay:
    """A server in an actor that reserves its GPUs, so that Ray says where it goes; it too ends with this process."""

    def __init__(self, launch: Launch) -> None:
        import ray

        options = {"num_cpus": 0, "num_gpus": launch.gpus, "max_concurrency": 3, "scheduling_strategy": "SPREAD"}
        self._actor: Any = ray.remote(Seat).options(**options).remote()
        self._started = self._actor.start.remote(launch)
        self._over: Any = None

    def url(self) -> str:
        """Known once a node has room for it."""
        import ray

        if not ray.wait([self._started], timeout=0)[0]:
            return ""
        with contextlib.suppress(Exception):  # `ended` says what went wrong
            return str(ray.get(self._started))
        return ""

    def ended(self) -> str:
        """How the server ended, or that its node is gone."""
        import ray

        try:
            if self._over is None and ray.wait([self._started], timeout=0)[0]:
                ray.get(self._started)
                self._over = self._actor.wait.remote()
            if self._over is None or not ray.wait([self._over], timeout=0)[0]:
                return ""
            return str(ray.get(self._over))
        except ray.exceptions.RayTaskError as error:
            return f"could not be started ({error.cause})"
        except ray.exceptions.RayError:
            return "was lost with its node or its actor"

    def stop(self) -> None:
        """End it where it runs; an actor that has found no place yet is only called off."""
        import ray

        with contextlib.suppress(Exception):
            if self.url():
                ray.get(self._actor.stop.remote(), timeout=STOPPING + 5)
        with contextlib.suppress(Exception):
            ray.kill(self._actor)


def start(number: int, launch: Launch) -> Server:
    """The server of that number: on Ray where this process is connected to it, else on this machine.

    Raises RecipeError when this machine has too few GPUs for it.
    """
    if _on_ray():
        return OnRay(launch)
    return Process(launch, devices=",".join(devices(number, launch.gpus)) if launch.gpus else None)


def _on_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def devices(number: int, each: int) -> list[str]:
    """The GPUs of the server of that number, of those that this process may use."""
    here = visible_devices()
    mine = here[number * each : (number + 1) * each]
    if len(mine) < each:
        raise RecipeError(
            f"policy.inference: {number + 1} replicas with {each} GPUs each; this machine has {len(here)}. "
            "Set replicas and gpus to what is there; gpus: 0 is for a server that runs without."
        )
    return mine


def visible_devices() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES knows them by."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
        return [str(index) for index, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
    return []


def _free_port(host: str) -> int:
    with socket.socket() as free:
        free.bind((host, 0))
        return int(free.getsockname()[1])


def _how(code: int) -> str:
    """An exit code in words, as a shell counts them."""
    if code > 128 and code - 128 in set(signal.Signals):
        return f"was ended by {signal.Signals(code - 128).name}"
    return f"ended with exit code {code}"
