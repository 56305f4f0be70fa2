"""One open sandbox as its owner sees it: sends requests to the supervisor and turns replies into records."""

import contextlib
import marshal
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from rft.errors import SandboxError
from rft.sandboxes.limits import Limits
from rft.sandboxes.supervisor import ABSENT, BROKEN, CPU_SPENT, REPLY, TIMED_OUT
from rft.types import Execution

FORMAT = 4
"""Of marshal: every Python since 3.4 reads it, so that a supervisor may run on another than this."""
GRACE = 20.0
"""Seconds that a supervisor has beyond a command's own limit before its sandbox counts as broken."""


class Supervised:
    """What a supervisor is asked for, wherever it runs. One thread at a time talks; `close` may come from any."""

    def __init__(self, limits: Limits, *, kind: str, memory_kills: Callable[[], int]) -> None:
        self.limits = limits
        self.kind = kind
        self.memory_kills = memory_kills
        """How many processes the memory limit has killed so far."""
        self.broken = ""
        self._turn = threading.Lock()
        self._closing = threading.Lock()
        self._is_closed = False

    def boot(self, settings: dict[str, Any], *, copy: bool) -> None:
        """Hand over the settings and wait until the supervisor serves. Raises SandboxError."""
        deadline = time.monotonic() + self.limits.boot
        try:
            self._ask(settings, within=self.limits.boot)
            if copy:
                self._ask("copy", within=deadline - time.monotonic())
        except SandboxError as error:
            if time.monotonic() < deadline:
                raise
            raise SandboxError(f"sandbox {self.kind}: boot took longer than {self.limits.boot:g} s ({error})") from None

    def run(
        self,
        command: str,
        *,
        timeout: float | None = None,
        output: int | None = None,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Execution:
        """Run `command` in a fresh bash in the working directory.

        `timeout` and `output`, in seconds and bytes, stand in for the sandbox's own limits.

        What it leaves running in the background is ended with it: a command's effects are its files and nothing
        else, so that a trajectory replays. Raises SandboxError only when the sandbox itself broke.
        """
        seconds = self.limits.timeout if timeout is None else timeout
        kills = self.memory_kills()
        asked = command.encode("utf-8", "replace")
        cap = self.limits.output_bytes if output is None else output
        cpu = float(self.limits.cpu)
        head, body = self._ask("run", asked, float(seconds), cpu, cap, dict(variables), within=seconds + GRACE)
        kind, code, signal_number, gap, _, lost, spent = head
        killed = {TIMED_OUT: "time", CPU_SPENT: "cpu"}.get(kind, "")
        if self.memory_kills() > kills:
            killed = killed or "memory"
        if not killed and signal_number:
            killed = f"signal {signal_number}"
        return Execution(
            output=_text(body, gap, lost),
            exit_code=None if code < 0 else code,
            timed_out=kind == TIMED_OUT,
            truncated_bytes=lost,
            seconds=round(spent, 6),
            killed=killed,
        )

    def read(self, path: str, *, limit: int = 1 << 20) -> bytes:
        """At most `limit` bytes of a regular file. No link is followed: what lies behind one counts as absent."""
        _, body = self._ask("read", _relative(path), limit, within=GRACE)
        return body

    def write(self, path: str, data: bytes) -> None:
        """Put a file and make missing folders; a link or folder that stands in its way gives way."""
        self._ask("write", _relative(path), bytes(data), within=GRACE)

    def diff(self) -> str:
        """Unified git diff of the working directory against the start state.

        Raises SandboxError when the patch is larger than the `patch` limit or the directory cannot be read.
        """
        _, body = self._ask("diff", self.limits.patch_bytes, within=60)
        return body.decode("utf-8", "replace")

    def door(self) -> socket.socket:
        """A socket that listens at a port of 127.0.0.1 in the sandbox. Raises SandboxError where there is none."""
        raise SandboxError(f"sandbox {self.kind}: it has no door to this program. Choose sandbox.use=bubblewrap.")

    def close(self) -> None:
        """End every process and drop every byte. Safe to call twice."""
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                self._end()

    def _ask(self, *request: Any, within: float) -> tuple[tuple[Any, ...], bytes]:
        with self._turn:
            if self.broken or self._is_closed:
                raise SandboxError(f"sandbox {self.kind}: {self.broken or 'it is closed'}. Open a fresh one.")
            frame = marshal.dumps(request, FORMAT)
            try:
                head, body = self._exchange(len(frame).to_bytes(4, "big") + frame, time.monotonic() + within)
            except OSError as error:
                self.broken = f"its supervisor is gone ({error}{self._last_words()})"
                self._kill()
                raise SandboxError(f"sandbox {self.kind}: {self.broken}. Open a fresh one.") from None
            except BaseException:  # a Ctrl-C: the answer is still to come and would be taken for the next one's
                self.broken = "a request was interrupted"
                raise
        if head[0] == ABSENT:
            raise FileNotFoundError(body.decode(errors="replace"))
        if head[0] == BROKEN:
            raise SandboxError(f"sandbox {self.kind}: {body.decode(errors='replace')}.")
        return head, body

    # --- how it is reached ---

    def _exchange(self, frame: bytes, deadline: float) -> tuple[tuple[Any, ...], bytes]:
        """Send a request, wait for its reply: `REPLY` and what follows it. Raises OSError."""
        raise NotImplementedError

    def _kill(self) -> None:
        """End a supervisor that no longer answers, as far as that can be done before `close`."""

    def _last_words(self) -> str:
        """What a supervisor that is gone said of it."""
        return ""

    def _end(self) -> None:
        """What `close` does, once."""
        raise NotImplementedError


class Session(Supervised):
    """A supervisor on this machine and the channel to it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: socket.socket,
        limits: Limits,
        *,
        kind: str,
        after: Callable[[], None],
        memory_kills: Callable[[], int],
    ) -> None:
        super().__init__(limits, kind=kind, memory_kills=memory_kills)
        self.process = process
        self.channel = channel
        self.after = after
        """Called once, when every process is gone."""
        self._handed: list[int] = []
        """Descriptors that came over the channel."""

    def door(self) -> socket.socket:
        """A socket that listens at a port of 127.0.0.1 in the sandbox, whose commands may connect from now on.

        Whoever holds it answers them; it leads nowhere else. Raises SandboxError.
        """
        self._ask("door", within=GRACE)
        handed, self._handed = self._handed, []
        if len(handed) != 1:
            raise SandboxError(f"sandbox {self.kind}: no door was handed over. Open a fresh one.")
        door = socket.socket(fileno=handed[0])
        is_door = door.type == socket.SOCK_STREAM and door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if door.family != socket.AF_INET or not is_door:
            door.close()
            raise SandboxError(f"sandbox {self.kind}: what was handed over is no door. Open a fresh one.")
        return door

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.channel.close()
        for descriptor in self._handed:
            os.close(descriptor)
        if self.process.stderr:
            self.process.stderr.close()
        self.after()

    def _kill(self) -> None:
        self.process.kill()

    def _exchange(self, frame: bytes, deadline: float) -> tuple[tuple[Any, ...], bytes]:
        self._send(frame, deadline)
        head = REPLY.unpack(self._receive(REPLY.size, deadline))
        return head, self._receive(min(head[4], 1 << 30), deadline)

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(select.POLLOUT, deadline)
            view = view[self.channel.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]

    def _receive(self, size: int, deadline: float) -> bytes:
        found = bytearray()
        while len(found) < size:
            self._wait(select.POLLIN, deadline)
            flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            chunk, handed, *_ = socket.recv_fds(self.channel, min(size - len(found), 1 << 20), 1, flags)
            self._handed += handed
            if not chunk:
                raise ConnectionResetError("it ended")
            found += chunk
        return bytes(found)

    def _wait(self, event: int, deadline: float) -> None:
        watch = select.poll()
        watch.register(self.channel, event)
        left = deadline - time.monotonic()
        if left <= 0 or not watch.poll(left * 1000):
            raise TimeoutError("it does not answer")

    def _last_words(self) -> str:
        """What the process said on its standard error, cut short."""
        if self.process.stderr is None:
            return ""
        os.set_blocking(self.process.stderr.fileno(), False)
        time.sleep(0.05)
        words = (self.process.stderr.read() or b"").decode(errors="replace").strip()
        return f"; {words.splitlines()[-1][:300]}" if words else ""


def _relative(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or not path.strip("/.") or "\0" in path:
        raise FileNotFoundError(f"{path!r}: expected a path inside the working directory.")
    return path


def _text(body: bytes, gap: int, lost: int) -> str:
    """Output as text that any store takes: invalid bytes replaced, a gap marked where bytes were left out."""
    if not lost:
        return body.decode("utf-8", "replace")
    head, tail = body[:gap].decode("utf-8", "replace"), body[gap:].decode("utf-8", "replace")
    return f"{head}\n[... {lost} bytes left out ...]\n{tail}"
