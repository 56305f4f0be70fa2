"""One thing that a command does, and the small tools for reading words."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Kind = Literal[
    "read",  # shows a file's content
    "search",  # shows content below a folder
    "edit",  # changes a file in place
    "write",  # writes a file whole
    "remove",  # removes a file
    "revert",  # takes a change back
    "check",  # runs tests, or a program to see what it does
    "history",  # reads what version control remembers
    "network",  # reaches for another machine
    "risk",  # can destroy what was not asked for
    "submit",
    "other",
]

OPEN_FILE = "<open file>"
"""The path of an edit that names no file: it changes the file that the agent's editor has open."""

ANY_FILE = "<some file>"
"""The path of a change whose file cannot be told."""


class Deed(NamedTuple):
    """One thing that a command does."""

    kind: Kind
    path: str = ""
    """Normalised; relative to where the command started unless it is absolute. For a check, its script."""
    check: str = ""
    """For a check: `tests` (a test runner), `script` (a program in a file), `inline` (a program in the command)."""
    change: tuple[str, str] | None = None
    """For an edit that replaces text: the old and the new text."""
    text: str = ""
    """The simple command, its words joined."""
    last: bool = False
    """Nothing runs after it in the command, so the command's exit code is its own."""
    masked: bool = False
    """Its exit code is lost in a pipe or a list."""


def same_file(one: str, other: str) -> bool:
    """Whether two paths may name one file, where one may be absolute and the other relative to a folder on its way."""
    one, other = one.lstrip("./"), other.lstrip("./")
    return bool(one and other) and (one == other or one.endswith("/" + other) or other.endswith("/" + one))


def after_options(words: tuple[str, ...], valued: tuple[str, ...] = ()) -> tuple[str, ...]:
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in valued else words[1:]
    return words


def operands(words: Sequence[str], valued: Sequence[str] = ()) -> list[str]:
    """The words that are no options; an option in `valued` takes the next word with it."""
    found: list[str] = []
    skip = only = False
    for word in words:
        if skip:
            skip = False
        elif only or word == "-" or not word.startswith("-"):
            found.append(word)
        elif word == "--":
            only = True
        else:
            skip = word in valued
    return found


def has_flag(words: Sequence[str], letter: str, *long: str) -> bool:
    """Whether an option is given: a letter, alone or among others behind one dash, or one of the long names."""
    return any(
        word in long or (word.startswith("-") and not word.startswith("--") and letter in word[:20]) for word in words
    )


def first_path(words: Sequence[str]) -> str:
    return words[0].split("::")[0] if words else ""
