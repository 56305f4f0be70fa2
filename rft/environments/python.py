"""Python environments for tasks: a virtual environment with a task's packages, built once on this machine by pip.

The network is used here, while building, and never in a sandbox. Building a project runs its setup code. It runs
inside bubblewrap, where it can read this machine's system, write the new environment alone, and see no home folder;
it does have the network, and pip's settings. Where bubblewrap cannot work nothing is built unless the recipe says
`setup_code: trusted`.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rft.environments import cache
from rft.environments.snapshots import Fill
from rft.errors import EnvironmentFault, RecipeError
from rft.store import digest

WORK = "/testbed"
"""Where container images and bubblewrap have a task's tree; elsewhere it is found from where a command runs."""
BUILD_TIMEOUT = 1800.0
"""Seconds that building an environment may take where nobody says otherwise."""
LAYOUT = 1
"""Raised when an environment is built in another way, so that those in the cache are not taken for it."""
SETUP_CODE = ("confined", "trusted")
_PASSED_ON = re.compile(r"PIP_\w+|(https?|all|no)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE", re.IGNORECASE)
_FINDER = f'''"""Puts the working tree on the path, wherever the sandbox has it."""
import os
import sys

root = {WORK!r}
if not os.path.isdir(root):
    root = here = os.getcwd()
    while here != os.path.dirname(here):
        if os.path.exists(os.path.join(here, ".git")):
            root = here
            break
        here = os.path.dirname(here)
sys.path += [os.path.normpath(os.path.join(root, place)) for place in %r]
'''


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a project's Python environment is made of."""

    python: str = ""
    """A version such as `3.9`, or the path of an interpreter; the Python that rft runs on when empty."""
    packages: tuple[str, ...] = ()
    """What pip installs first, as pip's requirements."""
    installed: bool = True
    """Install the project itself, so that its metadata, its commands and its dependencies are there. Its modules are
    imported from the working tree all the same."""
    extras: tuple[str, ...] = ()
    """Extras of the project to install."""
    commands: tuple[str, ...] = ()
    """Shell commands in the project's folder before it is installed."""
    version: str = ""
    """The version that a project takes which reads it from its git history, of which there is none."""


@dataclass(frozen=True)
class Built:
    """An environment that is there."""

    software: tuple[Path, ...]
    """For StartState: the virtual environment, then its interpreter's installation."""
    generated: Path
    """Files that building wrote into the project's tree (compiled modules, version files), at their places."""


def build(
    name: str, needs: Needs, source: object, fill: Fill, *, setup_code: str = "confined", within: float = BUILD_TIMEOUT
) -> Built:
    """The environment for a project whose tree `fill` writes and `source` identifies; built once, in so many seconds,
    and kept.

    Raises EnvironmentFault, in which `name` is what could not be built.
    """
    base, prefix = interpreter(needs.python, name)
    place = cache.folder("python") / digest([LAYOUT, vars(needs), str(base), source if needs.installed else ""])

    def make(place: Path) -> None:
        builder = _Builder(name, place, prefix, setup_code, within)
        builder.run([str(base), "-m", "venv", str(place / "venv")])
        pip = [str(place / "venv/bin/python"), "-m", "pip", "--no-cache-dir", "--disable-pip-version-check", "install"]
        if _version(base) < (3, 7):
            builder.run([*pip, "-q", "-U", "pip"])
        if needs.packages:
            builder.run([*pip, "-q", *needs.packages])
        (place / "generated").mkdir()
        if needs.installed:
            _install(builder, pip, needs, fill)

    try:
        cache.once(place, make)
    except OSError as error:
        raise EnvironmentFault(f"{name}: its Python environment cannot be built ({error}).") from None
    return Built((place / "venv", prefix), place / "generated")


