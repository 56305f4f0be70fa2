"""The tools that agents bring with them: SWE-agent's file viewer and editors, `str_replace_editor`, submission."""

import re

from reward_models.commands.deed import OPEN_FILE, Deed, Kind, operands
from reward_models.shell import Simple, split

_EDIT_BLOCK = re.compile(r"\s*(edit|insert|append)\b")


def editor(command: str) -> Deed | None:
    """Tools whose text no shell would take: SWE-agent's `edit`, `insert` and `append` on the open file."""
    match = _EDIT_BLOCK.match(command)
    if match is None:
        return None
    parts = split(command) if match[1] == "edit" and "end_of_edit" not in command else []
    words = parts[0].words[1:] if parts else ()
    change = (words[-2], words[-1]) if len(words) in (2, 3) and not words[0].startswith("-") else None
    return Deed("edit", OPEN_FILE, change=change, text=command[:2000], last=True)


def opened(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`open FILE`."""
    return [Deed("read", path) for path in operands(arguments)[:1] or [OPEN_FILE]]


def scrolled(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`goto` and scrolling show the open file."""
    return [Deed("read", OPEN_FILE)]


def created(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`create FILE`."""
    return [Deed("write", path) for path in operands(arguments)[:1]]


def search_tool(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`search_dir TEXT FOLDER`."""
    return [Deed("search", (operands(arguments)[1:2] or ["."])[0])]


def string_editor(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`str_replace_editor view|create|str_replace|insert|undo_edit PATH …`."""
    verb, path = arguments[:2] if len(arguments) > 1 else ("", "")
    if verb == "str_replace":
        texts = [arguments[n + 1] for f in ("--old_str", "--new_str") for n, w in enumerate(arguments[:-1]) if w == f]
        return [Deed("edit", path, change=(texts[0], texts[1]) if len(texts) == 2 else None)]
    kinds: dict[str, Kind] = {"view": "read", "create": "write", "insert": "edit", "undo_edit": "revert"}
    return [Deed(kinds[verb], path)] if verb in kinds else [Deed("other")]


def submit(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`submit` ends an attempt."""
    return [Deed("submit")]


def echo(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`echo`, by which mini-swe-agent's agents submit."""
    return [Deed("submit")] if arguments[:1] == ("COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",) else [Deed("other")]
