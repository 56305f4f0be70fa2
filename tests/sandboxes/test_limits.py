"""Commands that want too much: each ends, says what ended it, and harms neither its sandbox nor its owner."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rft.errors import SandboxError
from rft.sandboxes import groups
from rft.sandboxes.session import Session

Make = Callable[..., Session]
MARK = f"86413.{os.getpid()}"
"""Seconds that only sleepers of this process sleep for, not those of a test beside it: they are found by it."""

counts_all = pytest.mark.skipif(groups.available() is None, reason="no control groups can be written here")


def sleepers() -> list[str]:
    """Processes of this machine with the mark on their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes()
        except OSError:
            continue
        if MARK.encode() in line and b"sleep" in line:
            found.append(f"{file.parent.name}: {line!r}")
    return found


def works(sandbox: Session) -> bool:
    return sandbox.run("echo well").output == "well\n"


OVERSTAYERS = {
    "sleeps": f"sleep {MARK}",
    "ignores signals": f"trap '' TERM INT HUP QUIT; sleep {MARK}; sleep {MARK}",
    "leaves its session": f"setsid sleep {MARK} & setsid -f sleep {MARK}; sleep {MARK}",
    "forks twice": f"( ( sleep {MARK} & ) & ) ; sleep {MARK}",
    "closes its output": f"exec >&- 2>&-; sleep {MARK}",
    "never stops talking": "yes",
    "leaves zombies": "python -c 'import os, time\nfor _ in range(60): os.fork() or os._exit(0)\ntime.sleep(99)'",
    "stops itself": f"sleep {MARK} & kill -STOP $$",
    "holds a lock on its pipe": "python -c 'import fcntl, time; fcntl.fcntl(1, 1031, 4096); time.sleep(99)'",
}


@pytest.mark.parametrize("how", OVERSTAYERS)
def test_a_command_that_overstays_is_ended_whole(make: Make, how: str) -> None:
    sandbox = make(processes=100)
    began = time.monotonic()
    done = sandbox.run(OVERSTAYERS[how], timeout=0.5)
    assert (done.timed_out, done.killed, done.exit_code) == (True, "time", None)
    assert 0.5 <= done.seconds < 5 and time.monotonic() - began < 6
    assert sleepers() == []
    assert works(sandbox)


@counts_all
@pytest.mark.parametrize("bomb", ["bomb() { bomb | bomb & }; bomb; sleep 99", "while :; do sleep 99 & done"])
def test_a_fork_bomb_hits_the_process_limit(make: Make, bomb: str) -> None:
    sandbox = make(processes=40)
    done = sandbox.run(bomb, timeout=1.5)
    assert done.killed == "time" and "Resource temporarily unavailable" in done.output
    assert works(sandbox)


@counts_all
def test_memory_of_one_process_is_limited(make: Make) -> None:
    sandbox = make(memory="64m")
    done = sandbox.run("python -c 'x = bytearray(1 << 28); print(len(x))'")
    assert done.killed == "memory" and str(1 << 28) not in done.output
    assert works(sandbox)


@counts_all
def test_memory_of_many_processes_is_limited_together(make: Make) -> None:
    sandbox = make(memory="64m")
    hog = "python -c 'import time; x = bytearray(24 << 20); time.sleep(3); print(\"held\")'"
    done = sandbox.run(" & ".join([hog] * 6) + " & wait", timeout=10)
    assert done.killed == "memory" and done.output.splitlines().count("held") < 6
    assert works(sandbox)


def test_memory_is_limited_without_control_groups(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "available", lambda: None)
    sandbox = make(memory="200m")
    assert "MemoryError" in sandbox.run("python -c 'bytearray(1 << 29)'").output
    assert works(sandbox)


def test_processes_are_limited_without_control_groups(jail: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "available", lambda: None)
    sandbox = jail(processes=20)
    assert (
        "Resource temporarily unavailable" in sandbox.run("for i in $(seq 60); do sleep 9 & done", timeout=1.5).output
    )
    assert works(sandbox)


@counts_all
@pytest.mark.parametrize("workers", [1, 4])
def test_cpu_time_is_limited_for_a_command_and_all_it_starts(make: Make, workers: int) -> None:
    sandbox = make(cpu=0.4, timeout=20)
    done = sandbox.run(" & ".join(["while :; do :; done"] * workers))
    assert (done.killed, done.exit_code, done.timed_out) == ("cpu", None, False)
    assert done.seconds < 15
    assert works(sandbox)


def test_cpu_time_is_limited_without_control_groups(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "available", lambda: None)
    done = make(cpu=0.4, timeout=20).run("exec python -c 'while True: pass'")
    assert (done.killed, done.exit_code) == ("cpu", None)


def test_a_file_beyond_the_disk_limit_is_cut_off(make: Make) -> None:
    sandbox = make(disk="8m")
    done = sandbox.run("cat /dev/zero > filler", timeout=20)
    assert done.exit_code != 0 and not done.timed_out
    assert int(sandbox.run("stat -c %s filler").output) <= 8 << 20
    assert works(sandbox)


@pytest.mark.parametrize("place", [".", "/tmp", "/dev/shm", "/home/agent"])
def test_everything_written_anywhere_counts(jail: Make, place: str) -> None:
    sandbox = jail(disk="8m")
    done = sandbox.run(f"cd {place}; for i in 1 2 3; do head -c 4m /dev/zero > filler.log$i || exit 7; done")
    assert done.exit_code == 7 and "No space left" in done.output
    assert works(sandbox)


