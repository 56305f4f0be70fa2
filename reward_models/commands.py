"""What a command does, read from its text alone: which files it reads and changes, which checks it runs.

It decides from names and options and never runs anything. It never raises, and its time is bounded by the
length of the command.
"""

import itertools
import posixpath
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from reward_models.shell import Simple, split

Kind = Literal[
    "read",  # shows a file's content
    "search",  # shows content below a folder
    "edit",  # changes a file in place
    "write",  # writes a file whole
    "remove",  # removes a file
    "revert",  # takes a change back
    "check",  # runs tests, or a program to see what it does
    "history",  # reads what version control remembers
    "risk",  # can destroy what was not asked for
    "submit",
    "other",
]

OPEN_FILE = "<open file>"
"""The path of an edit that names no file: it changes the file that the agent's editor has open."""

ANY_FILE = "<some file>"
"""The path of a change whose file cannot be told."""

MAX_DEPTH = 3
"""How deep `bash -c` within `bash -c` is read."""

MAX_PARTS = 500
"""How many simple commands of one command line are looked at."""

MAX_DEEDS = 200
"""How many deeds of one command are looked at."""


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


@lru_cache(maxsize=4096)
def deeds(command: str) -> tuple[Deed, ...]:
    """What a command line does, in order."""
    return tuple(_deeds(command, MAX_DEPTH)[:MAX_DEEDS])


def same_file(one: str, other: str) -> bool:
    """Whether two paths may name one file, where one may be absolute and the other relative to a folder on its way."""
    one, other = one.lstrip("./"), other.lstrip("./")
    return bool(one and other) and (one == other or one.endswith("/" + other) or other.endswith("/" + one))


def _deeds(command: str, depth: int) -> list[Deed]:
    editor = _editor(command)
    if editor is not None:
        return [editor]
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


# ---------------------------------------------------------------------------------------- wrappers

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
            rest = _after_options(words[1:])[_WRAPPERS[name] :]
        elif name in _RUNNERS and words[1:2] in (("run",), ("exec",)):
            rest = _after_options(words[2:], valued=("-n", "--name", "-p", "--with"))
        elif name in ("npx", "pnpx", "bunx"):
            rest = _after_options(words[1:])
        else:
            return words
        if not rest:
            return words
        words = rest
    return words


def _after_options(words: tuple[str, ...], valued: tuple[str, ...] = ()) -> tuple[str, ...]:
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


# ---------------------------------------------------------------------------------------- programs


def _program(simple: Simple, depth: int) -> list[Deed]:
    words = simple.words
    if not words:
        return []
    name = posixpath.basename(words[0])
    arguments = words[1:]
    if re.fullmatch(r"python[\d.]*|pypy\d*|ipython", name):
        return _python(arguments, simple)
    if name in ("bash", "sh", "zsh", "dash"):
        return _shell(arguments, simple, depth)
    if name in ("xargs", "find"):
        return _fan_out(name, arguments)
    reader = _PROGRAMS.get(name)
    if reader is not None:
        return reader(arguments, simple)
    return _tests(name, arguments) or _own_program(words[0], arguments)


def _own_program(program: str, arguments: tuple[str, ...]) -> list[Deed]:
    """`./reproduce.sh`, `node app.js`: a program of the working directory."""
    name = posixpath.basename(program)
    if name in ("node", "ruby", "perl", "php", "Rscript", "deno", "ts-node", "julia", "lua"):
        script = operands(arguments)[:1]
        return [Deed("check", script[0], check="script")] if script else [Deed("check", check="inline")]
    if program.startswith(("./", "../")) or program.endswith((".sh", ".py")):
        return [Deed("check", program, check="tests" if _names_tests(name) else "script")]
    return []


def _names_tests(name: str) -> bool:
    """Whether a script's name says that it runs tests: check.py, runtests.py, run_tests.sh, test.sh, test_x.py."""
    stem = name.rsplit(".", 1)[0].lower()
    return bool(
        re.fullmatch(r"(run[_-]?)?(all[_-]?)?(tests?|checks?|specs?)([_-].*)?|.*[_-]tests?|runtests?|verify", stem)
    )


