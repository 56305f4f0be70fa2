"""Commands on another machine that runs SWE-ReX's server, `swerex-remote`; that machine is the isolation.

The start state goes over with a supervisor and the relay that hands it requests; the patch is made over there, of the
start state beside the working directory. What is sent and answered are the models of the library swe-rex. Its client is
not used: it imports and calls whatever an error reply names, so whoever took over that machine would have this one too.
"""

import base64
import contextlib
import functools
import importlib.util
import io
import json
import os
import secrets
import struct
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from rft.errors import SandboxError
from rft.interfaces import StartState
from rft.sandboxes.limits import Limits, directory, environment, programs
from rft.sandboxes.session import GRACE, Supervised
from rft.sandboxes.supervisor import REPLY

ANSWER_BYTES = 256 << 20
"""A longer answer of the server is not read on."""
FAST, SLOW = 0.005, 0.5
"""Seconds between two looks for a reply, at first and when it takes long."""
_PROBE = "command -v bash git tar && python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'"
_START = (
    'cd "$0" && chmod 700 . && tar --no-same-owner -xzf sent && rm sent && exec python3 -I -S lib/relay.py "$0" "$@"'
)


class Unanswered(OSError):
    """The server cannot be reached, or what it says is no answer."""


@dataclass(frozen=True)
class Server:
    """One `swerex-remote`."""

    url: str
    token: str = field(repr=False)

    def execute(self, *command: str, deadline: float) -> tuple[int, str]:
        """Run a program; its exit code and what it said. The server does nothing else meanwhile. Raises OSError."""
        from swerex.runtime.abstract import Command, CommandResponse

        seconds = max(1.0, deadline - time.monotonic())
        asked = Command(command=list(command), timeout=seconds, merge_output_streams=True)
        done = self._ask("execute", asked, CommandResponse, deadline)
        return (-1 if done.exit_code is None else done.exit_code), str(done.stdout).strip()

    def upload(self, path: str, data: bytes, deadline: float) -> None:
        """Put a file and make missing folders. Raises OSError."""
        self._post("upload", deadline, fields={"target_path": path, "unzip": "false", "file": ("sent", data)})

    def read(self, path: str, deadline: float) -> str:
        """The text of a file. Raises OSError."""
        from swerex.runtime.abstract import ReadFileRequest, ReadFileResponse

        asked = ReadFileRequest(path=path, encoding="ascii", errors="replace")
        return str(self._ask("read_file", asked, ReadFileResponse, deadline).content)

    def write(self, path: str, text: str, deadline: float) -> None:
        """Put a text file. Raises OSError."""
        from swerex.runtime.abstract import WriteFileRequest, WriteFileResponse

        self._ask("write_file", WriteFileRequest(path=path, content=text), WriteFileResponse, deadline)

    def _ask(self, what: str, asked: Any, kind: Any, deadline: float) -> Any:
        body = self._post(what, deadline, json=asked.model_dump())
        try:
            return kind.model_validate_json(body)
        except ValueError:
            raise Unanswered(f"{self.url}/{what} gave an answer of another shape") from None

    def _post(self, what: str, deadline: float, **sent: Any) -> bytes:
        answer = bytearray()
        try:
            response = _connections().request(
                "POST",
                f"{self.url}/{what}",
                headers={"Connection": "close"} | ({"X-API-Key": self.token} if self.token else {}),
                timeout=max(0.001, deadline - time.monotonic()),
                retries=False,
                redirect=False,
                preload_content=False,
                **sent,
            )
            try:
                while chunk := response.read1(1 << 16):
                    answer += chunk
                    if len(answer) > ANSWER_BYTES or time.monotonic() > deadline:
                        raise Unanswered(f"{self.url}/{what} answers without end")
            finally:
                response.close()
                response.release_conn()
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            why = str(error).rpartition(": ")[2]
            raise Unanswered(self._line(f"{self.url} does not answer ({why})")) from None
        if response.status != 200:
            raise Unanswered(self._line(f"{self.url}/{what} answers {response.status}: {_said(bytes(answer))}"))
        return bytes(answer)

    def _line(self, text: str) -> str:
        """One short line without the token."""
        return " ".join((text.replace(self.token, "…") if self.token else text).split())[:300]


@functools.cache
def _connections() -> urllib3.PoolManager:
    return urllib3.PoolManager(maxsize=64)


