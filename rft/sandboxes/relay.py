"""The far end of a sandbox on another machine: hands requests that come as files to a supervisor, replies likewise.

It is uploaded with `supervisor.py` and `difference.py` and stands alone, as they do. The server over there runs one
program at a time, so nothing here keeps it waiting: the relay goes into the background, and each request and reply is a
file, `NUMBER BASE64`; a request ends in a newline, a reply without base64 says that the request was taken.
"""

# ruff: noqa: PTH102, PTH105, PTH110, PTH123, PTH211

import base64
import os
import select
import shutil
import socket
import subprocess
import sys
import time

PAUSE = 0.01
"""Seconds between two looks for a request."""


def main() -> None:
    """`relay.py FOLDER IDLE [SOFTWARE…]`: start a supervisor on FOLDER and serve it in the background."""
    folder, idle, *software = sys.argv[1:]
    lacking = [path for path in software if not os.path.exists(path)]
    if lacking:
        sys.exit(f"{lacking[0]} is not on that machine; expected the task's software there, at the same place")
    for name in ("work", "tmp", "home", "scratch", "bin"):
        os.mkdir(f"{folder}/{name}")
    for name in ("python", "python3"):
        os.symlink(os.path.realpath(sys.executable), f"{folder}/bin/{name}")
    answer(folder, 0, b"")
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    ours, theirs = socket.socketpair()
    start = "import sys; sys.path.insert(0, sys.argv[1]); import supervisor; supervisor.main()"
    command = [sys.executable, "-I", "-S", "-c", start, f"{folder}/lib"]
    process = subprocess.Popen(command, stdin=theirs.fileno(), env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, cwd="/")
    theirs.close()
    try:
        serve(folder, ours, float(idle))
    finally:
        ours.close()  # the supervisor ends what runs and removes the folder
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
        for _ in range(100):  # whoever closes the sandbox meanwhile may put a file into it
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.exists(folder):
                break
            time.sleep(PAUSE)


def serve(folder: str, channel: socket.socket, idle: float) -> None:
    """Pass requests and replies on until the sandbox is closed, its supervisor gone or no request came for `idle` s."""
    number = 1
    while (frame := asked(folder, number, time.monotonic() + idle)) is not None:
        answer(folder, number, b"")
        channel.sendall(frame)
        reply = received(folder, channel)
        if reply is None:
            return
        answer(folder, number, reply)
        number += 1


def asked(folder: str, number: int, deadline: float) -> "bytes | None":
    """The next request; None when there will be none."""
    while time.monotonic() < deadline and not is_closed(folder):
        try:
            with open(f"{folder}/request", "rb") as file:
                text = file.read()
        except FileNotFoundError:
            text = b""
        if text.startswith(b"%d " % number) and text.endswith(b"\n"):
            return base64.b64decode(text.split(b" ")[1])
        time.sleep(PAUSE)
    return None


def received(folder: str, channel: socket.socket) -> "bytes | None":
    """A whole reply of the supervisor; None when there will be none."""
    from supervisor import REPLY  # type: ignore[import-not-found]

    reply = bytearray()
    watch = select.poll()
    watch.register(channel, select.POLLIN)
    while len(reply) < REPLY.size or len(reply) < REPLY.size + REPLY.unpack_from(reply)[4]:
        while not watch.poll(PAUSE * 1000):
            if is_closed(folder):
                return None
        chunk = channel.recv(1 << 16)
        if not chunk:
            return None
        reply += chunk
    return bytes(reply)


def answer(folder: str, number: int, reply: bytes) -> None:
    """Put a reply where it is looked for, at once and whole."""
    with open(f"{folder}/reply.new", "wb") as file:
        file.write(b"%d " % number + base64.b64encode(reply))
    os.replace(f"{folder}/reply.new", f"{folder}/reply")


def is_closed(folder: str) -> bool:
    return os.path.exists(f"{folder}/closed") or not os.path.exists(folder)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    main()
