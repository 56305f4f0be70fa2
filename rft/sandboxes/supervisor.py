"""The process that runs a sandbox's commands: stands alone, starts in milliseconds, speaks frames over descriptor 0.

A request is a length and a marshalled tuple; it comes from the program that opened the sandbox. A reply is the
fixed header `REPLY` and raw bytes, so the other side never interprets anything a sandbox says. In a process
namespace it is process 1: nothing in there can kill it, everything in there dies with it.
"""

# What is imported here is paid for at every opening: no pathlib, no contextlib, no signal.
# ruff: noqa: PTH102, PTH123, PTH208

import ctypes
import marshal
import os
import resource
import select
import stat
import struct
import time

REPLY = struct.Struct("!BiiIIQd")
"""Kind, exit code (-1: killed), signal, bytes before the gap, bytes that follow, bytes left out, seconds."""
DONE, ABSENT, BROKEN, TIMED_OUT, CPU_SPENT = range(5)
CHUNK = 1 << 16
TICK = 0.25
SIGKILL, SIGPIPE, SIGXCPU, SIGXFSZ = 9, 13, 24, 25

library = ctypes.CDLL(None, use_errno=True)


class Absent(Exception):
    """The file that was asked for is not there."""


class Kept:
    """The first and the last bytes of a stream, half of the cap each; what lies between is counted and dropped."""

    def __init__(self, cap: int) -> None:
        self.head_cap, self.tail_cap = cap - cap // 2, cap // 2
        self.head, self.tail, self.total = bytearray(), bytearray(), 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self.head_cap - len(self.head)
        if room > 0:
            self.head += chunk[:room]
            chunk = chunk[room:]
        self.tail += chunk
        if len(self.tail) > self.tail_cap + 8 * CHUNK:
            self.cut()

    def cut(self) -> int:
        """Drop what is over the cap; how many bytes are gone in all."""
        if len(self.tail) > self.tail_cap:
            del self.tail[: len(self.tail) - self.tail_cap]
        return self.total - len(self.head) - len(self.tail)


