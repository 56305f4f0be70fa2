"""The printed Slurm script, run: Slurm's programs are stood in for by small scripts, the script itself is real."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rft.launch import launch

SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do [[ $1 == --nodelist=* ]] && node=${1#*=}; shift; done
echo "srun $node $*" >> "$CALLS"
exec "$@"
"""
SCONTROL = """#!/bin/bash
if [[ $1 == show ]]; then printf '%s\\n' $NODES; else echo "scontrol $*" >> "$CALLS"; fi
"""
RAY = """#!/bin/bash
if [[ $1 == start ]]; then exec sleep 300; fi
grep -o -- ' ray start ' "$CALLS" | sed 's/.*/ 1 node_x/'
"""
RFT = """#!/bin/bash
echo "rft $* on $RAY_ADDRESS" >> "$CALLS"
if [[ -e $FIRST ]]; then exit "$CODE"; fi
touch "$FIRST"
exec sleep 300
"""
LONELY_RAY = """#!/bin/bash
if [[ $1 == start ]]; then exec sleep 300; fi
"""
IP = """#!/bin/bash
echo "5: ib0    inet 10.9.8.7/16 brd 10.9.255.255 scope global ib0\\       valid_lft forever preferred_lft forever"
"""
PYTHON = "#!/bin/bash\necho 10.1.2.3\n"

pytestmark = pytest.mark.process


class Job:
    """A Slurm job as its batch script sees it."""

    def __init__(self, folder: Path, script: str, programs: dict[str, str], **variables: str) -> None:
        self.calls = folder / "calls"
        self.calls.touch()
        self.log = folder / "job.log"
        self.script = folder / "job.sh"
        self.script.write_text(script)
        (folder / "bin").mkdir()
        for name, text in ({"srun": SRUN, "scontrol": SCONTROL} | programs).items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "node[1-3]",
            **variables,
        }

    @contextlib.contextmanager
    def start(self, seconds: float) -> Iterator["subprocess.Popen[bytes]"]:
        """The batch script, in a process group of its own, of which nothing may be left when it ends."""
        with self.log.open("ab") as log:
            job = subprocess.Popen(
                ["bash", self.script], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield job
            job.wait(timeout=seconds)
            limit = time.monotonic() + 20
            while _lives(job.pid) and time.monotonic() < limit:
                time.sleep(0.1)
            assert not _lives(job.pid), "the job left processes behind"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)

    def wait_for(self, ready: Callable[[], bool], job: "subprocess.Popen[bytes]", seconds: float) -> None:
        limit = time.monotonic() + seconds
        while not ready():
            assert job.poll() is None and time.monotonic() < limit, self.log.read_text()
            time.sleep(0.05)

    def lines(self, begin: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(begin)]


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_cluster_comes_up_and_the_time_limit_queues_the_job_again(tmp_path: Path) -> None:
    script = launch("slurm", "quickstart", ["nodes=3", "cpus=4", "gpus=2", f"folder={tmp_path}", "name=it"])
    programs = {"ray": RAY, "rft": RFT, "python": PYTHON}
    job = Job(tmp_path, script, programs, NODES="node1 node2 node3", FIRST=str(tmp_path / "first"), CODE="0")
    with job.start(30) as first:
        job.wait_for(lambda: len(job.lines("rft")) == 1 and len(job.lines("srun")) == 4, first, 30)
        first.send_signal(signal.SIGUSR1)
    assert first.returncode == 0, job.log.read_text()
    assert job.lines("scontrol") == [f"scontrol requeue {os.getpid()}"]
    address = f"10.1.2.3:{20000 + os.getpid() % 5000 * 2}"
    assert job.lines("rft") == [f"rft run quickstart name=it on {address}"]
    starts = sorted(line for line in job.lines("srun") if " ray start " in line)
    assert [line.split()[1] for line in starts] == ["node1", "node2", "node3"]
    assert "--head" in starts[0] and all(f"--address={address}" in line for line in starts[1:])
    assert all("--num-cpus=4 --num-gpus=2" in line for line in starts), "and not those of another job on the machine"

    with job.start(30) as second:
        pass
    assert second.returncode == 0 and len(job.lines("rft")) == 2 and len(job.lines("scontrol")) == 1

    job.environment["CODE"] = "3"
    with job.start(30) as failing:
        pass
    assert failing.returncode == 3, "the job must fail where the recipe does"


def test_a_job_that_is_told_to_end_before_its_cluster_is_up_is_queued_again(tmp_path: Path) -> None:
    script = launch("slurm", "quickstart", ["nodes=2", f"folder={tmp_path}", "interface=ib0"])
    programs = {"ray": LONELY_RAY, "ip": IP, "rft": RFT}
    job = Job(tmp_path, script, programs, NODES="node1 node2", FIRST=str(tmp_path / "first"), CODE="0")
    with job.start(30) as process:
        job.wait_for(lambda: any(" ray start " in line for line in job.lines("srun")), process, 30)
        process.send_signal(signal.SIGUSR1)
    assert process.returncode == 0, job.log.read_text()
    assert job.lines("scontrol") == [f"scontrol requeue {os.getpid()}"] and not job.lines("rft")
    [head] = [line for line in job.lines("srun") if " ray start " in line]
    assert "--node-ip-address=10.9.8.7 " in head


def test_a_driver_that_does_not_end_does_not_keep_the_job_from_the_queue(tmp_path: Path) -> None:
    stubborn = RFT.replace("exec sleep 300", "trap '' TERM; while true; do sleep 1; done")
    script = launch("slurm", "quickstart", ["nodes=1", f"folder={tmp_path}"]).replace("tries < 60", "tries < 2")
    programs = {"ray": RAY, "rft": stubborn, "python": PYTHON}
    job = Job(tmp_path, script, programs, NODES="node1", FIRST=str(tmp_path / "first"), CODE="0")
    with contextlib.suppress(AssertionError), job.start(30) as process:  # Slurm ends what is left of it
        job.wait_for(lambda: len(job.lines("rft")) == 1, process, 30)
        process.send_signal(signal.SIGUSR1)
    assert process.returncode == 0, job.log.read_text()
    assert len(job.lines("scontrol")) == 1
