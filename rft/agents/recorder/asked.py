"""One call to the model in the recorder's own words, whichever dialect it came in."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rft.types import Message, Tool


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an agent asks."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    model: str = "policy"
    """The name that the agent knows the policy by; any will do."""
    stream: bool = False
    usage: bool = False
    """A stream is to end with what the call took."""
    ignored: Sequence[str] = field(default=())
    """Parameters that were given and that the policy does not heed: the recipe says how it samples."""


class Refused(Exception):
    """The answer to a call that cannot be served: an HTTP status, a word for programs and one line for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def body(self) -> dict[str, Any]:
        """The error in a shape that both dialects read."""
        kind = "invalid_request_error" if self.status < 500 else "api_error"
        message = " ".join("".join(c if c.isprintable() else " " for c in str(self)).split())[:500]
        return {"type": "error", "error": {"type": kind, "code": self.code, "message": message, "param": None}}


def read(body: bytes, kind: type[Any], unheeded: frozenset[str]) -> tuple[Any, list[str]]:
    """A request of the shape `kind`, and which of its fields are neither heeded nor in `unheeded`. Raises Refused."""
    try:
        given = msgspec.json.decode(body)
        request = msgspec.convert(given, kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Refused(400, "invalid_request", f"body: {error}; expected a request as the API describes it.") from None
    known = {name for one in msgspec.structs.fields(kind) for name in (one.name, one.encode_name)}
    return request, sorted(_NAME.sub("?", key)[:60] for key in _given(given) if key not in known | unheeded)[:20]


_NAME = re.compile(r"[^\w.-]", re.ASCII)


def _given(request: Mapping[str, Any]) -> list[str]:
    return [key for key, value in request.items() if value is not None]
