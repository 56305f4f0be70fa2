"""The HTTP side of the recorder: one server in a process, any number of attempts, each with an address of its own.

An attempt's address is `/t/<key>/v1`, or `/v1` with the key as the API key. A door, which is a listening socket that
some other program made (a sandbox without a network), leads to one attempt's address only.
"""

import asyncio
import contextlib
import logging
import re
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import h11
import msgspec

from rft.agents.recorder import anthropic, chat_completions
from rft.agents.recorder.asked import Refused
from rft.agents.recorder.line import Line

log = logging.getLogger(__name__)

MAX_BODY = 16 << 20
"""Bytes of a request; a longer one is refused."""
MAX_HEAD = 64 << 10
AT_ONCE = 8
"""Requests of one attempt that are held in memory; more wait."""
MAX_CONNECTIONS = 64, 4096
"""Connections at a door, and at the server's own address; more are hung up on."""
IDLE = 600.0
"""Seconds without a byte before a connection is closed."""
DRAIN = 5.0
"""Seconds for what is left of a request that was refused."""
DIALECTS = {"chat/completions": chat_completions, "messages": anthropic}


@dataclass
class Place:
    """An attempt's place at the server."""

    line: Line
    key: str
    room: asyncio.Semaphore


class Recorder:
    """The server. It starts with the first attempt and lives as long as the process, or until `close`."""

    def __init__(self) -> None:
        self.port = 0
        self._places: dict[str, Place] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._told: set[str] = set()

    @contextlib.contextmanager
    def open(self, line: Line, door: socket.socket | None = None) -> Iterator[str]:
        """The key under which `line` is answered while the block lasts.

        A `door` is a listening socket; it is taken over, and closed with its connections at the end.
        """
        loop = self._started()
        place = Place(line=line, key=secrets.token_urlsafe(18), room=asyncio.Semaphore(AT_ONCE))
        entrance = Entrance(self, place, limit=MAX_CONNECTIONS[0])
        if door is not None:
            asyncio.run_coroutine_threadsafe(entrance.listen(sock=door), loop).result()
        self._places[place.key] = place
        try:
            yield place.key
        finally:
            del self._places[place.key]
            asyncio.run_coroutine_threadsafe(entrance.close(), loop).result()

    def close(self) -> None:
        """End the server. Safe to call twice."""
        with self._lock:
            if self._loop is not None and self._thread is not None:
                asyncio.run_coroutine_threadsafe(self._entrance.close(), self._loop).result()
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
                self._loop.close()
            self._loop = self._thread = None

    def place_of(self, key: str) -> Place:
        """The attempt that a key belongs to. Raises Refused."""
        found = self._places.get(key)
        if found is None:
            raise Refused(401, "invalid_api_key", "the key belongs to no attempt under way; expected the one given.")
        return found

    def tell(self, ignored: Sequence[str]) -> None:
        """Say, once in a process, which parameters the policy does not heed."""
        if new := sorted(set(ignored) - self._told):
            self._told.update(new)
            log.warning("recorder: %s: ignored; the recipe says how the policy samples.", ", ".join(new))

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="recorder", daemon=True)
                self._thread.start()
                self._entrance = Entrance(self, None, limit=MAX_CONNECTIONS[1])
                listening = self._entrance.listen(host="127.0.0.1", port=self.port)
                self.port = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
            return self._loop