_TEST_PROGRAMS = frozenset(
    [
        "pytest",
        "py.test",
        "tox",
        "nox",
        "nosetests",
        "nose2",
        "trial",
        "jest",
        "vitest",
        "mocha",
        "ava",
        "rspec",
        "phpunit",
        "ctest",
        "green",
        "ward",
        "stestr",
    ]
)
_TEST_TARGETS = {
    "make": ("test", "tests", "check"), "npm": ("test", "t"), "yarn": ("test",), "pnpm": ("test",), "bun": ("test",),
    "go": ("test",), "cargo": ("test", "nextest"), "mvn": ("test", "verify"), "gradle": ("test", "check"),
    "gradlew": ("test", "check"), "dotnet": ("test",), "bazel": ("test",), "rake": ("test", "spec"),
    "mix": ("test",), "sbt": ("test",), "deno": ("test",), "hatch": ("test",), "just": ("test",), "lein": ("test",),
    "swift": ("test",), "zig": ("test",), "composer": ("test",), "coverage": ("run",), "django-admin": ("test",),
}  # fmt: skip


def _tests(name: str, arguments: tuple[str, ...]) -> list[Deed]:
    named = operands(arguments, valued=("-C", "-f", "-p", "--manifest-path"))
    if name in _TEST_PROGRAMS:
        if any(flag in arguments for flag in ("--collect-only", "--co", "--version", "--help", "-h", "--fixtures")):
            return [Deed("other")]
        return [Deed("check", _first_path(named), check="tests")]
    targets = _TEST_TARGETS.get(name, ())
    wanted = named[1:] if named[:1] == ["run"] and name != "coverage" else named
    if any(word in targets or word.startswith(("test:", "test-", "test_")) for word in wanted[:2]) and targets:
        return [Deed("check", check="tests")]
    if name in ("go", "cargo") and named[:1] == ["run"]:
        return [Deed("check", _first_path(named[1:]), check="script")]
    return []


def _first_path(words: Sequence[str]) -> str:
    return words[0].split("::")[0] if words else ""


_TEST_MODULES = frozenset(["pytest", "unittest", "tox", "nox", "nose", "nose2", "doctest", "green", "twisted.trial"])
_IDLE_MODULES = frozenset(
    [
        "pip",
        "venv",
        "ensurepip",
        "http.server",
        "json.tool",
        "py_compile",
        "compileall",
        "black",
        "ruff",
        "flake8",
        "mypy",
        "isort",
        "pylint",
        "site",
        "sysconfig",
        "build",
        "setuptools",
        "virtualenv",
        "pdb",
        "cProfile",
        "timeit",
        "this",
        "tokenize",
        "ast",
        "dis",
        "zipfile",
        "tarfile",
    ]
)


def _python(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`python [options] script | -m module | -c code | -`."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-") and arguments[at] != "-":
        option = arguments[at]
        if option == "-m":
            return _module(arguments[at + 1 :])
        if option == "-c":
            return _inline(" ".join(arguments[at + 1 : at + 2]))
        if option in ("--version", "-V", "-VV", "--help", "-h"):
            return [Deed("other")]
        at += 2 if option in ("-W", "-X") else 1
    script = arguments[at] if at < len(arguments) else "-"
    if script == "-":
        return _inline(simple.text)
    name = posixpath.basename(script)
    if name == "setup.py":
        return [Deed("check", check="tests")] if "test" in arguments[at + 1 :] else [Deed("other")]
    if name == "manage.py":
        return [Deed("check", check="tests")] if "test" in arguments[at + 1 :] else [Deed("other")]
    return [Deed("check", script, check="tests" if _names_tests(name) else "script")]


def _module(words: tuple[str, ...]) -> list[Deed]:
    name = words[0] if words else ""
    if name in _TEST_MODULES:
        return _tests("pytest", words[1:])
    if name == "coverage":
        return _module(words[words.index("-m") + 1 :]) if "-m" in words[1:] else _tests("coverage", words[1:])
    if not name or name in _IDLE_MODULES:
        return [Deed("other")]
    return [Deed("check", check="script")]


