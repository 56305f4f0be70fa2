"""A command line becomes deeds."""

import itertools
import posixpath
import re
from collections.abc import Callable
from functools import lru_cache

from reward_models.commands.changing import copy, git, line_editor, move, patch, remove, risky, tee
from reward_models.commands.checks import own_program, python, tests
from reward_models.commands.deed import ANY_FILE, OPEN_FILE, Deed, after_options, operands
from reward_models.commands.looking import SEARCHING, SHOWING, awk, difference, perl, search, sed, show
from reward_models.commands.network import CONNECTING, FETCHING, INSTALLING, connect, fetch, install
from reward_models.commands.tools import created, echo, editor, opened, scrolled, search_tool, string_editor, submit
from reward_models.shell import Simple, split

MAX_DEPTH = 3
"""How deep `bash -c` within `bash -c` is read."""

MAX_PARTS = 500
"""How many simple commands of one command line are looked at."""

MAX_DEEDS = 200
"""How many deeds of one command are looked at."""


@lru_cache(maxsize=4096)
def deeds(command: str) -> tuple[Deed, ...]:
    """What a command line does, in order."""
    return tuple(_deeds(command, MAX_DEPTH)[:MAX_DEEDS])


def _deeds(command: str, depth: int) -> list[Deed]:
    block = editor(command)
    if block is not None:
        return [block]
    found: list[Deed] = []
    here = "."
    parts = split(command)[:MAX_PARTS]
    for number, simple in enumerate(parts):
        words = _unwrapped(simple.words)
        if words[:1] in (("cd",), ("pushd",)) and len(words) > 1:
            here = posixpath.normpath(posixpath.join(here, words[-1]))
            continue
        new = [*_program(simple._replace(words=words), depth), *_redirected(simple)]
        last = all(part.words[:1] in (("echo",), ("true",)) for part in parts[number + 1 :] if part.before != "|")
        masked = simple.after in ("|", "||") or not all(p.before == "&&" for p in parts[number + 1 :])
        text = " ".join(words)
        found += [
            deed._replace(
                path=_joined(here, deed.path), text=deed.text or text, last=last, masked=masked or deed.masked
            )
            for deed in (new or [Deed("other")])
        ]
    return found


def _joined(here: str, path: str) -> str:
    if not path or path in (OPEN_FILE, ANY_FILE):
        return path
    return posixpath.normpath(posixpath.join(here, path))


def _redirected(simple: Simple) -> list[Deed]:
    real = [path for path in simple.writes if not path.startswith(("/dev/", "&")) and not path.isdigit()]
    more = [path for path in simple.appends if not path.startswith("/dev/")]
    return [*(Deed("write", path) for path in real), *(Deed("edit", path) for path in more)]


_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_WRAPPERS = {
    "sudo": 0, "env": 0, "time": 0, "nohup": 0, "nice": 0, "stdbuf": 0, "command": 0, "exec": 0, "builtin": 0,
    "xvfb-run": 0, "timeout": 1,
}  # fmt: skip
"""Program to how many operands of its own stand before the program that it runs."""
_RUNNERS = {"poetry", "uv", "pipenv", "hatch", "pdm", "rye", "conda", "mamba", "bundle", "npx", "pnpx", "bunx"}