def download(requirement: str, *, setup_code: str = "confined", within: float = BUILD_TIMEOUT) -> Path:
    """A package's source distribution, fetched once by pip, which runs the package's setup code to learn what it is.

    Raises EnvironmentFault.
    """
    base, prefix = interpreter("", requirement)
    place = _sources(requirement)

    def make(place: Path) -> None:
        builder = _Builder(requirement, place, prefix, setup_code, within)
        builder.run([str(base), "-m", "venv", str(place / "pip")])
        pip = [str(place / "pip/bin/python"), "-m", "pip", "--no-cache-dir", "--disable-pip-version-check", "download"]
        builder.run([*pip, "-q", "--no-deps", "--no-binary", ":all:", "-d", str(place), "--", requirement])
        shutil.rmtree(place / "pip")

    found = [path for path in cache.once(place, make).iterdir() if path.name.endswith((".tar.gz", ".tgz"))]
    if len(found) != 1:
        raise EnvironmentFault(f"{requirement}: PyPI has no .tar.gz of its sources; expected one. Use path instead.")
    return found[0]


def is_downloaded(requirement: str) -> bool:
    """Is a package's source distribution in the cache?"""
    return cache.is_made(_sources(requirement))


def _sources(requirement: str) -> Path:
    return cache.folder("sources") / digest(requirement)


