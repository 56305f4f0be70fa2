"""Start states: a tree of files as a git repository of one commit, so that nothing of its later history is in sight."""

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rft.environments import cache
from rft.errors import EnvironmentFault
from rft.store import digest

_WHO = {"NAME": "rft", "EMAIL": "rft@example.invalid", "DATE": "2026-01-01T00:00:00Z"}
ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C.UTF-8",
    **{f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in _WHO.items()},
}
"""Nothing of the user's git settings, and the same commit for everyone."""
COMMIT_SECONDS = 600

Fill = Callable[[Path], None]
"""Puts a tree of files into an empty directory. Raises EnvironmentFault."""


def start_state(
    key: object, fill: Fill, *, patch: str = "", generated: Path | None = None, keeps_ignored: bool = False
) -> Path:
    """The repository of one commit that holds what `fill` writes, with `patch` applied; made once for each `key`.

    `generated` holds files that belong beside the tree but to no commit (what a build wrote); git ignores them. Where
    `fill` writes a checkout in use, such files lie in it already: `keeps_ignored` leaves in place, outside of the
    commit, what the checkout does not track and ignores. Raises EnvironmentFault.
    """
    place = cache.folder("start_states") / digest([key, patch, str(generated or ""), keeps_ignored, ENVIRONMENT])

    def make(place: Path) -> None:
        fill(place)
        known = tracked(place) if keeps_ignored else None
        remove(place / ".git")
        if patch:
            apply(place, patch)
        commit(place, known)
        if generated is not None:
            lay(generated, place)

    try:
        return cache.once(place, make)
    except OSError as error:
        raise EnvironmentFault(
            f"{place}: the start state cannot be made ({error}). Is there room on the disk?"
        ) from None


def commit(place: Path, known: Sequence[str] | None = None) -> None:
    """Make a directory a repository whose one commit holds every file, ignored ones too.

    With `known`, of the ignored files only these. Raises EnvironmentFault.
    """
    git(place, "init", "-q", "--template=", "-b", "main")
    if known is None:
        git(place, "add", "-A", "-f")
    else:
        git(place, "add", "-A")
        names = "".join(f"{name}\0" for name in known if os.path.lexists(place / name))
        literally = {"GIT_LITERAL_PATHSPECS": "1"}
        git(place, "add", "-f", "--pathspec-from-file=-", "--pathspec-file-nul", given=names, environment=literally)
    git(place, "commit", "-q", "--no-verify", "--allow-empty", "-m", "Start state")


def tracked(place: Path) -> list[str]:
    """The paths that a checkout's index names. Its configuration is not read. Raises EnvironmentFault."""
    index = place / ".git/index"
    if not index.is_file():
        return []
    with tempfile.TemporaryDirectory() as folder:
        git(Path(folder), "init", "-q", "--bare", "--template=")
        where = {"GIT_DIR": folder, "GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(place)}
        return [name for name in git(Path(folder), "ls-files", "-z", environment=where).split("\0") if name]


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def lay(generated: Path, place: Path) -> None:
    """Copy files that the tree does not have into it, and have git ignore them."""
    added = []
    for source in sorted(path for path in generated.rglob("*") if path.is_file()):
        name = source.relative_to(generated)
        if not (place / name).exists():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place / name)
            added.append(f"/{name.as_posix()}\n")
    exclude = place / ".git/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text("".join(added), encoding="utf-8")


def from_commit(repository: Path, commit: str) -> Fill:
    """The tree of a commit, without its history. `repository` is a checkout or a git directory."""

    def fill(place: Path) -> None:
        where = {
            "GIT_DIR": git(repository, "rev-parse", "--absolute-git-dir").strip(),
            "GIT_INDEX_FILE": str(place.with_name(f".{place.name}.index")),
            "GIT_WORK_TREE": str(place),
        }
        try:
            git(place, "read-tree", resolve(repository, commit), environment=where)
            git(place, "checkout-index", "-a", "-f", environment=where)
        finally:
            Path(where["GIT_INDEX_FILE"]).unlink(missing_ok=True)

    return fill


def from_archive(archive: Path) -> Fill:
    """The files of a source distribution, without the one folder that it wraps them in."""

    def fill(place: Path) -> None:
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(place, filter="data")
        except (tarfile.TarError, EOFError) as error:
            raise EnvironmentFault(f"{archive}: cannot be unpacked ({error}); expected a .tar.gz of sources.") from None
        inside = list(place.iterdir())
        if len(inside) == 1 and inside[0].is_dir():
            wrapper = inside[0].rename(place / ".unpacked")
            for path in list(wrapper.iterdir()):
                path.rename(place / path.name)
            wrapper.rmdir()

    return fill


def from_folder(folder: Path) -> Fill:
    """A folder's files as they are now, without its git directory and Python's leftovers."""

    def fill(place: Path) -> None:
        leave = shutil.ignore_patterns(".git", "__pycache__", "*.pyc", ".venv", ".tox", ".pytest_cache")
        shutil.copytree(folder, place, symlinks=True, ignore=leave, dirs_exist_ok=True)

    return fill


def resolve(repository: Path, commit: str) -> str:
    """The full name of a commit. Raises EnvironmentFault when the repository or the commit is not there."""
    if not repository.is_dir():
        raise EnvironmentFault(f"{repository}: is not there; expected a git repository.")
    if commit.startswith("-"):
        raise EnvironmentFault(f"{repository}: '{commit[:60]}' is no commit.")
    return git(repository, "rev-parse", "--verify", "-q", f"{commit}^{{commit}}").strip()


def apply(place: Path, patch: str) -> None:
    """Apply a git patch to a directory. Raises EnvironmentFault when it does not fit."""
    git(
        place,
        "apply",
        "--whitespace=nowarn",
        "-",
        given=patch,
        environment={"GIT_CEILING_DIRECTORIES": str(place.parent)},
    )


def git(place: Path, *arguments: str, given: str = "", environment: dict[str, str] | None = None) -> str:
    """The output of a git command in `place`, as a list of arguments. Raises EnvironmentFault."""
    command: Sequence[str] = [
        "git",
        "-c",
        "safe.directory=*",
        "-c",
        "core.hooksPath=/dev/null",
        "-C",
        str(place),
        *arguments,
    ]
    try:
        done = subprocess.run(
            command,
            env=ENVIRONMENT | {"PATH": os.environ.get("PATH", os.defpath)} | (environment or {}),
            input=given.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=COMMIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentFault(f"{place}: git cannot be run ({error}). Is git installed?") from None
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()[-300:] or f"exit code {done.returncode}"
        raise EnvironmentFault(f"{place}: `git {arguments[0]}` failed: {words}")
    return done.stdout.decode("utf-8", "surrogateescape")