class Supervisor:
    """Serves one sandbox until its channel closes."""

    def __init__(self, settings: dict) -> None:  # type: ignore[type-arg]
        self.is_init = os.getpid() == 1
        self.work: str = settings["work"]
        self.start: str = settings["start"]
        self.scratch: str = settings["scratch"]
        self.environment: dict[str, str] = settings["environment"]
        self.limits: list[tuple[int, int, int]] = settings["limits"]
        self.join: list[int] = settings["join"]
        """Descriptors of control groups' member lists; a command enters them before it starts."""
        self.closed: bytes = settings["closed"]
        """System call filter of commands as long as there is no door; empty where nothing filters."""
        self.usage: int | None = settings["usage"]
        """Descriptor that tells the CPU nanoseconds of all commands so far."""
        self.is_orphaned = False

    # --- commands ---

    def run(self, command: bytes, timeout: float, cpu: float, cap: int, variables: dict[str, str]) -> bytes:
        """Run one command to its end or its limit, end all that it left behind, and pack what happened."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        began, spent = time.monotonic(), self.cpu_seconds()
        child = os.fork()
        if child == 0:
            self.become(command, writer, variables)
        os.close(writer)
        ended = os.pidfd_open(child)
        kept = Kept(cap)
        try:
            kind = self.follow(reader, ended, kept, began + timeout, spent + cpu)
            seconds = time.monotonic() - began
            status = self.end_all().get(child, 0)
            try:
                while chunk := os.read(reader, CHUNK):
                    kept.add(chunk)
            except BlockingIOError:
                pass
        finally:
            os.close(ended)
            os.close(reader)
        lost = kept.cut()
        killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = -1 if killed_by or kind != DONE else os.WEXITSTATUS(status)
        if SIGXCPU in (killed_by, code - 128):  # bash adds 128 to the signal that ended its child
            kind = CPU_SPENT
        body = bytes(kept.head + kept.tail)
        return REPLY.pack(kind, code, killed_by, len(kept.head), len(body), lost, seconds) + body

    def follow(self, reader: int, ended: int, kept: Kept, deadline: float, cpu_limit: float) -> int:
        """Keep a command's output until it ends, its time is up or its CPU time is spent; says which."""
        watch = select.poll()
        watch.register(reader, select.POLLIN)
        watch.register(ended, select.POLLIN)
        watch.register(0, select.POLLRDHUP)
        look = time.monotonic() + TICK
        while True:
            now = time.monotonic()
            if now >= deadline:
                return TIMED_OUT
            if now >= look:
                look = now + TICK
                if self.cpu_seconds() > cpu_limit:
                    return CPU_SPENT
            ready = watch.poll(max(1.0, (min(deadline, look) - now) * 1000))
            for descriptor, _ in ready:
                if descriptor == 0:
                    self.is_orphaned = True
                    return TIMED_OUT
                if descriptor == ended:
                    return DONE
                try:
                    chunk = os.read(reader, CHUNK)
                except BlockingIOError:
                    continue
                if chunk:
                    kept.add(chunk)
                else:
                    watch.unregister(reader)

    def become(self, command: bytes, writer: int, variables: dict[str, str]) -> None:
        """In the child: enter the limits and turn into bash. Never returns."""
        try:
            os.setsid()
            offer_for_killing()
            for descriptor in self.join:
                os.write(descriptor, b"0")
            for kind, soft, hard in self.limits:
                resource.setrlimit(kind, (allowed(kind, soft), allowed(kind, hard)))
            for number in (SIGPIPE, SIGXFSZ):  # Python ignores them, and exec would hand that on
                library.signal(number, None)
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            os.umask(0o022)
            os.chdir(self.work)
            os.closerange(3, 1 << 16)
            if self.closed:
                enter_filter(self.closed)
            os.execve("/bin/bash", [b"bash", b"-c", command], self.environment | variables)
        except BaseException as error:
            os.write(writer, f"bash: {error}\n".encode(errors="replace"))
        finally:
            os._exit(126)

    def cpu_seconds(self) -> float:
        """CPU time of all commands so far, or 0 where nothing counts it."""
        if self.usage is None:
            return 0.0
        text = os.pread(self.usage, 4096, 0)
        if text.startswith(b"usage_usec"):
            return int(text.split()[1]) / 1e6
        return int(text) / 1e9

    def end_all(self) -> dict[int, int]:
        """Kill every process of the sandbox but this one and reap them; their exit statuses."""
        statuses: dict[int, int] = {}
        while True:
            self.kill_all()
            try:
                child, status = os.waitpid(-1, 0)
                statuses[child] = status
                while child:
                    child, status = os.waitpid(-1, os.WNOHANG)
                    statuses[child] = status
            except ChildProcessError:
                return statuses

    def kill_all(self) -> None:
        if self.is_init:
            kill(-1)
            return
        for process in descendants(os.getpid()):
            kill(process)

    # --- files ---

    def folder(self, path: str, make: bool) -> tuple[int, str]:
        """A descriptor of the folder that holds `path`, reached without following a link, and the last name.

        With `make`, missing folders are made and whatever stands in their place is removed.
        """
        *folders, name = [part for part in path.split("/") if part not in ("", ".")]
        here = os.open(self.work, os.O_RDONLY | os.O_DIRECTORY)
        for part in folders:
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except PermissionError:
                os.chmod(part, 0o755, dir_fd=here)  # a folder of ours that was locked
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            except OSError as error:
                if not make:
                    raise Absent(f"{path}: {error.strerror}") from None
                if os.path.lexists(f"/proc/self/fd/{here}/{part}"):
                    os.unlink(part, dir_fd=here)
                os.mkdir(part, 0o755, dir_fd=here)
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        return here, name

    def read(self, path: str, limit: int) -> bytes:
        """The first bytes of a regular file of the working directory; no link is followed."""
        here, name = self.folder(path, make=False)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
        except OSError as error:
            raise Absent(f"{path}: {error.strerror}") from None
        finally:
            os.close(here)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise Absent(f"{path}: not a regular file")
            found = bytearray()
            while len(found) < limit and (chunk := os.read(file, limit - len(found))):
                found += chunk
        finally:
            os.close(file)
        return REPLY.pack(DONE, 0, 0, 0, len(found), 0, 0.0) + found

    def write(self, path: str, data: bytes) -> bytes:
        """Put a new file, executable if the one before was; whatever stands in its way gives way."""
        here, name = self.folder(path, make=True)
        try:
            there, mode = f"/proc/self/fd/{here}/{name}", 0o644
            if not os.access(f"/proc/self/fd/{here}", os.W_OK | os.X_OK):
                os.fchmod(here, 0o755)
            if os.path.lexists(there):
                status = os.lstat(there)
                if stat.S_ISDIR(status.st_mode):
                    self.remove(there, keep=(here,))
                else:
                    mode |= status.st_mode & 0o111 if stat.S_ISREG(status.st_mode) else 0
                    os.unlink(name, dir_fd=here)
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=here)
            try:
                while data:
                    data = data[os.write(file, data) :]
            finally:
                os.close(file)
        finally:
            os.close(here)
        return REPLY.pack(DONE, 0, 0, 0, 0, 0, 0.0)

    def tool(
        self,
        arguments: list[str],
        *,
        stdin: bytes = b"",
        keep: tuple[int, ...] = (),
        fine: tuple[int, ...] = (0,),
        **environment: str,
    ) -> bytes:
        """The standard output of a program of the system. Raises OSError when its exit code is not `fine`."""
        given, said, complained = (os.memfd_create(name) for name in ("given", "said", "complained"))
        try:
            os.pwrite(given, stdin, 0)
            child = os.posix_spawnp(
                arguments[0],
                arguments,
                self.environment | environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, given, 0),
                    (os.POSIX_SPAWN_DUP2, said, 1),
                    (os.POSIX_SPAWN_DUP2, complained, 2),
                    *((os.POSIX_SPAWN_DUP2, descriptor, descriptor) for descriptor in keep),
                ],
                setsigdef=[SIGPIPE],
            )
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if code not in fine:
                words = os.pread(complained, 4096, 0).decode(errors="replace").strip().split("\n")[-1]
                raise OSError(f"{arguments[0]} failed with {code}: {words}")
            return os.pread(said, os.fstat(said).st_size, 0)
        finally:
            for descriptor in (given, said, complained):
                os.close(descriptor)

    def copy(self) -> bytes:
        """Fill the working directory from the start state."""
        self.tool(["cp", "-a", "--reflink=auto", "--", f"{self.start}/.", self.work])
        return REPLY.pack(DONE, 0, 0, 0, 0, 0, 0.0)

    def diff(self, limit: int) -> bytes:
        """The working directory against the start state, after every other process was ended."""
        self.end_all()
        from difference import difference  # type: ignore[import-not-found]

        if os.path.lexists(self.scratch + "/diff"):
            self.remove(self.scratch + "/diff")
        os.mkdir(self.scratch + "/diff", 0o700)
        patch: bytes = difference(self.start, self.work, self.scratch + "/diff", limit, self.tool)
        return REPLY.pack(DONE, 0, 0, 0, len(patch), 0, 0.0) + patch

    def door(self) -> bytes:
        """A socket that listens on the loopback in here, handed to the other side; commands may connect from now on."""
        import socket

        with socket.create_server(("127.0.0.1", 0), backlog=256) as door, socket.socket(fileno=os.dup(0)) as channel:
            socket.send_fds(channel, [REPLY.pack(DONE, 0, 0, 0, 0, 0, 0.0)], [door.fileno()])
        self.closed = b""
        return b""

    def remove(self, path: str, keep: tuple[int, ...] = ()) -> None:
        """Remove a tree, locked folders included."""
        try:
            self.tool(["rm", "-rf", "--", path], keep=keep)
        except OSError:
            self.tool(["chmod", "-R", "u+rwX", "--", path], keep=keep)
            self.tool(["rm", "-rf", "--", path], keep=keep)

    # --- the channel ---

    def serve(self) -> None:
        """Answer requests until the channel closes; then nothing is left."""
        offered = ("run", "read", "write", "copy", "diff", "door")
        while not self.is_orphaned and (request := receive()) is not None:
            name, *arguments = request
            try:
                reply = getattr(self, offered[offered.index(name)])(*arguments)
            except Absent as error:
                reply = failure(ABSENT, error)
            except Exception as error:  # whatever it is, the other side must hear of it
                reply = failure(BROKEN, error)
            if not self.is_orphaned:
                send(reply)
        self.end_all()


