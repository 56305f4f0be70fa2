"""Docker and podman for tests, and images made of this machine's own programs, since no registry is asked."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rft.sandboxes.container import Docker, Podman

IMAGE = "rft-test:1"
LIMITS: dict[str, Any] = {"image": IMAGE, "timeout": 20, "pull": False, "memory": "256m", "processes": 64}
PROGRAMS = (
    "bash",
    "cat",
    "chmod",
    "cp",
    "echo",
    "git",
    "grep",
    "id",
    "ls",
    "mkdir",
    "mktemp",
    "mv",
    "patch",
    "rm",
    "sed",
    "sh",
    "sleep",
    "tail",
    "touch",
)


def linked(files: Iterable[Path]) -> set[Path]:
    """The shared libraries that programs and modules are linked with."""
    said = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    return {Path(word) for word in said.split() if word.startswith("/") and not word.endswith(":")}


def make_image(provider: Docker, folder: Path, *, name: str = IMAGE, more: Mapping[str, Path] | None = None) -> None:
    """An image of a few programs of this machine and what they are linked with; `more` is put at its own places."""
    files = {Path("/usr/lib/git-core/git"), Path("/lib64/ld-linux-x86-64.so.2")}
    files |= {Path(found) for program in PROGRAMS if (found := shutil.which(program))}
    modules = [path for path in (more or {}).values() if path.suffix == ".so" or os.access(path, os.X_OK)]
    files |= linked([*files, *modules])
    for library in ("libm.so.6", "libdl.so.2", "libutil.so.1", "libpthread.so.0", "librt.so.1"):
        files |= set(Path("/lib/x86_64-linux-gnu").glob(library))
    archive = folder / f"{name.replace(':', '-')}.tar"
    with tarfile.open(archive, "w", dereference=True) as tar:
        for file in sorted(path for path in files if path.exists()):
            tar.add(file, str(file))
            if file.parts[1] == "usr" and file.parts[2] == "bin":
                tar.add(file, f"/bin/{file.name}")
        for place, source in (more or {}).items():
            tar.add(source, place)
    setting = "ENV PATH=/opt/tools:/usr/bin:/bin"
    made = provider.client("import", "--change", setting, str(archive), name)
    assert made.returncode == 0, made.stderr


def python_at(place: str) -> dict[str, Path]:
    """This Python with pytest, laid out for an image at `place`, as conda lays out an environment."""
    prefix, version = Path(sys.base_prefix), f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = prefix / "lib" / version
    left_out = {"site-packages", "test", "idlelib", "tkinter", "ensurepip", f"config-{version}"}
    files = {
        f"{place}/lib/{version}/{path.relative_to(library)}": path
        for path in library.rglob("*")
        if path.is_file() and not left_out & set(path.relative_to(library).parts)
    }
    for name in ("python", "python3", version):
        files[f"{place}/bin/{name}"] = (prefix / "bin" / version).resolve()
    files |= {f"{place}/lib/{path.name}": path for path in (prefix / "lib").glob("libpython*.so*")}
    for package in ("pytest", "pluggy", "iniconfig", "packaging", "pygments"):
        distribution = importlib.metadata.distribution(package)
        for file in distribution.files or []:
            if ".." not in file.parts:
                files[f"{place}/lib/{version}/site-packages/{file}"] = Path(str(distribution.locate_file(file)))
    return files


@contextlib.contextmanager
def daemon(place: Path) -> Iterator[list[str]]:
    """The flags that reach a docker which answers; one is started where none does."""
    if not Docker().missing():
        yield []
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        pytest.skip(Docker().missing())
    flags = ["-H", f"unix://{place}/socket"]
    process = subprocess.Popen(
        ["dockerd", "--data-root", place / "data", "--exec-root", place / "exec", "--pidfile", place / "pid",
         *flags, "--bridge=none", "--iptables=false"],
        stdout=subprocess.DEVNULL, stderr=(place / "log").open("w"),
    )  # fmt: skip
    try:
        for _ in range(120):
            if not Docker(flags=flags).missing():
                break
            time.sleep(0.5)
        else:
            pytest.skip(f"dockerd does not start: {(place / 'log').read_text()[-300:]}")
        yield flags
    finally:
        process.terminate()
        process.wait(30)


def podman(place: Path) -> Podman:
    """Podman with its own store, told what its probe says that it needs here."""
    store = [f"--root={place}/root", f"--runroot={place}/run"]
    problem = Podman(flags=store).missing()
    told = dict(re.findall(r"sandbox\.(flags|options)=\[(.*?)\]", problem))
    if problem and not told:
        pytest.skip(problem)
    more = {key: value.split(",") for key, value in told.items()}
    return Podman(flags=[*store, *more.get("flags", [])], options=more.get("options", []), **LIMITS)
