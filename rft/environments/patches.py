"""Patches: mended, cut into files, counted, matched against path patterns, and made from two texts."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}


@dataclass(frozen=True, kw_only=True)
class FilePatch:
    """What a patch does to one file."""

    text: str
    """The patch's lines for this file, header included."""
    paths: tuple[str, ...]
    """Every path it names, sorted: one, or two where it renames or copies."""
    added: int
    removed: int
    is_new: bool
    """It makes a file that was not there: a new one, or one by another name."""


def read(patch: str) -> list[FilePatch]:
    """The files of a patch as models write them: git's format, or what can be mended to it.

    Mended are carriage returns of a patch that was turned to DOS lines, absent `diff --git` lines and `a/` and `b/`,
    what stands before the first file, wrong counts of lines in a hunk's header, and an end that was cut of its empty
    lines. Raises ValueError when it is no patch.
    """
    try:
        files = split(patch)
        if not any("\r" in path for file in files for path in file.paths):
            return files
    except ValueError:
        pass
    files = split(_mended(patch))
    if not files:
        raise ValueError("it holds no file's changes")
    return files


def split(patch: str) -> list[FilePatch]:
    """The files of a patch in git's format, in order; their texts joined are the patch.

    Raises ValueError when the text is not such a patch.
    """
    sections: list[list[str]] = []
    open_old = open_new = 0
    for line in _lines(patch):
        if open_old or open_new:
            old, new = _consumed(line)
            open_old, open_new = open_old - old, open_new - new
            if open_old < 0 or open_new < 0:
                raise ValueError("a hunk has more lines than its header says")
        elif line.startswith("diff --git "):
            sections.append([])
        elif hunk := _HUNK.match(line):
            open_old, open_new = (int(count) if count else 1 for count in hunk.groups())
        if not sections:
            raise ValueError("it does not start with 'diff --git'")
        sections[-1].append(line)
    if open_old or open_new:
        raise ValueError("its last hunk is cut off")
    return [_file(section) for section in sections]


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Is the path, or one of its parts, named by one of the fnmatch patterns?"""
    names = {path, *path.split("/")}
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def make(path: str, old: str, new: str) -> str:
    """The git patch that turns the text `old` of a file into `new`; both end with a line feed, or are empty."""
    rows = difflib.unified_diff(_lines(old), _lines(new), f"a/{path}", f"b/{path}")
    body = "".join(rows)
    return f"diff --git a/{path} b/{path}\n{body}" if body else ""


def reverse(patch: str) -> str:
    """The git patch that undoes a patch. Raises ValueError when the text is no patch, or holds binary files."""
    return "".join(_reversed(line.text) for line in split(patch))


_SWAPPED_HEADS = (
    ("new file mode ", "deleted file mode "),
    ("old mode ", "new mode "),
    ("rename from ", "rename to "),
)


def _reversed(text: str) -> str:
    """A file's part of a patch the other way round, its header's and its hunks' sides exchanged."""
    first, *lines = _lines(text)
    start = next((i for i, line in enumerate(lines) if _HUNK.match(line)), len(lines))
    if any(line.startswith(("GIT binary patch", "Binary files ")) for line in lines[:start]):
        raise ValueError("a binary file's patch cannot be reversed")
    head = _reversed_head(lines[:start])
    body = [_reversed_row(line) for line in lines[start:]]
    return "".join([first, *head, *body])


def _reversed_head(lines: list[str]) -> list[str]:
    head = []
    for line in lines:
        for one, other in _SWAPPED_HEADS:
            if line.startswith((one, other)):
                line = other + line[len(one) :] if line.startswith(one) else one + line[len(other) :]
                break
        if found := re.fullmatch(r"index (\w+)\.\.(\w+)( \d+)?\n", line):
            line = f"index {found[2]}..{found[1]}{found[3] or ''}\n"
        head.append(line)
    old = next((line for line in head if line.startswith("--- ")), "")
    new = next((line for line in head if line.startswith("+++ ")), "")
    sides = {old: f"--- {_other_side(new[4:])}", new: f"+++ {_other_side(old[4:])}"}
    return [sides.get(line, line) if line in (old, new) else line for line in head]


def _other_side(name: str) -> str:
    quote = '"' if name.startswith('"') else ""
    prefix = {"a/": "b/", "b/": "a/"}.get(name[len(quote) : len(quote) + 2])
    return f"{quote}{prefix}{name[len(quote) + 2 :]}" if prefix else name


def _reversed_row(line: str) -> str:
    if found := re.match(r"@@ -(\S+) \+(\S+) @@", line):
        return f"@@ -{found[2]} +{found[1]} @@{line[found.end() :]}"
    return {"+": "-", "-": "+"}.get(line[:1], line[:1]) + line[1:]