class Filter(ctypes.Structure):
    """A BPF program as the kernel takes it (struct sock_fprog)."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def enter_filter(program: bytes) -> None:
    """Put a system call filter on this process and all that it starts. Raises OSError."""
    if library.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, program)), 0, 0):  # PR_SET_SECCOMP, filter
        raise OSError(ctypes.get_errno(), "no system call filter")


def offer_for_killing() -> None:
    """Have the kernel kill this process before its supervisor when memory runs out in a group that holds both."""
    library.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as long as it is off, the file is not ours
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def allowed(kind: int, limit: int) -> int:
    """A resource limit, or less where this process may not have so much."""
    most = resource.getrlimit(kind)[1]
    return limit if most == resource.RLIM_INFINITY else min(limit, most)


def failure(kind: int, error: BaseException) -> bytes:
    words = f"{type(error).__name__}: {error}".encode(errors="replace")[:500]
    return REPLY.pack(kind, -1, 0, 0, len(words), 0, 0.0) + words


def kill(process: int) -> None:
    """Kill a process, or all when it is -1, if it is still there."""
    try:
        os.kill(process, SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def descendants(root: int) -> list[int]:
    """Processes below `root`, nearest first."""
    found: list[int] = []
    todo = [root]
    while todo:
        process = todo.pop(0)
        try:
            for task in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{task}/children") as file:
                    below = [int(word) for word in file.read().split()]
                found += below
                todo += below
        except OSError:  # it has ended meanwhile
            continue
    return found


def receive() -> list | None:  # type: ignore[type-arg]
    """The next request, or None when the channel is closed."""
    head = read_whole(4)
    if head is None:
        return None
    body = read_whole(int.from_bytes(head, "big"))
    return None if body is None else list(marshal.loads(body))


def read_whole(size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        chunk = os.read(0, size - len(found))
        if not chunk:
            return None
        found += chunk
    return bytes(found)


def send(reply: bytes) -> None:
    try:
        while reply:
            reply = reply[os.write(0, reply) :]
    except (BrokenPipeError, ConnectionResetError):
        pass  # no one listens any more; the next request will say so


def main() -> None:
    """Make this process hard to touch, take the settings from the first frame, serve."""
    control = library.prctl
    control(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: no one of the same user may look into or trace this process
    control(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans come here
    os.chdir("/")  # git reads attributes where it stands, and in the working directory they would be the agent's
    settings = receive()
    if settings is None:
        return
    supervisor = Supervisor(settings[0])
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)
    for descriptor in (0, *supervisor.join):
        os.set_inheritable(descriptor, False)
    send(REPLY.pack(DONE, 0, 0, 0, 0, 0, 0.0))
    try:
        supervisor.serve()
    finally:
        if settings[0]["remove"]:
            supervisor.remove(settings[0]["remove"])
