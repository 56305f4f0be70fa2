"""The page that `rft rubric label` shows, over HTTP on this machine only.

The address holds a random token: without it there is nothing here, neither for other users of the machine nor for
pages that the browser has open. Forms are taken only from this page's own address.
"""

import hmac
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from rft.errors import RecipeError, StoreError
from rft.view.page import render

if TYPE_CHECKING:
    from rft.workbench.label import Session

MAX_FORM = 1 << 20
"""Bytes of a form."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def serve(session: "Session", *, port: int = 0) -> None:
    """Print the address and answer until interrupted. Raises RecipeError when the port is taken."""
    with Server(session, port=port) as server:
        print(f"open {server.url}\nevery answer is kept at once; end with Ctrl-C", flush=True)
        server.serve_forever()


class Server(ThreadingHTTPServer):
    """Serves one session on loopback, under a random token."""

    daemon_threads = True

    def __init__(self, session: "Session", *, port: int = 0) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise RecipeError(f"--port {port}: cannot be used ({error}). Choose another, or leave it out.") from None
        self.session = session
        self.token = secrets.token_urlsafe(24)
        self.url = f"http://127.0.0.1:{self.server_port}/{self.token}/"


class _Refused(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 30
    server_version = "rft"
    sys_version = ""

    def do_GET(self) -> None:
        self._guarded(self._show)

    def do_POST(self) -> None:
        self._guarded(self._take)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a log of addresses would hold the token."""

    def _guarded(self, answer: object) -> None:
        assert callable(answer)
        try:
            self._refuse_strangers()
            answer()
        except _Refused as refused:
            self._send(refused.status, refused.status.phrase.encode(), "text/plain")
        except StoreError as error:
            self._send(HTTPStatus.INSUFFICIENT_STORAGE, str(error).encode(), "text/plain")

    def _refuse_strangers(self) -> None:
        """Who does not know the token, comes by another name for this machine, or from another page."""
        own = f"127.0.0.1:{self.server.server_port}"
        token = self.path.lstrip("/").partition("/")[0]
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise _Refused(HTTPStatus.NOT_FOUND)
        origin = self.headers.get("Origin")
        if self.headers.get("Host") != own or origin not in (None, f"http://{own}"):
            raise _Refused(HTTPStatus.FORBIDDEN)

    def _number(self) -> int | None:
        """Which attempt the address asks for; None for the first that is open. Refuses what is not in the sample."""
        path, session = urlsplit(self.path), self.server.session
        if path.path != f"/{self.server.token}/":
            raise _Refused(HTTPStatus.NOT_FOUND)
        given = parse_qs(path.query).get("attempt", [""])[0]
        if not given:
            return session.following()
        if not (given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= len(session.order)):
            raise _Refused(HTTPStatus.NOT_FOUND)
        return int(given) - 1

    def _show(self) -> None:
        session, number = self.server.session, self._number()
        done = [session.is_done(other) for other in range(len(session.order))]
        values = {"session": session, "done": done, "number": number, "run": session.scored.run.path}
        if number is None:
            page = render("labelled.html.jinja", title="All labelled", **values)
        else:
            transcript = session.transcript(number)
            asked = session.asked(transcript)
            some = any(one.given for one in asked) and not all(one.given for one in asked)
            page = render(
                "label.html.jinja",
                title=f"Attempt {number + 1} of {len(done)}",
                transcript=transcript,
                asked=asked,
                some=some,
                view=session.scored.rubric.view,
                **values,
            )
        self._send(HTTPStatus.OK, page.encode("utf-8", "replace"), "text/html")

    def _take(self) -> None:
        number = self._number()
        if number is None:
            raise _Refused(HTTPStatus.BAD_REQUEST)
        try:
            self.server.session.take(number, self._form())
        except ValueError:
            raise _Refused(HTTPStatus.BAD_REQUEST) from None
        session = self.server.session
        following = session.following(number) if session.is_done(number) else number
        self.send_response(HTTPStatus.SEE_OTHER)
        where = f"?attempt={following + 1}" if following is not None else ""
        self.send_header("Location", f"/{self.server.token}/{where}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _form(self) -> dict[str, str]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED)
        if len(length) > 9 or int(length) > MAX_FORM:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = self.rfile.read(int(length)).decode("utf-8")
        fields = parse_qs(body, keep_blank_values=True, strict_parsing=bool(body), max_num_fields=1000)
        return {name: values[-1] for name, values in fields.items()}

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
