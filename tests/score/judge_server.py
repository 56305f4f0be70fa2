"""A judge on loopback: a real HTTP server that answers rubric questions rightly, and misbehaves where it is told to.

The right answer to a question follows from the attempt's name and the question's id (`truth`), so a test knows every
number that may come out. An attempt is known by the word `attempt-…` in its task.
"""

import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ASKED = re.compile(r"^- ([a-z0-9_]+): ", re.MULTILINE)
NAME = re.compile(r"attempt-[a-z0-9-]+")

Fault = Callable[["Request"], None]


def truth(name: str, question: str) -> float:
    """The right answer."""
    return float(hashlib.sha256(f"{name}/{question}".encode()).digest()[0] % 2)


class Request:
    """One request, and ways to answer it."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> None:
        self.handler = handler
        self.body = body
        self.number = number
        """How often this attempt was asked about, this time included."""
        user = body["messages"][1]["content"]
        self.name = NAME.search(user)[0]  # type: ignore[index]
        self.questions = ASKED.findall(user.partition("\nQuestions:")[2])

    def lines(self) -> list[dict[str, Any]]:
        """The right answers."""
        return [
            {"id": q, "reason": "so it is", "steps": [1], "quote": "", "answer": "yes" if truth(self.name, q) else "no"}
            for q in self.questions
        ]

    def say(self, text: str | None, **headers: str) -> None:
        """A chat completion that says `text`."""
        usage = {"prompt_tokens": 500, "completion_tokens": 100}
        self.send(json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode(), **headers)

    def answer(self) -> None:
        """Rightly."""
        self.say(json.dumps({"verdicts": self.lines()}))

    def send(self, data: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """Any response."""
        self.handler.send_response(status)
        self.handler.send_header("content-length", str(len(data) if length is None else length))
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def cut(self) -> None:
        """Half an answer, and the connection is gone."""
        self.send(b'{"choices": [{"message": {"content": "{', length=4000)
        self.handler.close_connection = True
        self.handler.connection.close()

    def drip(self) -> None:
        """An answer that never ends."""
        self.handler.send_response(200)
        self.handler.send_header("content-length", "1000000")
        self.handler.end_headers()
        for _ in range(400):
            self.handler.wfile.write(b" ")
            self.handler.wfile.flush()
            time.sleep(0.05)

    def refuse_schema(self) -> None:
        """A server that knows no `response_format`."""
        if "response_format" in self.body:
            self.send(b'{"error": {"message": "response_format is not supported"}}', 400)
        else:
            self.answer()


class JudgeServer:
    """Counts what it is asked and answered."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}
        """What is done in place of answering, by attempt."""
        self.delay = 0.0
        self.requests: list[Request] = []
        self.paid: Counter[tuple[str, str]] = Counter()
        """(attempt, question) to how often it was answered."""
        self.lock = threading.Lock()
        self.url = ""

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        with self.lock:
            request = Request(handler, body, 0)
            request.number = 1 + sum(before.name == request.name for before in self.requests)
            self.requests.append(request)
        time.sleep(self.delay)
        with self.lock:
            self.paid.update((request.name, question) for question in request.questions)
        self.faults.get(request.name, Request.answer)(request)


@contextlib.contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """A server that runs till the end of the block."""
    judge = JudgeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            with contextlib.suppress(ConnectionError, OSError):
                judge.handle(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that hung up is no news."""

    running = Server(("127.0.0.1", 0), Handler)
    judge.url = f"http://127.0.0.1:{running.server_port}/v1"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield judge
    finally:
        running.shutdown()
        running.server_close()
        thread.join()
