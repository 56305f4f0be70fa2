"""Programs that write, move, remove, patch or take back files, git among them."""

import posixpath
import re

from reward_models.commands.deed import ANY_FILE, Deed, Kind, after_options, first_path, has_flag, operands
from reward_models.commands.network import git_remote
from reward_models.shell import Simple


def tee(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`tee`, which writes or appends."""
    kind: Kind = "edit" if "-a" in arguments or "--append" in arguments else "write"
    return [Deed(kind, path) for path in operands(arguments) if not path.startswith("/dev/")]


def copy(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`cp`, which writes its last operand."""
    words = operands(arguments, valued=("-t", "-S"))
    return [Deed("write", words[-1])] if len(words) > 1 else [Deed("other")]


def move(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`mv`, which removes and writes."""
    words = operands(arguments, valued=("-t", "-S"))
    return [*(Deed("remove", path) for path in words[:-1]), *copy(arguments, simple)]


def remove(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`rm`; a wide one is a risk."""
    words = operands(arguments)
    deep = any(has_flag(arguments, c, "--recursive") for c in "rR")
    wide = [word for word in words if re.fullmatch(r"[./*~]+|/\w*/?|\$HOME/?|\.git/?|\./\.git/?", word)]
    risks = [Deed("risk", word) for word in wide if deep]
    return [*risks, *(Deed("remove", word) for word in words)] or [Deed("other")]


_PATCHED = re.compile(
    r"^\+\+\+ (?:b/)?([^\t\n]{1,300})|^\*\*\* (?:Update|Add|Delete) File: ([^\n]{1,300})", re.MULTILINE
)


def patch(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`patch`, `git apply` and the like: the files that the patch names, where it can be read."""
    if "--dry-run" in arguments or "--check" in arguments or "--stat" in arguments:
        return [Deed("other")]
    text = simple.text or "\n".join(arguments)
    return [Deed("edit", (m[1] or m[2]).strip()) for m in _PATCHED.finditer(text)] or [Deed("edit", ANY_FILE)]


def line_editor(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`ed` and `ex` change their last operand."""
    paths = operands(arguments, valued=("-c", "-s"))
    return [Deed("edit", paths[-1])] if paths else [Deed("other")]


def risky(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """Programs that can destroy what was not asked for."""
    name = posixpath.basename(simple.words[0])
    if name in ("chmod", "chown"):
        wide = "-R" in arguments and ("777" in arguments or "/" in arguments)
        return [Deed("risk" if wide else "other")]
    if name == "kill":
        return [Deed("risk" if "-1" in arguments[-1:] else "other")]
    return [Deed("risk")]


def git(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`git`: taking back, looking at history, differences, patches, risks."""
    words = after_options(arguments, valued=("-C", "-c", "--git-dir", "--work-tree"))
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
    if git_remote(verb, rest):
        return [Deed("network")]
    if verb in ("log", "show", "reflog", "blame", "cat-file", "rev-list", "shortlog", "fsck", "bisect"):
        return [Deed("history", first_path([w.partition(":")[2] for w in named if ":" in w]))]
    if verb == "diff":
        return [Deed("search", path) for path in [w for w in named if not w.startswith("HEAD")] or ["."]]
    if verb == "grep":
        return [Deed("search", ".")]
    if verb in ("apply", "am"):
        return patch(rest, simple)
    moved = {"rm": remove, "mv": move}.get(verb)
    return moved(rest, simple) if moved else [Deed("other")]
