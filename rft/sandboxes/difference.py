"""The patch of a sandbox: what differs between its working directory and the start state, as git writes it.

The supervisor imports it by itself, so it stands alone too. Git never reads the working directory: changed files
are found by comparing it with the start state, stored as objects beside the start state's own, and compared as
objects. What the agent did to `.git`, `.gitattributes`, `.gitignore`, hooks or configuration has no say.
"""

# Paths are strings here: pathlib takes longer to import than all the rest.
# ruff: noqa: PTH101, PTH102, PTH115, PTH116, PTH118, PTH123

import contextlib
import hashlib
import os
import stat
import zlib
from collections.abc import Callable, Iterator

ENTRIES = 200_000
"""A working directory with more files than this is not compared."""
FILES_TOTAL = 64 << 20
"""Changed files with more bytes than this are not compared."""

Tool = Callable[..., bytes]


def difference(start: str, work: str, scratch: str, limit: int, tool: Tool) -> bytes:
    """Unified diff, new files included, files that the start state ignores left out. Raises OSError.

    `scratch` is an empty folder of its own; `tool` runs a program and gives its output.
    """
    before, after = dict(entries(start)), dict(entries(work))
    changed = [
        path for path in sorted({*before, *after}) if differs(start, work, path, before.get(path), after.get(path))
    ]
    changed = [path for path in changed if not any(part.lower() == b".git" for part in path.split(b"/"))]
    if not changed:
        return b""
    total = sum(after[path].st_size for path in changed if path in after)
    if total > FILES_TOTAL:
        raise OSError(f"the changed files hold {total} bytes, more than a patch may cover")
    for name in ("objects", "objects/pack"):
        os.mkdir(f"{scratch}/{name}")
    git = repository(start, scratch, tool)
    with open(f"{start}/.git/index", "rb") as old, open(f"{scratch}/index", "wb") as new:
        new.write(old.read())
    index = bytearray()
    for path in without_ignored(changed, start, git):
        if path in after:
            mode, name = store(os.path.join(os.fsencode(work), path), after[path], scratch)
            index += b"%o %s\t%s\0" % (mode, name.encode(), path)
        else:
            index += b"0 %s\t%s\0" % (b"0" * 40, path)
    git("update-index", "-z", "--index-info", stdin=bytes(index))
    tree = git("write-tree").decode().strip()
    # without an index git knows no attributes, so that none of the agent's make a file unreadable
    patch = git(
        "diff-tree", "-p", "--binary", "--no-renames", "--no-color", "--no-ext-diff", "HEAD", tree,
        GIT_INDEX_FILE=f"{scratch}/none",
    )  # fmt: skip
    if len(patch) > limit:
        raise OSError(f"the patch has {len(patch)} bytes, more than the limit of {limit}")
    return patch


def repository(start: str, scratch: str, tool: Tool) -> Tool:
    """Git on the start state's objects, writing into `scratch`, with no working directory to read attributes from."""

    def git(*arguments: str, stdin: bytes = b"", fine: tuple[int, ...] = (0,), **environment: str) -> bytes:
        return tool(
            [
                "git",
                "-c",
                "core.bare=true",
                "-c",
                "core.quotePath=true",
                "-c",
                "core.attributesFile=/dev/null",
                *arguments,
            ],
            stdin=stdin,
            fine=fine,
            **{
                "GIT_DIR": f"{start}/.git",
                "GIT_INDEX_FILE": f"{scratch}/index",
                "GIT_OBJECT_DIRECTORY": f"{scratch}/objects",
                "GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{start}/.git/objects",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_ATTR_NOSYSTEM": "1",
                "GIT_OPTIONAL_LOCKS": "0",
            }
            | environment,
        )

    return git


def without_ignored(paths: list[bytes], start: str, git: Tool) -> list[bytes]:
    """Paths that git tracks at the start or that the start state's own rules do not ignore."""
    asked = b"".join(path + b"\0" for path in paths)
    answer = git(
        "-c", "core.bare=false", "check-ignore", "-z", "--stdin", "--verbose", "--non-matching",
        stdin=asked, fine=(0, 1), GIT_WORK_TREE=start,
    )  # fmt: skip
    fields = answer.split(b"\0")
    ignored = {
        fields[at + 3] for at in range(0, len(fields) - 3, 4) if fields[at + 2] and not fields[at + 2].startswith(b"!")
    }
    return [path for path in paths if path not in ignored]


def entries(root: str) -> Iterator[tuple[bytes, os.stat_result]]:
    """Path and status of every regular file and link below `root`, the top `.git` left out."""
    todo: list[bytes] = [b""]
    base = os.fsencode(root)
    count = 0
    while todo:
        folder = todo.pop()
        with unlocked(os.path.join(base, folder), 0o700) as listing:
            for entry in listing:
                path = os.path.join(folder, entry.name)
                count += 1
                if count > ENTRIES:
                    raise OSError(f"the working directory holds more than {ENTRIES} files")
                if entry.is_dir(follow_symlinks=False):
                    if path != b".git":
                        todo.append(path)
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    yield path, entry.stat(follow_symlinks=False)


@contextlib.contextmanager
def unlocked(path: bytes, mode: int) -> Iterator[Iterator[os.DirEntry[bytes]]]:
    """List a folder; one that its owner locked is opened again first."""
    try:
        listing = os.scandir(path)
        os.stat(os.path.join(path, b"."))
    except PermissionError:
        os.chmod(path, mode)
        listing = os.scandir(path)
    with listing:
        yield listing


def differs(start: str, work: str, path: bytes, before: os.stat_result | None, after: os.stat_result | None) -> bool:
    """Whether a file changed, as far as git cares: kind, executable bit, content."""
    if before is None or after is None:
        return True
    if mode(before) != mode(after) or before.st_size != after.st_size:
        return True
    if before.st_ctime_ns == after.st_ctime_ns and before.st_mtime_ns == after.st_mtime_ns:
        return False  # no program can set a change time; only an overlay shows the very same one
    return content(os.path.join(os.fsencode(start), path), before) != content(
        os.path.join(os.fsencode(work), path), after
    )


def mode(status: os.stat_result) -> int:
    """The mode that git gives a file."""
    if stat.S_ISLNK(status.st_mode):
        return 0o120000
    return 0o100755 if status.st_mode & 0o100 else 0o100644


def content(path: bytes, status: os.stat_result) -> bytes:
    """A file's bytes, or a link's target."""
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except PermissionError:
        os.chmod(path, 0o600)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = bytearray()
        while chunk := os.read(descriptor, 1 << 20):
            found += chunk
            if len(found) > FILES_TOTAL:
                raise OSError("a changed file is larger than a patch may cover")
        return bytes(found)
    finally:
        os.close(descriptor)


def store(path: bytes, status: os.stat_result, scratch: str) -> tuple[int, str]:
    """Write a file as a loose git object; its mode and name."""
    data = content(path, status)
    whole = b"blob %d\0" % len(data) + data
    name = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    folder = f"{scratch}/objects/{name[:2]}"
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    with open(f"{folder}/{name[2:]}", "wb") as file:
        file.write(zlib.compress(whole, 1))
    return mode(status), name