def _install(builder: "_Builder", pip: list[str], needs: Needs, fill: Fill) -> None:
    """Install the project from a copy of its tree, then have its modules come from the working tree instead."""
    tree = builder.place / "tree"
    tree.mkdir()
    fill(tree)
    before = {path.relative_to(tree) for path in tree.rglob("*")}
    for command in needs.commands:
        builder.run(["bash", "-c", command], cwd=tree)
    wanted = str(tree) + (f"[{','.join(needs.extras)}]" if needs.extras else "")
    builder.run([*pip, "-q", "--use-pep517", wanted], cwd=tree, more={"SETUPTOOLS_SCM_PRETEND_VERSION": needs.version})
    packages = next((builder.place / "venv").glob("lib/python*/site-packages"))
    roots = {"."}
    for file in _installed_files(builder.name, packages, tree):
        root = _root_of(file, before)
        if root is None:
            continue
        roots.add(root.as_posix())
        if root / file not in before:
            (builder.place / "generated" / root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(packages / file, builder.place / "generated" / root / file)
        (packages / file).unlink()
        _remove_empty(packages, file.parent)
    (packages / "_rft_working_tree.py").write_text(_FINDER % sorted(roots, reverse=True), encoding="utf-8")
    (packages / "_rft_working_tree.pth").write_text("import _rft_working_tree\n", encoding="utf-8")
    shutil.rmtree(tree)


def _remove_empty(packages: Path, folder: Path) -> None:
    """Remove folders in which nothing but bytecode is left: they would still be importable."""
    while folder != Path() and all(path.name == "__pycache__" for path in (packages / folder).iterdir()):
        shutil.rmtree(packages / folder)
        folder = folder.parent


def _installed_files(name: str, packages: Path, tree: Path) -> Iterable[Path]:
    """The modules that the project at `tree` put among the packages, relative to them."""
    origins = [origin for origin in packages.glob("*.dist-info/direct_url.json") if tree.as_uri() in origin.read_text()]
    if not origins:
        raise EnvironmentFault(
            f"{name}: pip does not say what it installed; expected a newer pip. Name it in packages."
        )
    for line in origins[0].with_name("RECORD").read_text(encoding="utf-8").splitlines():
        file = Path(line.rsplit(",", 2)[0].strip('"'))
        is_module = ".." not in file.parts and "__pycache__" not in file.parts and file.suffix != ".pth"
        if is_module and not file.is_absolute() and file.parts[0] != origins[0].parent.name:
            yield file


def _root_of(file: Path, tree: set[Path]) -> Path | None:
    """The folder of the tree that holds the top package, or module, of an installed file."""
    top = Path(file.parts[0])
    found = [path.parent for path in tree if path.name == top.name and len(path.parts) <= 3]
    inside = [root for root in found if root / file in tree]
    return min(inside or found, key=lambda root: (len(root.parts), root), default=None)


@dataclass(frozen=True)
class _Builder:
    """Runs what builds an environment, held to its place."""

    name: str
    place: Path
    prefix: Path
    setup_code: str
    within: float
    """Seconds for all that it runs."""
    began: float = field(default_factory=time.monotonic)

    def run(self, command: Sequence[str], *, cwd: Path | None = None, more: dict[str, str] | None = None) -> None:
        """Raises EnvironmentFault with the end of what the command said."""
        environment = {key: value for key, value in os.environ.items() if _PASSED_ON.fullmatch(key)}
        environment |= {key: value for key, value in (more or {}).items() if value}
        with tempfile.TemporaryDirectory(dir=self.place) as home:
            environment |= {"PATH": os.defpath, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"}
            try:
                done = subprocess.run(
                    [*self._confinement(cwd or self.place), *command],
                    cwd=cwd or self.place,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=max(0.0, self.within - (time.monotonic() - self.began)),
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise EnvironmentFault(
                    f"{self.name}: building its Python environment takes longer than the {self.within:g} s of "
                    "environment.build_timeout. Raise it, or see what the build waits for."
                ) from None
        if done.returncode:
            words = (done.stderr.strip() or done.stdout.strip())[-600:]
            raise EnvironmentFault(f"{self.name}: its Python environment cannot be built: {words}")

    def _confinement(self, cwd: Path) -> list[str]:
        if self.setup_code == "trusted":
            return []
        if not can_confine():
            raise EnvironmentFault(
                f"{self.name}: building it runs its setup code, and bubblewrap, which would hold that, does not work "
                "here; install it, or say environment.setup_code=trusted."
            )
        home = Path.home()
        arguments = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", str(home)]
        for path in (home / ".config/pip", home / ".pip", self.prefix):
            arguments += ["--ro-bind-try", str(path), str(path)]
        arguments += [
            "--proc",
            "/proc",
            "--ro-bind",
            "/proc/sys",
            "/proc/sys",
            "--bind",
            str(self.place),
            str(self.place),
        ]
        arguments += ["--unshare-pid", "--unshare-ipc", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        return [*arguments, "--chdir", str(cwd), "--"]


@functools.cache
def can_confine() -> bool:
    """Does bubblewrap work here?"""
    if shutil.which("bwrap") is None:
        return False
    done = subprocess.run(["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "true"], capture_output=True, check=False)
    return done.returncode == 0


def check_building(setup_code: str, build_timeout: float) -> None:
    """Raises RecipeError when one of an environment's options about building has no meaning."""
    if setup_code not in SETUP_CODE:
        raise RecipeError(f"environment.setup_code: is '{setup_code}'; expected {' or '.join(SETUP_CODE)}.")
    if build_timeout <= 0:
        raise RecipeError(f"environment.build_timeout: is {build_timeout:g}; expected seconds above 0.")


@functools.cache
def interpreter(wanted: str, name: str) -> tuple[Path, Path]:
    """An interpreter of this version, or at this path, and the prefix of its installation. Raises EnvironmentFault."""
    for candidate in _candidates(wanted):
        facts = _facts(candidate)
        if facts and ("/" in wanted or not wanted or facts[0] == wanted or facts[0].startswith(f"{wanted}.")):
            return candidate, Path(facts[1]).resolve()
    raise EnvironmentFault(
        f"{name}: there is no Python {wanted} here; expected python{wanted} on PATH or among pyenv's or uv's. "
        f"Install it, for example with `pyenv install {wanted}`."
    )


def _candidates(wanted: str) -> list[Path]:
    own = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    if not wanted:
        return [own]
    if "/" in wanted:
        return [Path(wanted).expanduser()]
    minor = ".".join(wanted.split(".")[:2])
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path.home() / ".local/share/uv/python"
    on_path = shutil.which(f"python{minor}")
    return [
        own,
        *sorted(pyenv.glob(f"{minor}*/bin/python{minor}"), reverse=True),
        *sorted(uv.glob(f"cpython-{minor}*/bin/python{minor}"), reverse=True),
        *([Path(on_path)] if on_path else []),
    ]


@functools.cache
def _facts(candidate: Path) -> list[str]:
    """Version and base prefix; empty when it does not run."""
    ask = "import sys; print('.'.join(map(str, sys.version_info[:3]))); print(sys.base_prefix)"
    try:
        done = subprocess.run([str(candidate), "-I", "-c", ask], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.split("\n")[:2]


def _version(candidate: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in _facts(candidate)[0].split("."))