def _unwrapped(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words of the program that is really run."""
    for _ in range(8):
        words = tuple(itertools.dropwhile(_ASSIGNMENT.match, words))
        if not words:
            return words
        name = posixpath.basename(words[0])
        if name in _WRAPPERS:
            rest = after_options(words[1:])[_WRAPPERS[name] :]
        elif name in _RUNNERS and words[1:2] in (("run",), ("exec",)):
            rest = after_options(words[2:], valued=("-n", "--name", "-p", "--with"))
        elif name in ("npx", "pnpx", "bunx"):
            rest = after_options(words[1:])
        else:
            return words
        if not rest:
            return words
        words = rest
    return words


def _program(simple: Simple, depth: int) -> list[Deed]:
    words = simple.words
    if not words:
        return []
    name = posixpath.basename(words[0])
    arguments = words[1:]
    if re.fullmatch(r"python[\d.]*|pypy\d*|ipython", name):
        return python(arguments, simple)
    if name in ("bash", "sh", "zsh", "dash"):
        return _shell(arguments, simple, depth)
    if name in ("xargs", "find"):
        return _fan_out(name, arguments)
    reader = _PROGRAMS.get(name)
    found = reader(arguments, simple) if reader is not None else []
    return found or tests(name, arguments) or own_program(words[0], arguments)


def _shell(arguments: tuple[str, ...], simple: Simple, depth: int) -> list[Deed]:
    if depth > 0:
        for number, word in enumerate(arguments):
            if re.fullmatch(r"-[a-z]*c", word):
                return _deeds(" ".join(arguments[number + 1 : number + 2]), depth - 1)
        if not operands(arguments) and simple.text:
            return _deeds(simple.text, depth - 1)
    script = operands(arguments)[:1]
    return own_program(f"./{script[0]}" if "/" not in script[0] else script[0], ()) if script else []


def _fan_out(name: str, arguments: tuple[str, ...]) -> list[Deed]:
    """`find … -exec grep`, `xargs sed -i`: what is done to files that the command does not name."""
    if name == "find":
        starts = [number for number, word in enumerate(arguments) if word in ("-exec", "-execdir", "-ok")]
        if "-delete" in arguments:
            return [Deed("remove", ANY_FILE)]
        if not starts:
            return [Deed("other")]
        inner = arguments[starts[0] + 1 :]
    else:
        inner = after_options(arguments, valued=("-I", "-n", "-P", "-L", "-d", "-a", "-s"))
    inner = tuple(ANY_FILE if word == "{}" else word for word in inner if word not in (";", "+"))
    inner = inner if ANY_FILE in inner else (*inner, ANY_FILE)
    done = _program(Simple(words=inner), 0) if inner and inner[0] not in ("xargs", "find") else []
    changes = [deed._replace(path=ANY_FILE) for deed in done if deed.kind in ("edit", "write", "remove")]
    looks = inner[:1] and inner[0] in (*SHOWING, *SEARCHING, "sed", "awk")
    return changes or ([Deed("search", ".")] if looks else [Deed("other")])


_PROGRAMS: dict[str, Callable[[tuple[str, ...], Simple], list[Deed]]] = {
    **dict.fromkeys(SHOWING, show),
    **dict.fromkeys(SEARCHING, search),
    **dict.fromkeys(("diff", "cmp", "comm", "sdiff"), difference),
    **dict.fromkeys(("goto", "scroll_up", "scroll_down", "set_cursors"), scrolled),
    **dict.fromkeys(("ed", "ex"), line_editor),
    **dict.fromkeys(("patch", "apply_patch"), patch),
    **dict.fromkeys(("dd", "mkfs", "shutdown", "reboot", "chmod", "chown", "kill"), risky),
    **dict.fromkeys(("str_replace_editor", "str_replace_based_edit_tool"), string_editor),
    **dict.fromkeys(("submit",), submit),
    **dict.fromkeys(FETCHING, fetch),
    **dict.fromkeys(CONNECTING, connect),
    **dict.fromkeys(INSTALLING, install),
    "open": opened,
    "search_file": lambda arguments, simple: [Deed("read", (operands(arguments)[1:2] or [OPEN_FILE])[0])],
    "search_dir": search_tool,
    "create": created,
    "undo_edit": lambda arguments, simple: [Deed("revert", (operands(arguments)[:1] or [OPEN_FILE])[0])],
    "sed": sed,
    "awk": awk,
    "gawk": awk,
    "perl": perl,
    "tee": tee,
    "cp": copy,
    "mv": move,
    "rm": remove,
    "git": git,
    "echo": echo,
}
