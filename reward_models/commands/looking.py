"""Programs that show what files hold, or search them; `sed`, `awk` and `perl` may change them too."""

import posixpath
import re

from reward_models.commands.checks import own_program
from reward_models.commands.deed import Deed, Kind, has_flag, operands
from reward_models.shell import Simple

SHOWING = ("cat", "head", "tail", "less", "more", "nl", "bat", "batcat", "tac", "xxd", "od", "strings", "view")
SEARCHING = ("grep", "egrep", "fgrep", "zgrep", "rg", "ag", "ack")


def show(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`cat`, `head`, `less` and the like."""
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


def search(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`grep`, `rg` and the like: one file is read, a folder is searched; `-q` shows nothing."""
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


def sed(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`sed`, in place or not; the texts of a first `s` command are kept."""
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


def awk(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`awk`, in place or not."""
    paths = operands(arguments, valued=("-F", "-v", "-f", "-i"))[0 if "-f" in arguments else 1 :]
    kind: Kind = "edit" if "inplace" in arguments else "read"
    return [Deed(kind, path) for path in paths]


def perl(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`perl -i` changes files; else it runs a program."""
    paths = operands(arguments, valued=("-e", "-pe", "-ne", "-pie", "-i"))
    if has_flag(arguments, "i"):
        scripted = has_flag(arguments, "e")
        return [Deed("edit", path) for path in (paths[1:] if scripted and len(paths) > 1 else paths)]
    return own_program("perl", arguments)


def difference(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`diff` and the like."""
    return [Deed("read", path) for path in operands(arguments, valued=("-U", "-C"))]
