"""Programs that reach for the network: fetching, installing what is not here, copying from other machines."""

import posixpath
import re

from reward_models.commands.deed import Deed, operands
from reward_models.shell import Simple

FETCHING = ("curl", "wget", "aria2c", "http", "https", "lynx")
CONNECTING = ("nc", "ncat", "netcat", "telnet", "ssh", "scp", "sftp", "ftp", "rsync", "ping", "dig", "nslookup")
INSTALLING = ("pip", "pip3", "npm", "yarn", "pnpm", "apt", "apt-get", "conda", "mamba", "gem", "cargo", "go", "brew")
_VERBS = ("install", "i", "add", "download", "update", "upgrade", "get", "wheel", "search", "index", "view")
_OWN = re.compile(r"^(?:https?://)?(?:localhost|127\.\d+\.\d+\.\d+|0\.0\.0\.0|\[::1\])(?:[:/]|$)")
_LOCAL = re.compile(r"^(?:\.{0,2}/|\.{1,2}(?:\[|$)|\.)|\.(?:txt|whl|tar\.gz)$")


def fetch(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`curl` and the like; what asks this machine itself is no network."""
    words = operands(arguments, valued=("-o", "-O", "-H", "-d", "-X", "--data", "--header", "-u", "-A"))
    return [Deed("other" if words and all(_OWN.match(word) for word in words) else "network")]


def connect(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`ssh`, `nc` and the like."""
    words = operands(arguments)
    is_local = any(_OWN.match(word) for word in words)
    copies = posixpath.basename(simple.words[0]) == "rsync" and not any(":" in word for word in words)
    return [Deed("other" if not words or is_local or copies else "network")]


def install(arguments: tuple[str, ...], simple: Simple) -> list[Deed]:
    """`pip install x` and the like; to install the working directory itself fetches nothing of interest.

    Nothing where the program is asked for something else.
    """
    words = operands(arguments, valued=("-c", "-t", "--target", "--prefix", "-i", "--index-url"))
    if not words or words[0] not in _VERBS:
        return []
    wanted = words[1:]
    is_local = all(_LOCAL.search(word) for word in wanted) and (wanted or "-r" in arguments or "-e" in arguments)
    is_local = is_local or "--no-index" in arguments or "--offline" in arguments
    return [Deed("other" if is_local else "network")]


def git_remote(verb: str, rest: tuple[str, ...]) -> bool:
    """Does a git command reach for another machine?"""
    named = operands(rest, valued=("-b", "--branch", "--depth", "-o"))
    if verb == "remote":
        return named[:1] in (["update"], ["show"], ["add"])
    return verb in ("clone", "fetch", "pull", "ls-remote", "submodule") and not any(
        word.startswith(("/", "./", "../", "file:")) for word in named[:1]
    )