_OPENED = re.compile(
    r"""open\(\s*(?:['"]([^'"\n]{1,300})['"]|(\w{1,60}))\s*,\s*(?:mode\s*=\s*)?['"]([rwax+bt]{1,4})['"]"""
)
_PATH_WRITTEN = re.compile(r"""(?:Path\(\s*['"]([^'"\n]{1,300})['"]\s*\)|\b(\w{1,60}))\.write_(?:text|bytes)\(""")
_NAMED = re.compile(r"""^[ \t]*(\w{1,60})[ \t]*=[ \t]*(?:[\w.]{1,40}\()?['"]([^'"\n]{1,300})['"]""", re.MULTILINE)
_SHOWS = re.compile(r"(?m)(^|;)\s*(import|from|assert)\s")


def _inline(code: str) -> list[Deed]:
    """A program in the command: a change of the files that it writes, a check when it uses some module."""
    names = {match[1]: match[2] for match in _NAMED.finditer(code)}
    changed: list[Deed] = []
    for match in _OPENED.finditer(code):
        if set(match[3]) & set("wax+"):
            path = match[1] or names.get(match[2], ANY_FILE)
            changed.append(Deed("edit" if ".read()" in code else "write", path))
    for match in _PATH_WRITTEN.finditer(code):
        path = match[1] or names.get(match[2], ANY_FILE)
        changed.append(Deed("edit" if "read_" in code else "write", path))
    if changed:
        return changed
    return [Deed("check", check="inline")] if _SHOWS.search(code) else [Deed("other")]


def _shell(arguments: tuple[str, ...], simple: Simple, depth: int) -> list[Deed]:
    if depth > 0:
        for number, word in enumerate(arguments):
            if re.fullmatch(r"-[a-z]*c", word):
                return _deeds(" ".join(arguments[number + 1 : number + 2]), depth - 1)
        if not operands(arguments) and simple.text:
            return _deeds(simple.text, depth - 1)
    script = operands(arguments)[:1]
    return _own_program(f"./{script[0]}" if "/" not in script[0] else script[0], ()) if script else []


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
        inner = _after_options(arguments, valued=("-I", "-n", "-P", "-L", "-d", "-a", "-s"))
    inner = tuple(ANY_FILE if word == "{}" else word for word in inner if word not in (";", "+"))
    inner = inner if ANY_FILE in inner else (*inner, ANY_FILE)
    done = _program(Simple(words=inner), 0) if inner and inner[0] not in ("xargs", "find") else []
    changes = [deed._replace(path=ANY_FILE) for deed in done if deed.kind in ("edit", "write", "remove")]
    looks = inner[:1] and inner[0] in (*_SHOWING, *_SEARCHING, "sed", "awk")
    return changes or ([Deed("search", ".")] if looks else [Deed("other")])


# ---------------------------------------------------------------------------------------- looking

_SHOWING = ("cat", "head", "tail", "less", "more", "nl", "bat", "batcat", "tac", "xxd", "od", "strings", "view")
_SEARCHING = ("grep", "egrep", "fgrep", "zgrep", "rg", "ag", "ack")