def _lines(text: str) -> list[str]:
    """Lines with their line feed; nothing else ends a line in a patch."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _consumed(line: str) -> tuple[int, int]:
    """How many old and new lines a line inside a hunk stands for."""
    match line[:1]:
        case "+":
            return 0, 1
        case "-":
            return 1, 0
        case " " | "\n" | "\r":
            return 1, 1
        case "\\":
            return 0, 0
    raise ValueError("a hunk is cut off")


def _mended(patch: str) -> str:
    lines = _lines(patch if patch.endswith("\n") else patch + "\n")
    if any(re.match(r"(?:diff --git |\+\+\+ ).*\r$", line) for line in lines):
        lines = [line[:-2] + "\n" if line.endswith("\r\n") else line for line in lines]
    out: list[str] = []
    header: list[str] = []
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if hunk := _HUNK.match(line):
            raw = lines[position : _end_of_hunk(lines, position)]
            body = _body(raw, *(int(count) if count else 1 for count in hunk.groups()))
            out += [*_git_header(header), _recounted(line, body), *body]
            header = []
            position += len(raw)
        elif line.startswith("diff --git ") and header:
            out += _git_header(header)  # a file without hunks: renamed, emptied, or of another mode
            header = [line]
        else:
            header.append(line)
    return "".join([*out, *_git_header(header)])


def _end_of_hunk(lines: list[str], position: int) -> int:
    """Where the next hunk or file starts, or something that is no line of a hunk."""
    while position < len(lines) and lines[position][0] in "+- \n\\":
        following = "".join(lines[position : position + 3])
        if re.match(r"--- .*\n\+\+\+ .*\n@@ -", following):
            break
        position += 1
    return position


def _body(lines: list[str], old: int, new: int) -> list[str]:
    """The lines of a hunk; of empty ones at its end as many as its header speaks of."""
    body = [" \n" if line == "\n" else line for line in lines]
    spare = min(sum(line[0] in "- " for line in body) - old, sum(line[0] in "+ " for line in body) - new)
    while spare > 0 and body and body[-1] == " \n":
        body.pop()
        spare -= 1
    return body + [" \n"] * -spare if -3 <= spare < 0 else body


def _recounted(header: str, body: list[str]) -> str:
    """A hunk's header with the counts that its body has."""
    counts = (sum(line[0] in "- " for line in body), sum(line[0] in "+ " for line in body))
    hunk = _HUNK.match(header)
    if hunk and tuple(int(count) if count else 1 for count in hunk.groups()) == counts:
        return header
    return re.sub(r"^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@", rf"@@ -\1,{counts[0]} +\2,{counts[1]} @@", header)


def _git_header(lines: list[str]) -> list[str]:
    """The lines before a hunk as git writes them; nothing where they name no file."""
    start = next((i for i, line in enumerate(lines) if line.startswith("diff --git ")), None)
    if start is not None:
        return lines[start:]
    old, new = (
        next((line[4:].split("\t")[0].strip() for line in lines if line.startswith(lead)), "")
        for lead in ("--- ", "+++ ")
    )
    if not old or not new:
        return []
    names = [_plain(name, prefix) for name, prefix in ((old, "a/"), (new, "b/"))]
    name = names[1] if new != "/dev/null" else names[0]
    mode = (
        ["new file mode 100644\n"]
        if old == "/dev/null"
        else ["deleted file mode 100644\n"]
        if new == "/dev/null"
        else []
    )
    before = "/dev/null" if old == "/dev/null" else f"a/{name}"
    after = "/dev/null" if new == "/dev/null" else f"b/{name}"
    return [f"diff --git a/{name} b/{name}\n", *mode, f"--- {before}\n", f"+++ {after}\n"]


def _plain(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).removeprefix("./")


def _file(lines: list[str]) -> FilePatch:
    paths: set[str] = set()
    added = removed = 0
    start = next((i for i, line in enumerate(lines) if _HUNK.match(line)), len(lines))
    for line in lines[1:start]:
        row = line.rstrip("\n")
        for lead, prefix in (("--- ", "a/"), ("+++ ", "b/")):
            if row.startswith(lead) and row[len(lead) :].rstrip("\t") != "/dev/null":
                paths.add(_without(prefix, _unquoted(row[len(lead) :].rstrip("\t"))))
        for lead in ("rename from ", "rename to ", "copy from ", "copy to "):
            if row.startswith(lead):
                paths.add(_unquoted(row[len(lead) :]))
    for line in lines[start:]:
        added += line.startswith("+")
        removed += line.startswith("-")
    paths |= _named_in_header(lines[0].rstrip("\n"), known=bool(paths))
    said_new = any(row.startswith(("new file mode ", "rename to ", "copy to ")) for row in lines[1:start])
    is_new = said_new or "".join(lines[start : start + 1]).startswith("@@ -0,0 ")
    return FilePatch(text="".join(lines), paths=tuple(sorted(paths)), added=added, removed=removed, is_new=is_new)


def _named_in_header(line: str, *, known: bool) -> set[str]:
    """The paths of a `diff --git` line, where they can be told: an unquoted one may itself hold ` b/`."""
    rest = line.removeprefix("diff --git ")
    quoted = re.fullmatch(r'("(?:[^"\\]|\\.)*"|\S+) ("(?:[^"\\]|\\.)*"|\S+)', rest)
    if quoted:
        return {_without("a/", _unquoted(quoted[1])), _without("b/", _unquoted(quoted[2]))}
    half = (len(rest) - 1) // 2
    if rest[:half].removeprefix("a/") == rest[half + 1 :].removeprefix("b/") and rest[half : half + 1] == " ":
        return {_without("a/", rest[:half])}
    if known:
        return set()
    raise ValueError(f"its file cannot be told from '{line[:200]}'")


def _without(prefix: str, path: str) -> str:
    if not path.startswith(prefix):
        raise ValueError(f"path '{path[:200]}' does not start with '{prefix}'")
    return path[len(prefix) :]


def _unquoted(name: str) -> str:
    """A path as git prints it: plain, or in double quotes with C escapes of its bytes."""
    if not (len(name) >= 2 and name[0] == name[-1] == '"'):
        return name
    out = bytearray()
    for escape, plain in re.findall(r"\\([0-3][0-7]{2}|.)|([^\\]+)", name[1:-1], re.DOTALL):
        if plain:
            out += plain.encode("utf-8", "surrogateescape")
        elif len(escape) == 3:
            out.append(int(escape, 8))
        elif escape in _ESCAPES:
            out.append(_ESCAPES[escape])
        else:
            raise ValueError(f"path {name[:200]} holds an unknown escape")
    return out.decode("utf-8", "surrogateescape")
