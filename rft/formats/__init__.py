"""Other programs' trajectories, read into records and written from them.

`read` finds the format in the content. A format is a module with `fits` (does a document look like it) and `read` (a
document as an attempt); what it holds that rft has no field for is kept in `extra`, or counted there.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import msgspec
from msgspec.structs import replace

from rft.errors import RecipeError, did_you_mean
from rft.formats import atif, chat, inspect_logs, mini, openhands, records, swe_agent
from rft.formats.documents import Document, documents, is_conversation, wrong
from rft.formats.trajectory import ANONYMOUS as ANONYMOUS
from rft.plugins import first_line
from rft.types import StopReason, Trajectory

FORMATS: dict[str, ModuleType] = {
    "rft": records,
    "atif": atif,
    "inspect": inspect_logs,
    "mini-swe-agent": mini,
    "swe-agent": swe_agent,
    "openhands": openhands,
    "chat": chat,
}
"""Name to module; the first whose `fits` says so reads a document."""


def read(path: Path, format: str = "") -> Iterator[Trajectory | RecipeError]:
    """The attempts of a file, or of a folder that holds one conversation; in the place of what cannot be read, the
    error that says where and why.

    An attempt has its source's id, or none (``""``). The format is found in the first document unless it is named.
    Memory does not grow with a file that holds an attempt a line. Raises RecipeError when the file cannot be opened, or
    when there is no such format.
    """
    if format and format not in FORMATS:
        raise RecipeError(
            f"{format}: no format that rft reads; expected {', '.join(FORMATS)}.{did_you_mean(format, FORMATS)}"
        )
    chosen = FORMATS.get(format)
    for document in _split(_joined(documents(path), path)):
        if isinstance(document, RecipeError):
            yield document
            continue
        chosen = chosen or _format_of(document.value)
        yield _unknown(document.where) if chosen is None else _attempt(chosen, document)


def strictly(attempts: Iterable[Trajectory | RecipeError]) -> Iterator[Trajectory]:
    """The attempts; raises the first error instead of passing it on."""
    for attempt in attempts:
        if isinstance(attempt, RecipeError):
            raise attempt
        yield attempt


def files_in(path: Path) -> list[Path]:
    """The files of a folder, in order, a folder that holds one conversation as one; a file as it is."""
    if not path.is_dir() or is_conversation(path):
        return [path]
    found: list[Path] = []
    for inner in sorted(path.iterdir()):
        if not inner.name.startswith("."):
            found += files_in(inner)
    return found


def format_of(path: Path) -> str:
    """The name of the format of a file's first document; empty for a file that holds something else."""
    try:
        found = (document for document in _joined(documents(path), path) if isinstance(document, Document))
        first = next(found, None)
    except RecipeError:
        return ""
    chosen = _format_of(first.value) if first is not None else None
    return next((name for name, module in FORMATS.items() if module is chosen), "")


def _format_of(value: Any) -> ModuleType | None:
    return next((module for module in FORMATS.values() if module.fits(value)), None)


def _joined(found: Iterable[Document | RecipeError], path: Path) -> Iterator[Document | RecipeError]:
    """A file with an event a line is one document; an array of attempts is several."""
    events: list[Any] = []
    for document in found:
        if isinstance(document, Document) and openhands.is_event(document.value):
            events.append(document.value)
        elif isinstance(document, Document) and _is_several(document.value):
            for number, value in enumerate(document.value):
                yield Document(value, f"{document.where}[{number}]", path)
        else:
            yield document
    if events:
        yield Document(events, str(path), path)


def _is_several(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and _format_of(value) is None and _format_of(value[0]) is not None


def _split(found: Iterable[Document | RecipeError]) -> Iterator[Document | RecipeError]:
    """An Inspect log is a document a sample."""
    for document in found:
        if isinstance(document, Document) and inspect_logs.fits(document.value):
            try:
                yield from inspect_logs.parts(document)
            except RecipeError as error:
                yield error
        else:
            yield document


def _attempt(chosen: ModuleType, document: Document) -> Trajectory | RecipeError:
    """The attempt of a document, known to be one that can be stored."""
    try:
        attempt = cast(Trajectory, chosen.read(document))
        if not isinstance(document.value, Trajectory):
            attempt = replace(attempt, source=document.where)
            if not attempt.steps and attempt.failure is None and attempt.stop is not StopReason.ERROR:
                raise wrong(document.where, "", "no turn of an agent; expected at least one")
            msgspec.json.encode(attempt)
        return attempt
    except RecipeError as error:
        return error
    except (RecursionError, OverflowError, UnicodeError, ValueError, TypeError, msgspec.MsgspecError) as error:
        return RecipeError(
            f"{document.where}: cannot be kept ({first_line(error) or type(error).__name__}); expected plain JSON of "
            "moderate depth. Mend it."
        )


def _unknown(where: str) -> RecipeError:
    return RecipeError(
        f"{where}: no trajectory of a format that rft knows; expected {', '.join(FORMATS)}. Name it with --format if "
        "it is one of these."
    )