class Entrance:
    """A listening socket and the connections that came in by it."""

    def __init__(self, recorder: Recorder, place: Place | None, *, limit: int) -> None:
        self.recorder = recorder
        self.place = place
        """Whose it is; None for the server's own address, by which all can come in."""
        self.limit = limit
        self.connections: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None
        self.is_closed = False

    async def listen(self, **where: Any) -> int:
        """Start to listen; the port."""
        self.server = await asyncio.start_server(self.greet, backlog=1024, **where)
        return int(self.server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and hang up."""
        self.is_closed = True
        if self.server is not None:
            for listening in self.server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            for _ in range(4):  # a server that is closed between a connection's arrival and its greeting forgets it
                await asyncio.sleep(0)
            self.server.close()
        for task in self.connections:
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    async def greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        task = asyncio.current_task()
        if task is None or self.is_closed or len(self.connections) >= self.limit:
            writer.close()
            return
        self.connections.add(task)
        try:
            await Connection(self.recorder, self.place, reader, writer).serve()
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # it has gone, or is to go
        finally:
            self.connections.discard(task)
            writer.close()


class Connection:
    """One connection of a client, request after request."""

    def __init__(
        self, recorder: Recorder, place: Place | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.recorder = recorder
        self.place = place
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def serve(self) -> None:
        """Answer until the client goes, breaks the protocol or is silent for long."""
        try:
            while isinstance(request := await self._event(), h11.Request):
                try:
                    await self._answer(request)
                except Refused as refused:
                    await self._send(refused.status, refused.body, [("x-should-retry", "false")])
                    await self._drain()
                if self.http.our_state is not h11.DONE or self.http.their_state is not h11.DONE:
                    return
                self.http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            if self.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                said = Refused(
                    error.error_status_hint, "invalid_request", f"not HTTP/1.1: {error}; expected a request."
                )
                await self._send(said.status, said.body)

    async def _answer(self, request: h11.Request) -> None:
        place, what = self._place(request)
        if what == "models" and request.method == b"GET":
            model = {"id": "policy", "object": "model", "created": 0, "owned_by": "rft"}
            await self._body()
            await self._send(200, {"object": "list", "data": [model]})
            return
        dialect = DIALECTS.get(what)
        if dialect is None or request.method != b"POST":
            raise Refused(
                404, "not_found", f"no such route; expected POST {', '.join(f'/v1/{name}' for name in DIALECTS)}."
            )
        async with place.room:
            asked = dialect.asked(await self._body())
            self.recorder.tell(asked.ignored)
            completion = await asyncio.wrap_future(place.line.ask(asked))
        headers = [("x-rft-ignored", ", ".join(asked.ignored))] if asked.ignored else []
        if asked.stream:
            await self._stream(dialect.events(completion, asked), headers)
        else:
            await self._send(200, dialect.answer(completion, asked), headers)

    def _place(self, request: h11.Request) -> tuple[Place, str]:
        """Whose call it is, and what stands behind `/v1/`. Raises Refused."""
        path = request.target.split(b"?")[0].decode("latin-1")
        route = _ROUTE.fullmatch(path)
        if route is None:
            raise Refused(404, "not_found", "no such route; expected /v1/… or /t/<key>/v1/….")
        headers = dict(request.headers)
        bearer = headers.get(b"authorization", b"").removeprefix(b"Bearer ").decode("latin-1").strip()
        key = route["key"] or headers.get(b"x-api-key", b"").decode("latin-1") or bearer
        place = self.recorder.place_of(key)
        if self.place not in (None, place):
            raise Refused(401, "invalid_api_key", "the key belongs to another attempt; expected the one given.")
        return place, route["what"]

    async def _body(self) -> bytes:
        body = bytearray()
        if self.http.they_are_waiting_for_100_continue:
            await self._write(h11.InformationalResponse(status_code=100, headers=[]))
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise Refused(413, "too_large", f"the request has more than {MAX_BODY} bytes; expected a shorter one.")
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionResetError("the client has gone")
        return bytes(body)

    async def _drain(self) -> None:
        """Let a client whose request was refused finish it: a connection closed in between loses the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                while self.http.their_state is h11.SEND_BODY and isinstance(await self._event(), h11.Data):
                    pass

    async def _event(self) -> Any:
        while (event := self.http.next_event()) is h11.NEED_DATA:
            async with asyncio.timeout(IDLE):
                self.http.receive_data(await self.reader.read(1 << 16))
        return event

    async def _send(self, status: int, body: Any, headers: Sequence[tuple[str, str]] = ()) -> None:
        data = msgspec.json.encode(body)
        head = [("content-type", "application/json"), ("content-length", str(len(data))), *headers]
        await self._write(h11.Response(status_code=status, headers=head), h11.Data(data=data), h11.EndOfMessage())

    async def _stream(self, events: Iterator[tuple[str, Any]], headers: Sequence[tuple[str, str]]) -> None:
        head = [("content-type", "text/event-stream"), ("cache-control", "no-cache"), *headers]
        text = b"".join(_event_text(name, data) for name, data in events)
        await self._write(h11.Response(status_code=200, headers=head), h11.Data(data=text), h11.EndOfMessage())

    async def _write(self, *events: h11.Event) -> None:
        """Send, in one piece: agents wait for each packet."""
        self.writer.write(b"".join(self.http.send(event) or b"" for event in events))
        async with asyncio.timeout(IDLE):
            await self.writer.drain()


_ROUTE = re.compile(r"(?:/t/(?P<key>[\w-]{1,64}))?(?:/v1)?/(?P<what>[a-z_/]{1,64})")


def _event_text(name: str, data: Any) -> bytes:
    text = data.encode() if isinstance(data, str) else msgspec.json.encode(data)
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + text + b"\n\n"