def _show(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    counted = ("-n", "-c", "--lines", "--bytes") if simple.words[0].endswith(("head", "tail")) else ()
    paths = operands(arguments, valued=counted)
    return [Deed("read", path) for path in [*paths, *simple.takes] if path != "-"]


_GREP_VALUED = (
    "-e",
    "-f",
    "-A",
    "-B",
    "-C",
    "-m",
    "-g",
    "-t",
    "-T",
    "--include",
    "--exclude",
    "--exclude-dir",
    "--glob",
)


def _search(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    words = operands(arguments, valued=_GREP_VALUED)
    has_pattern = any(word in ("-e", "-f") or word.startswith(("--regexp", "--file")) for word in arguments)
    paths = words if has_pattern else words[1:]
    quiet = has_flag(arguments, "q", "--quiet", "--silent")
    name = posixpath.basename(simple.words[0])
    deep = name in ("rg", "ag", "ack", "rgrep") or any(has_flag(arguments, c, "--recursive") for c in "rR")
    if quiet or (simple.before == "|" and not paths):
        return [Deed("other")]
    if deep:
        return [Deed("search", path) for path in paths or ["."]]
    return [Deed("search" if "*" in path else "read", path) for path in [*paths, *simple.takes]]


_SUBSTITUTION = re.compile(
    r"^[\d,$ /^\w.*+\-\\()\[\]]{0,200}?s(?P<d>[^\w\s\\])(?P<old>.{0,500}?)(?<!\\)(?P=d)(?P<new>.{0,500}?)(?<!\\)(?P=d)"
)


def _sed(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    in_place = any(re.match(r"-[nErsuz]{0,6}i|--in-place", word) for word in arguments)
    scripts = [arguments[n + 1] for n, word in enumerate(arguments[:-1]) if word in ("-e", "--expression", "-f")]
    words = operands(arguments, valued=("-e", "--expression", "-f", "-l"))
    paths = words if scripts else words[1:]
    script = (scripts or words[:1] or [""])[0]
    if not in_place:
        return [Deed("read", path) for path in [*paths, *simple.takes]]
    match = _SUBSTITUTION.match(script[:2000])
    change = (match["old"], match["new"]) if match else None
    return [Deed("edit", path, change=change) for path in paths] or [Deed("other")]


def _awk(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    paths = operands(arguments, valued=("-F", "-v", "-f", "-i"))[0 if "-f" in arguments else 1 :]
    kind: Kind = "edit" if "inplace" in arguments else "read"
    return [Deed(kind, path) for path in paths]


def _perl(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    paths = operands(arguments, valued=("-e", "-pe", "-ne", "-pie", "-i"))
    if has_flag(arguments, "i"):
        scripted = has_flag(arguments, "e")
        return [Deed("edit", path) for path in (paths[1:] if scripted and len(paths) > 1 else paths)]
    return _own_program("perl", arguments)


def _difference(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    return [Deed("read", path) for path in operands(arguments, valued=("-U", "-C"))]


# ---------------------------------------------------------------------------------------- changing


def _tee(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    kind: Kind = "edit" if "-a" in arguments or "--append" in arguments else "write"
    return [Deed(kind, path) for path in operands(arguments) if not path.startswith("/dev/")]


def _copy(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    words = operands(arguments, valued=("-t", "-S"))
    return [Deed("write", words[-1])] if len(words) > 1 else [Deed("other")]


def _move(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    words = operands(arguments, valued=("-t", "-S"))
    return [*(Deed("remove", path) for path in words[:-1]), *_copy(arguments, simple)]


def _remove(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    words = operands(arguments)
    deep = any(has_flag(arguments, c, "--recursive") for c in "rR")
    wide = [word for word in words if re.fullmatch(r"[./*~]+|/\w*/?|\$HOME/?|\.git/?|\./\.git/?", word)]
    risks = [Deed("risk", word) for word in wide if deep]
    return [*risks, *(Deed("remove", word) for word in words)] or [Deed("other")]


_PATCHED = re.compile(
    r"^\+\+\+ (?:b/)?([^\t\n]{1,300})|^\*\*\* (?:Update|Add|Delete) File: ([^\n]{1,300})", re.MULTILINE
)


def _patch(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    if "--dry-run" in arguments or "--check" in arguments or "--stat" in arguments:
        return [Deed("other")]
    text = simple.text or "\n".join(arguments)
    return [Deed("edit", (m[1] or m[2]).strip()) for m in _PATCHED.finditer(text)] or [Deed("edit", ANY_FILE)]


def _line_editor(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    paths = operands(arguments, valued=("-c", "-s"))
    return [Deed("edit", paths[-1])] if paths else [Deed("other")]


def _risky(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    name = posixpath.basename(simple.words[0])
    if name in ("chmod", "chown"):
        wide = "-R" in arguments and ("777" in arguments or "/" in arguments)
        return [Deed("risk" if wide else "other")]
    if name == "kill":
        return [Deed("risk" if "-1" in arguments[-1:] else "other")]
    return [Deed("risk")]


def _git(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    words = _after_options(arguments, valued=("-C", "-c", "--git-dir", "--work-tree"))
    verb, rest = (words[0], words[1:]) if words else ("", ())
    named = operands(rest)
    if verb in ("checkout", "restore"):
        if "-b" in rest or (verb == "checkout" and not named):
            return [Deed("other")]
        whole = "--" not in rest and verb == "checkout" and not any("." in w or "/" in w for w in named)
        return [Deed("other")] if whole else [Deed("revert", path) for path in named if path not in ("HEAD", "-")]
    if verb == "stash":
        return [
            Deed("revert" if rest[:1] in ((), ("push",), ("save",), ("-u",)) else "other", "." if not named else "")
        ]
    if verb == "reset":
        return [Deed("revert", "."), Deed("risk")] if "--hard" in rest else [Deed("other")]
    if verb in ("clean", "push", "filter-branch", "update-ref"):
        return [Deed("other" if "-n" in rest else "risk")]
    if verb in ("log", "show", "reflog", "blame", "cat-file", "rev-list", "shortlog", "fsck"):
        return [Deed("history", _first_path([w.partition(":")[2] for w in named if ":" in w]))]
    if verb == "diff":
        return [Deed("search", path) for path in [w for w in named if not w.startswith("HEAD")] or ["."]]
    if verb == "grep":
        return [Deed("search", ".")]
    if verb in ("apply", "am"):
        return _patch(rest, simple)
    moved = {"rm": _remove, "mv": _move}.get(verb)
    return moved(rest, simple) if moved else [Deed("other")]


# ---------------------------------------------------------------------------------------- agents' own tools

_EDIT_BLOCK = re.compile(r"\s*(edit|insert|append)\b")


def _editor(command: str) -> Deed | None:
    """Tools whose text no shell would take: SWE-agent's `edit`, `insert` and `append` on the open file."""
    match = _EDIT_BLOCK.match(command)
    if match is None:
        return None
    parts = split(command) if match[1] == "edit" and "end_of_edit" not in command else []
    words = parts[0].words[1:] if parts else ()
    change = (words[-2], words[-1]) if len(words) in (2, 3) and not words[0].startswith("-") else None
    return Deed("edit", OPEN_FILE, change=change, text=command[:2000], last=True)


def _opened(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    return [Deed("read", path) for path in operands(arguments)[:1] or [OPEN_FILE]]


def _scrolled(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    return [Deed("read", OPEN_FILE)]


def _created(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    return [Deed("write", path) for path in operands(arguments)[:1]]


def _search_tool(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    return [Deed("search", (operands(arguments)[1:2] or ["."])[0])]


def _string_editor(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`str_replace_editor view|create|str_replace|insert|undo_edit PATH …`."""
    verb, path = arguments[:2] if len(arguments) > 1 else ("", "")
    if verb == "str_replace":
        texts = [arguments[n + 1] for f in ("--old_str", "--new_str") for n, w in enumerate(arguments[:-1]) if w == f]
        return [Deed("edit", path, change=(texts[0], texts[1]) if len(texts) == 2 else None)]
    kinds: dict[str, Kind] = {"view": "read", "create": "write", "insert": "edit", "undo_edit": "revert"}
    return [Deed(kinds[verb], path)] if verb in kinds else [Deed("other")]


def _submit(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    return [Deed("submit")]


def _echo(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    return [Deed("submit")] if arguments[:1] == ("COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT",) else [Deed("other")]


_PROGRAMS: dict[str, Callable[[tuple[str, ...], Simple], list[Deed]]] = {
    **dict.fromkeys(_SHOWING, _show),
    **dict.fromkeys(_SEARCHING, _search),
    **dict.fromkeys(("diff", "cmp", "comm", "sdiff"), _difference),
    **dict.fromkeys(("goto", "scroll_up", "scroll_down", "set_cursors"), _scrolled),
    **dict.fromkeys(("ed", "ex"), _line_editor),
    **dict.fromkeys(("patch", "apply_patch"), _patch),
    **dict.fromkeys(("dd", "mkfs", "shutdown", "reboot", "chmod", "chown", "kill"), _risky),
    **dict.fromkeys(("str_replace_editor", "str_replace_based_edit_tool"), _string_editor),
    **dict.fromkeys(("submit",), _submit),
    "open": _opened,
    "search_file": lambda arguments, simple: [Deed("read", (operands(arguments)[1:2] or [OPEN_FILE])[0])],
    "search_dir": _search_tool,
    "create": _created,
    "undo_edit": lambda arguments, simple: [Deed("revert", (operands(arguments)[:1] or [OPEN_FILE])[0])],
    "sed": _sed,
    "awk": _awk,
    "gawk": _awk,
    "perl": _perl,
    "tee": _tee,
    "cp": _copy,
    "mv": _move,
    "rm": _remove,
    "git": _git,
    "echo": _echo,
}
