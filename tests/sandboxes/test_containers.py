"""Containers, really run: an image is made from this machine's own programs, since no registry is asked.

Where no daemon answers and `dockerd` is installed and may be started, one is started for these tests alone.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import repository

from rft.agents.external import External
from rft.errors import SandboxError
from rft.inference.scripted import Scripted
from rft.interfaces import StartState
from rft.sandboxes.container import LABEL, Docker, Podman
from rft.sandboxes.session import Session
from rft.types import StopReason
from tests.conftest import bash_block, make_task

pytestmark = pytest.mark.slow
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
    "mv",
    "rm",
    "sed",
    "sh",
    "sleep",
    "touch",
)


def make_image(provider: Docker, folder: Path) -> None:
    """An image of a few programs of this machine and what they are linked with."""
    files = {Path("/usr/lib/git-core/git"), Path("/lib64/ld-linux-x86-64.so.2")}
    files |= {Path(found) for name in PROGRAMS if (found := shutil.which(name))}
    for file in list(files):
        linked = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
        files |= {Path(word) for word in linked.split() if word.startswith("/")}
    for library in ("libm.so.6", "libdl.so.2", "libutil.so.1", "libpthread.so.0", "librt.so.1"):
        files |= set(Path("/lib/x86_64-linux-gnu").glob(library))
    archive = folder / "image.tar"
    with tarfile.open(archive, "w", dereference=True) as tar:
        for file in sorted(path for path in files if path.exists()):
            tar.add(file, str(file))
            if file.parts[1] == "usr" and file.parts[2] == "bin":
                tar.add(file, f"/bin/{file.name}")
    setting = "ENV PATH=/opt/tools:/usr/bin:/bin"
    made = provider.client("import", "--change", setting, str(archive), IMAGE)
    assert made.returncode == 0, made.stderr


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


@pytest.fixture(scope="module", params=["docker", "podman"])
def containers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    place = tmp_path_factory.mktemp(request.param)
    if request.param == "podman":
        provider: Docker = podman(place)
        make_image(provider, place)
        yield provider
        provider.client("system", "reset", "--force")
    else:
        with daemon(place) as flags:
            provider = Docker(flags=flags, **LIMITS)
            make_image(provider, place)
            yield provider


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> StartState:
    folder = repository(tmp_path_factory.mktemp("start"))
    for path in [folder, *folder.parents[:2]]:
        path.chmod(0o755)
    return StartState(folder)


@pytest.fixture
def sandbox(containers: Docker, start: StartState) -> Iterator[Session]:
    session = containers.open(start)
    yield session
    session.close()


def test_commands_files_and_the_patch(sandbox: Session) -> None:
    done = sandbox.run("echo $PATH; id -u; ls; exit 3")
    assert done.exit_code == 3
    assert done.output.startswith("/opt/tools:/usr/bin:/bin:")
    assert "1000" in done.output and "sums.py" in done.output
    sandbox.write("pack/new.py", b"x = 1\n")
    assert sandbox.read("sums.py").startswith(b"def add")
    sandbox.run("sed -i 's/a - b/a + b/' sums.py; rm -rf .git")
    patch = sandbox.diff()
    assert "+    return a + b" in patch and "pack/new.py" in patch
    assert sandbox.run("python -c 'print(6 * 7)'").output == "42\n"


def test_limits_and_leftovers(sandbox: Session) -> None:
    assert sandbox.run("sleep 30", timeout=1).timed_out
    sandbox.run("sleep 300 & sleep 300 &")
    assert "sleep" not in sandbox.run("cat /proc/*/comm").output
    eaten = sandbox.run("python -c 'x = bytearray(600 << 20); x[::4096] = bytes(len(x[::4096]))'")
    assert eaten.killed == "memory", eaten
    forked = sandbox.run(
        "for i in $(ls /usr/bin /usr/bin /usr/bin /usr/bin /usr/bin); do sleep 5 & done; wait", timeout=4
    )
    assert forked.exit_code != 0 or "fork" in forked.output
    assert sandbox.run("echo still here").output == "still here\n"
    flood = sandbox.run("while :; do echo flood; done", timeout=1)
    assert flood.truncated_bytes > 0


def test_nothing_of_the_host_and_no_network(sandbox: Session, start: StartState) -> None:
    assert sandbox.run("touch /etc/x || touch /usr/bin/x").exit_code != 0
    assert sandbox.run(f"touch /run/rft/start/x; touch {start.path}/x").exit_code != 0
    assert not (start.path / "x").exists()
    assert sandbox.run("ls /work /root/.ssh /var/run/docker.sock").exit_code != 0
    probe = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    assert sandbox.run(f'python -c "{probe}"').exit_code != 0
    assert "CapEff:\t0000000000000000" in sandbox.run("cat /proc/self/status").output


def test_a_container_is_gone_with_its_session(containers: Docker, start: StartState) -> None:
    session = containers.open(start)
    listed = containers.client("ps", "-q", "--filter", f"label={LABEL}").stdout.split()
    assert len(listed) == 1
    session.close()
    session.close()
    assert not containers.client("ps", "-aq", "--filter", f"label={LABEL}").stdout.split()
    with pytest.raises(SandboxError):
        session.run("true")


def test_what_a_killed_program_left_is_removed(containers: Docker) -> None:
    from rft.sandboxes import groups

    owner = f"{LABEL}={groups.prefix()}4194399"
    made = containers.client(
        "run", "-d", *containers.options, "--network=none", f"--label={owner}", "--entrypoint=sleep", IMAGE, "300"
    )
    assert made.returncode == 0, made.stderr
    containers.reap()
    assert not containers.client("ps", "-aq", "--filter", f"label={LABEL}").stdout.split()


def test_images_that_cannot_be_had_are_told(containers: Docker, start: StartState) -> None:
    with pytest.raises(SandboxError, match=r"is not there, and sandbox\.pull is off"):
        dataclasses.replace(containers, image="no-such:1", pull=False).open(start)
    with pytest.raises(SandboxError, match="names no image"):
        dataclasses.replace(containers, image="").open(start)
    with pytest.raises(SandboxError, match="Make room"):
        dataclasses.replace(containers, image="no-such:1", free="900000g").open(start)


def test_an_image_is_built_from_a_folder(containers: Docker, start: StartState, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nENV BUILT=yes\n")
    session = dataclasses.replace(containers, image="rft-test:built", build=str(tmp_path), free="1m").open(start)
    assert session.run("true").exit_code == 0
    session.close()


def test_memory_ends_the_command_and_not_the_supervisor(containers: Docker, start: StartState) -> None:
    with contextlib.closing(dataclasses.replace(containers, memory="64m").open(start)) as sandbox:
        filled = sandbox.run("sleep 9 & sleep 9 & cat /dev/zero > /tmp/full")
        assert filled.killed == "memory"
        assert sandbox.run("rm /tmp/full; echo still here").output == "still here\n"


def test_an_agent_in_a_container_reaches_the_policy_by_its_door(containers: Docker, start: StartState) -> None:
    policy = Scripted(
        replies=[bash_block("cat sums.py"), bash_block("sed -i 's/a - b/a + b/' sums.py"), bash_block("submit")]
    )
    policy.load("none", None)
    agent = External(command='python "$RFT_FILES/plain.py"', files=["plain.py"])
    with contextlib.closing(containers.open(start)) as sandbox:
        made = agent.attempt(make_task(), sandbox, policy.open(make_task(), seed=0))
        patch = sandbox.diff()
    assert (made.stop, made.failure, len(made.steps)) == (StopReason.SUBMITTED, None, 3), made
    assert "def add" in made.steps[0].observation and "+    return a + b" in patch


def test_podman_says_what_it_lacks(tmp_path: Path) -> None:
    assert shutil.which("podman") or "not installed" in Podman().missing()
    broken = Podman(flags=[f"--root={tmp_path}/root", f"--runroot={tmp_path}/run", "--runtime=/none"])
    assert broken.missing().startswith(("podman starts no container here (", "podman is not installed"))