def _said(answer: bytes) -> str:
    """The message of an error's answer, as text and nothing more."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        return str(json.loads(answer)["swerexception"]["message"])
    return answer.decode("utf-8", "replace")


@dataclass(kw_only=True)
class SweRex(Limits):
    """A folder of a machine where `swerex-remote` runs; commands run as the user who runs that.

    Neither a command and its server nor two sandboxes of one machine are kept apart: let it be one that is thrown away.
    Time, CPU time and output are limited, memory for each process, the disk by the size of one file.
    """

    host: str
    """Its name, or `https://name` where something in front of it speaks TLS."""
    port: int = 8000
    """Where the server listens."""
    token_variable: str = "SWEREX_TOKEN"
    """The environment variable that holds the token which the server was started with."""
    folder: str = "/tmp"
    """Where sandboxes lie over there."""
    idle: float = 3600.0
    """Seconds without a request after which the other machine drops a sandbox, whose owner must be gone."""

    def missing(self) -> str:
        """Asks the server, and for what it must have."""
        if importlib.util.find_spec("swerex") is None:
            return "swe-rex is not installed; run `pip install 'rft[swe-rex]'`, or choose sandbox.use=bubblewrap"
        server = self._server()
        try:
            code, said = server.execute("sh", "-c", _PROBE, deadline=time.monotonic() + GRACE)
        except Unanswered as error:
            return f"{error}; run `swerex-remote --auth-token …` there and have the token in {self.token_variable}"
        if code != 0:
            found = " ".join(said.split())[:300]
            return (
                f"{server.url} lacks a program (found: {found}); expected bash, git, tar and python3 of 3.10 or newer"
            )
        return ""

    def open(self, start: StartState) -> "RemoteSession":
        """A sandbox on a copy of the start state over there. Raises SandboxError."""
        server, deadline = self._server(), time.monotonic() + self.boot
        folder = f"{self.folder.rstrip('/')}/rft-{os.getpid()}-{secrets.token_hex(8)}"
        session = RemoteSession(server, folder, self)
        software = [str(path.absolute()) for path in start.software]
        settings = {
            "work": f"{folder}/work",
            "start": f"{folder}/start",
            "scratch": f"{folder}/scratch",
            "remove": folder,
            "environment": environment(f"{folder}/home", f"{folder}/tmp", *programs(start), f"{folder}/bin"),
            "limits": self.rlimits(has_groups=False, shares_user=True),
            "join": [],
            "closed": b"",
            "usage": None,
        }
        try:
            server.upload(f"{folder}/sent", _packed(directory(start, session.kind)), deadline)
            code, said = server.execute("sh", "-c", _START, folder, str(self.idle), *software, deadline=deadline)
            if code != 0:
                raise SandboxError(f"sandbox {session.kind}: it does not start at {server.url}: {said[-300:]}.")
            session.boot(settings, copy=True)
        except (OSError, ImportError) as error:
            session.close()
            why = f"boot took longer than {self.boot:g} s ({error})" if time.monotonic() > deadline else error
            raise SandboxError(f"sandbox {session.kind}: {why}.") from None
        except BaseException:
            session.close()
            raise
        return session

    def _server(self) -> Server:
        host = self.host if "://" in self.host else f"http://{self.host}"
        return Server(f"{host.rstrip('/')}:{self.port}", os.environ.get(self.token_variable, ""))


def _packed(start: Path) -> bytes:
    """What a sandbox is made of, as a tar file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        tar.add(start, "start")
        for name in ("supervisor.py", "difference.py", "relay.py"):
            tar.add(Path(__file__).with_name(name), f"lib/{name}")
    return packed.getvalue()


class RemoteSession(Supervised):
    """A supervisor on another machine, reached by the files that a relay over there looks at."""

    def __init__(self, server: Server, folder: str, limits: Limits) -> None:
        super().__init__(limits, kind="swe_rex", memory_kills=lambda: 0)
        self.server = server
        self.folder = folder
        self.number = 0

    def _exchange(self, frame: bytes, deadline: float) -> tuple[tuple[Any, ...], bytes]:
        self.number += 1
        mark, pause = f"{self.number} ", FAST
        self.server.write(f"{self.folder}/request", f"{mark}{base64.b64encode(frame).decode()}\n", deadline)
        while not (said := self.server.read(f"{self.folder}/reply", deadline)).startswith(mark) or said == mark:
            if time.monotonic() + pause > deadline:
                raise Unanswered("it does not answer in time")
            time.sleep(pause)
            pause = min(pause * 1.3, SLOW)
        try:
            reply = base64.b64decode(said.removeprefix(mark), validate=True)
            head = REPLY.unpack_from(reply)
        except (ValueError, struct.error):
            raise Unanswered("its reply cannot be read") from None
        return head, reply[REPLY.size :]

    def _end(self) -> None:
        deadline = time.monotonic() + 10
        with contextlib.suppress(OSError, ImportError):  # where it is out of reach, the relay ends by itself in time
            is_there = self.server.execute("touch", f"{self.folder}/closed", deadline=deadline)[0] == 0
            while is_there and self.number and time.monotonic() < deadline - 2:
                time.sleep(FAST)
                is_there = self.server.execute("test", "-e", self.folder, deadline=deadline)[0] == 0
            if is_there:
                self.server.execute("rm", "-rf", self.folder, deadline=deadline)