@pytest.mark.skipif(os.geteuid() != 0, reason="a memory file system of bwrap's own making counts bytes only")
def test_the_number_of_files_is_limited(jail: Make) -> None:
    done = jail(disk="1m").run("mkdir many; cd many; for i in $(seq 9000); do : > $i || exit 7; done")
    assert done.exit_code == 7 and "No space left" in done.output


def test_a_full_disk_does_not_spoil_the_patch(jail: Make) -> None:
    sandbox = jail(disk="4m")
    sandbox.run(
        "echo new > new.txt; cat /dev/zero > filler.log; cat /dev/zero > /run/rft/scratch/x & sleep 1; cat /dev/zero > /tmp/x"  # noqa: E501
    )
    assert "+new\n" in sandbox.diff()


def test_a_working_directory_too_deep_or_too_large_is_a_sandbox_error(jail: Make) -> None:
    sandbox = jail(disk="64m")
    sandbox.run("for i in $(seq 60); do mkdir -p $(printf 'd%.0s' {1..200}); cd d*; done; echo x > y")
    try:
        assert "+x" in sandbox.diff()
    except SandboxError as error:
        assert "diff" in str(error) or "name too long" in str(error)
    assert works(sandbox)


def test_a_flood_of_output_costs_the_program_nothing(make: Make) -> None:
    sandbox = make(timeout=60)
    before = resource.getrusage(resource.RUSAGE_SELF)
    done = sandbox.run("yes | head -c 1000000000")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert done.exit_code == 0 and done.truncated_bytes == 1_000_000_000 - (64 << 10)
    assert len(done.output) < 66 << 10
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.2
    assert after.ru_maxrss - before.ru_maxrss < 20_000


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_shell_that_dies_of_a_signal_says_so(sandbox: Session, number: signal.Signals) -> None:
    done = sandbox.run(f"kill -{number.value} $$")
    assert (done.exit_code, done.killed, done.timed_out) == (None, f"signal {number.value}", False)


def test_everything_killed_at_once(jail: Make) -> None:
    sandbox = jail()
    done = sandbox.run(f"sleep {MARK} & kill -9 -1; kill -9 1; sleep 0.2; echo spared")
    assert done.killed in ("signal 9", "") and sleepers() == []
    assert works(sandbox)


OWNER = """
import sys
from pathlib import Path
from rft.interfaces import StartState
from rft.plugins import build
sandbox = build("sandbox", {{"use": {kind!r}}}, "sandbox").open(StartState(Path({start!r})))
print("open", flush=True)
sandbox.run("setsid sleep {mark} & (sleep {mark} &) ; sleep {mark}", timeout=600)
"""


@pytest.mark.parametrize("kind", ["local", "bubblewrap"])
def test_nothing_survives_a_killed_owner(kind: str, jail: Make, start_state: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(kind=kind, start=str(start_state), mark=MARK)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdout and owner.stdout.readline() == b"open\n"
    deadline = time.monotonic() + 10
    while len(sleepers()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(sleepers()) >= 3
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 10
    while (sleepers() or list(Path("/tmp").glob(f"rft-{owner.pid}-*"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sleepers() == []
    assert list(Path("/tmp").glob(f"rft-{owner.pid}-*")) == []
    if hierarchy := groups.available():
        time.sleep(0.2)
        hierarchy.reap()
        for folder in hierarchy.folders.values():
            assert list(folder.glob(f"rft-*-{owner.pid}-*")) == []


def test_control_groups_are_looked_for_where_they_may_be() -> None:
    mounts = [
        line.split()
        for line in (
            "cgroup2 /c/unified cgroup2 rw",
            "cgroup /c/memory cgroup rw,memory",
            "cgroup /c/pids cgroup rw,pids",
        )
    ]
    found = groups.candidates(mounts, {"": "/mine", "memory": "/mine", "pids": "/"})
    assert [(place.version, sorted(str(path) for path in place.folders.values())) for place in found] == [
        (2, ["/c/unified/mine"]),
        (2, ["/c/unified"]),
        (1, ["/c/memory/mine", "/c/pids"]),
        (1, ["/c/memory", "/c/pids"]),
    ]


def test_limits_are_inherited_by_every_command(jail: Make) -> None:
    output = jail(cpu=7, disk="16m").run("ulimit -t; ulimit -f; ulimit -c; ulimit -n").output
    assert re.findall(r"\d+", output) == ["7", str(16 << 10), "0", "1024"]


def test_the_probe_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from rft.sandboxes import bubblewrap

    monkeypatch.setenv("PATH", os.devnull)
    reason = bubblewrap._probe.__wrapped__()
    assert reason == "bwrap is not installed; run `apt-get install bubblewrap`, or choose sandbox.use=local"


def test_where_no_overlay_can_be_had_the_start_state_is_copied(jail: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("no user namespaces that map owners")

    monkeypatch.setattr("rft.sandboxes.mounts.owner_map", refuse)
    sandbox = jail(disk="8m")
    assert sandbox.run("id -u; grep -c '^overlay' /proc/mounts; wc -l < sums.py").output == "1000\n0\n2\n"
    sandbox.run("echo new > new.txt")
    assert "+new" in sandbox.diff()
    assert "No space left" in sandbox.run("cat /dev/zero > filler").output
    refused = sandbox.run(
        "test -w /proc/sys/kernel/core_pattern || test -r /etc/shadow || test -w /run/rft/start || echo no"
    )
    assert refused.output == "no\n"
