"""Containers, really run: an image is made from this machine's own programs, since no registry is asked.

Where no daemon answers and `dockerd` is installed and may be started, one is started for these tests alone.
"""

import contextlib
import dataclasses
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rft.agents.external import External
from rft.errors import SandboxError
from rft.inference.scripted import Scripted
from rft.interfaces import StartState
from rft.sandboxes.container import LABEL, Docker, Podman
from rft.sandboxes.session import Session
from rft.types import StopReason
from tests.conftest import bash_block, make_task
from tests.container_world import IMAGE, LIMITS, daemon, make_image, podman
from tests.sandboxes.conftest import repository

pytestmark = pytest.mark.slow


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


RECIPE = """\
name: contained
rounds: 1
runs: {runs}
policy:
  model: none
  inference: {{use: scripted, replies: ["```bash\\n{command}\\n```", "```bash\\nsubmit\\n```"]}}
environment: {{use: kata}}
sandbox: {{use: {program}, image: "{image}", flags: {flags}, options: {options}, pull: false, timeout: 60}}
agent: {{use: bash, max_steps: 4}}
collect: {{tasks: 2, samples: 1, pool: {{use: serial}}}}
evaluate: {{splits: []}}
"""


def rft(folder: Path, verb: str, containers: Docker, command: str) -> "subprocess.Popen[str]":
    """The command line, started on a recipe whose attempts run `command` and submit."""
    facts = {"program": containers.program, "flags": containers.flags, "options": containers.options}
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(runs=folder / "runs", command=command, image=IMAGE, **facts))
    return subprocess.Popen(
        [sys.executable, "-m", "rft.cli", verb, str(recipe)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def names(containers: Docker) -> set[str]:
    return set(containers.client("ps", "-aq", "--filter", f"label={LABEL}").stdout.split())


def test_a_killed_collector_leaves_no_container(containers: Docker, tmp_path: Path) -> None:
    collector = rft(tmp_path, "collect", containers, "sleep 50")
    deadline = time.monotonic() + 120
    while not names(containers) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = names(containers)
    assert left, collector.communicate()
    collector.kill()
    collector.communicate()
    again = rft(tmp_path, "collect", containers, "true")
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert not names(containers)


def test_check_plans_the_images_and_a_full_disk_is_refused(containers: Docker, tmp_path: Path) -> None:
    planned, _ = rft(tmp_path, "check", containers, "true").communicate(timeout=300)
    assert re.search(r"images +1 named, 1 here \(0\.\d GiB\)", planned), planned
    planned = containers.plan(["", "none:1", "none:1"])
    assert planned.startswith("2 named, 1 here") and "1 not there, and sandbox.pull is off, such as none:1" in planned
    full = dataclasses.replace(containers, free="900000g", pull=True)
    with pytest.raises(
        SandboxError, match=r"image 'none:1' is not there and its disk has .* left; expected .* Make room"
    ):
        full.fetch(["", "none:1"])
    dataclasses.replace(containers, free="1m").fetch(["none:1"])  # told, and left to the attempts that want it


def test_podman_says_what_it_lacks(tmp_path: Path) -> None:
    assert shutil.which("podman") or "not installed" in Podman().missing()
    broken = Podman(flags=[f"--root={tmp_path}/root", f"--runroot={tmp_path}/run", "--runtime=/none"])
    assert broken.missing().startswith(("podman starts no container here (", "podman is not installed"))


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
