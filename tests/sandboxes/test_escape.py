"""Attacks on bubblewrap. Each says PWNED when it gets what it wants and REFUSED when it is told no.

An attack that says neither is broken, and its test fails too. Those marked harmless are also run where nothing
holds them back, to show that they are attacks at all.
"""

# A line is an attack, and its braces and percents are Python's inside the sandbox.
# ruff: noqa: E501, UP031

import os
import platform
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rft.interfaces import StartState
from rft.sandboxes import seccomp
from rft.sandboxes.bubblewrap import Bubblewrap
from rft.sandboxes.local import Local
from rft.sandboxes.session import Session
from rft.store import digest_path

Jail = Callable[..., Session]
GENERIC = platform.machine() != "x86_64"
SECRET = "what-only-the-host-knows"
PRELUDE = """
import ctypes, os, socket, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def ok(result):
    if result == -1 or result is None:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def call(number, *arguments):
    return ok(libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]))
def shell(command):
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip()[-200:])
    return done.stdout
def attack():
%s
try:
    loot = attack()
except BaseException as error:
    print("REFUSED", type(error).__name__, error)
else:
    print("PWNED" if loot else "REFUSED nothing there", loot)
"""


def script(body: str) -> str:
    """A command that runs an attack, the body of a Python function that returns its loot."""
    return (
        "python - <<'END-OF-ATTACK'\n"
        + PRELUDE % textwrap.indent(textwrap.dedent(body).strip(), "    ")
        + "\nEND-OF-ATTACK\n"
    )


@dataclass
class Host:
    """Things of the host that are worth stealing or breaking."""

    folder: Path
    tcp: int
    udp: int
    abstract: str
    victim: "subprocess.Popen[bytes]"

    def fill(self, body: str) -> str:
        """An attack with this host's names in it."""
        names = {
            "FOLDER": self.folder,
            "TCP": self.tcp,
            "UDP": self.udp,
            "ABSTRACT": self.abstract,
            "VICTIM": self.victim.pid,
        }
        names |= {"REPOSITORY": Path(__file__).parents[2], "TESTS": os.getpid(), "HOME": Path.home(), "SECRET": SECRET}
        for name, value in names.items():
            body = body.replace(f"<{name}>", str(value))
        return body


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A secret file, listeners on every kind of socket, and a process."""
    tmp_path = tmp_path_factory.mktemp("host")
    (tmp_path / "secret").write_text(SECRET)
    tcp, udp = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    name = f"rft-test-{os.getpid()}"
    abstract, path = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0{name}")
    path.bind(str(tmp_path / "socket"))
    listeners = [tcp, abstract, path]
    for listener in (abstract, path):
        listener.listen()

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.sendall(SECRET.encode())
            connection.close()

    for listener in listeners:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={"TOKEN": SECRET})
    yield Host(tmp_path, tcp.getsockname()[1], udp.getsockname()[1], name, victim)
    victim.kill()
    victim.wait()
    for listener in (*listeners, udp):
        listener.close()


HARMLESS = {
    "read a file of the host": "return '<SECRET>' in open('<FOLDER>/secret').read()",
    "read the password hashes": "return open('/etc/shadow').read()",
    "list the home directory": "return [n for n in os.listdir('<HOME>') if not sys.base_prefix.startswith(os.path.join('<HOME>', n))]",
    "list this checkout": "return os.listdir('<REPOSITORY>')",
    "list the host's temporary files": "return os.path.basename('<FOLDER>') in ''.join(str(x) for x in os.walk('/tmp'))",
    "read through a link": "os.symlink('<FOLDER>/secret', 'l'); return open('l').read()",
    "read the environment of the host's process": "return '<SECRET>' in open('/proc/<VICTIM>/environ').read()",
    "see processes of the host": "return len([n for n in os.listdir('/proc') if n.isdigit()]) > 12",
    "signal a process of the host": "os.kill(<VICTIM>, 0); return 1",
    "connect to the host over TCP": "return socket.create_connection(('127.0.0.1', <TCP>), 3).recv(99)",
    "send to the host over UDP": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', <UDP>))",
    "open an IPv6 socket": "return socket.socket(socket.AF_INET6)",
    "open a netlink socket": "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "see the host's network": "return [l for l in open('/proc/net/dev').readlines()[2:] if not l.strip().startswith('lo:')] or"
    " open('/proc/net/tcp').readlines()[1:]",
    "connect to an abstract socket": "s = socket.socket(socket.AF_UNIX); s.connect('\\0<ABSTRACT>'); return s.recv(99)",
    "connect to a socket file": "s = socket.socket(socket.AF_UNIX); s.connect('<FOLDER>/socket'); return s.recv(99)",
    "write into the host's temporary files": "open('<FOLDER>/made', 'w').write('x'); return 1",
    "read block devices": "return [n for n in os.listdir('/sys/class') if n]",
    "read the kernel's log": "return libc.klogctl(10, None, 0) >= 0 or ok(-1)",
    "make a name space for a user": "ok(libc.unshare(0x10000000)); return 1",
    "make a mount name space": "ok(libc.unshare(0x10020000)); return 1",
    "clone into a user name space": "p = shell('unshare -U true && echo in'); return p",
    "look for control groups": "return os.listdir('/sys/fs/cgroup')",
    "add a key": "return call(%d, b'user', b'rft-test', b'x', 1, -3) > 0" % seccomp.FORBIDDEN["add_key"][GENERIC],
    "set up io_uring": "return call(%d, 4, ctypes.create_string_buffer(120)) > 0" % 425,
}
"""Run in `local` as well, where they succeed at least as root."""

DANGEROUS = {
    "read through /proc/1/root": "return open('/proc/1/root/<FOLDER>/secret').read()",
    "read the environment of the first process": "return open('/proc/1/environ', 'rb').read()",
    "see through the first process's folder": "return os.listdir('/proc/1/cwd/')",
    "see the first process's files": "return os.listdir('/proc/1/fd')",
    "kill the supervisor": "os.kill(1, 9); import time; time.sleep(0.3); return not os.path.exists('/proc/1')",
    "stop the supervisor": "os.kill(1, 19); return 'T (stopped' in open('/proc/1/status').read()",
    "trace the supervisor": "return ok(libc.ptrace(16, 1, None, None)) == 0",
    "trace any process": "import time; p = subprocess.Popen(['sleep', '9']); return ok(libc.ptrace(16, p.pid, None, None)) == 0",
    "write the supervisor's memory": "return os.open('/proc/1/mem', os.O_RDWR)",
    "read the supervisor's memory map": "return open('/proc/1/maps').read()",
    "write into the supervisor's channel": "return os.open('/proc/1/fd/0', os.O_RDWR)",
    "steal the supervisor's channel": "p = os.pidfd_open(1); return call(438, p, 0, 0)",
    "inherit a channel": "return [n for n in os.listdir('/proc/self/fd') if int(n) > 2 and not os.readlink('/proc/self/fd/' + n).startswith(('/proc', '/testbed'))]",
    "spare the supervisor's enemies": "open('/proc/1/oom_score_adj', 'w').write('1000'); return 1",
    "change the supervisor's program": "open('/run/rft/lib/supervisor.py', 'a').write('#'); return 1",
    "change the start state": "open('/run/rft/start/sums.py', 'w').write('x'); return 1",
    "remount the start state": "return ok(libc.mount(None, b'/run/rft/start', None, 32, None)) == 0",
    "write into /usr": "open('/usr/bin/evil', 'w'); return 1",
    "write into Python": "open(os.path.join(sys.base_prefix, 'lib', 'evil.py'), 'w'); return 1",
    "write into /etc": "open('/etc/passwd', 'a').write('x'); return 1",
    "write into /": "open('/evil', 'w'); return 1",
    "write into /dev": "open('/dev/evil', 'w'); return 1",
    "write into /sys": "os.makedirs('/sys/evil'); return 1",
    "set the core pattern": "open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/evil'); return 1",
    "set a kernel parameter": "open('/proc/sys/vm/overcommit_memory', 'w').write('1'); return 1",
    "press a magic key": "open('/proc/sysrq-trigger', 'w').write('h'); return 1",
    "mount a file system": "return ok(libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None)) == 0",
    "mount the host's processes": "return ok(libc.mount(b'proc', b'/tmp', b'proc', 0, None)) == 0",
    "unmount": "return ok(libc.umount2(b'/testbed', 2)) == 0",
    "change the root": "os.chroot('/tmp'); return 1",
    "swap the root": "os.mkdir('/tmp/old'); return call(%d, b'/tmp', b'/tmp/old') == 0"
    % seccomp.FORBIDDEN["pivot_root"][GENERIC],
    "enter the first process's name spaces": "return ok(libc.setns(os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)) == 0",
    "become root": "os.setuid(0); return 1",
    "use a program that makes root": "return shell('su -c id || sudo -n id || mount --bind /tmp /usr')",
    "have any right": "return int([l for l in open('/proc/self/status') if l.startswith('CapEff')][0].split()[1], 16) or"
    " int([l for l in open('/proc/self/status') if l.startswith('CapBnd')][0].split()[1], 16)",
    "gain rights by a set-user-id file": "return 'NoNewPrivs:\\t1' not in open('/proc/self/status').read()",
    "make a disk device": "os.mknod('disk', 0o060600, os.makedev(254, 0)); return open('disk', 'rb').read(9)",
    "make a memory device": "os.mknod('mem', 0o020600, os.makedev(1, 1)); return open('mem', 'rb').read(9)",
    "read the kernel's memory": "return open('/proc/kcore', 'rb').read(9)",
    "open the host's devices": "return [n for n in os.listdir('/dev') if n.startswith(('sd', 'vd', 'nvme', 'mem', 'kvm', 'fuse', 'loop'))]",
    "type into a terminal": "a, b = os.openpty(); import fcntl; return fcntl.ioctl(b, 0x5412, b'x') == 0",
    "type into a terminal, high bits set": "a, b = os.openpty(); return call(%d, b, 0x100005412, b'x') == 0"
    % seccomp.IOCTL[GENERIC],
    "load a kernel module": "return call(%d, b'x', 1, b'') == 0" % seccomp.FORBIDDEN["init_module"][GENERIC],
    "load a program into the kernel": "return call(%d, 0, ctypes.create_string_buffer(128), 128)"
    % seccomp.FORBIDDEN["bpf"][GENERIC],
    "open a raw packet socket": "return socket.socket(17, socket.SOCK_RAW, 0x300)",
    "open a socket to the hypervisor": "s = socket.socket(40, socket.SOCK_STREAM); s.connect((2, 1024)); return 1",
    "resolve a name": "return socket.getaddrinfo('example.org', 80)",
    "change the host's name": "socket.sethostname('evil'); return 1",
    "set the clock": "import time; time.clock_settime(0, 1.0); return 1",
    "lift its own limits": "import resource as r; r.setrlimit(r.RLIMIT_CPU, (-1, -1)); return 1",
    "leave its control group": "open('/sys/fs/cgroup/memory/tasks', 'w').write(str(os.getpid())); return 1",
    "reach a file by its handle": "return call(%d, -100, b'/testbed', ctypes.create_string_buffer(200), ctypes.create_string_buffer(8), 0) == 0"
    % seccomp.FORBIDDEN["name_to_handle_at"][GENERIC],
    "walk out with ..": "return os.path.exists('../../../../../../<FOLDER>/secret') or os.listdir('..').count('root') and os.path.exists('/root/.bashrc')",
}


@pytest.fixture(scope="module")
def besieged(start_state: Path) -> Iterator[Session]:
    """One sandbox for all attacks; every one of them must leave it in order."""
    if reason := Bubblewrap().missing():
        pytest.skip(reason)
    sandbox = Bubblewrap().open(StartState(start_state))
    yield sandbox
    sandbox.close()


@pytest.mark.parametrize("name", [*HARMLESS, *DANGEROUS])
def test_an_attack_fails(besieged: Session, host: Host, name: str) -> None:
    sandbox = besieged
    done = sandbox.run(script(host.fill((HARMLESS | DANGEROUS)[name])))
    assert "PWNED" not in done.output and "REFUSED" in done.output, done
    assert SECRET not in done.output
    assert not (host.folder / "made").exists() and host.victim.poll() is None
    assert sandbox.run("echo still here").output == "still here\n"


NETWORK = (
    "connect to the host over TCP",
    "send to the host over UDP",
    "open an IPv6 socket",
    "open a netlink socket",
    "connect to an abstract socket",
    "connect to a socket file",
    "open a raw packet socket",
    "open a socket to the hypervisor",
    "resolve a name",
    "steal the supervisor's channel",
    "inherit a channel",
)
BY_THE_DOOR = {
    "connect to the world": "s = socket.socket(); s.settimeout(3); s.connect(('192.0.2.1', 80)); return 1",
    "connect to the cloud's own data": "s = socket.socket(); s.settimeout(3); s.connect(('169.254.169.254', 80)); return 1",
    "see other networks": "return [l for l in open('/proc/net/dev').readlines()[2:] if not l.strip().startswith('lo:')]",
    "see the host's connections": "return len(open('/proc/net/tcp').readlines()) > 2",
    "open a raw IP socket": "return socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "send datagrams": "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "speak another protocol": "return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132) or socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)",
    "take the door over": "s = socket.socket(); s.setsockopt(1, 15, 1); s.bind(('127.0.0.1', <DOOR>)); s.listen(); return 1",
    "give an address to the loopback": "import fcntl, struct; s = socket.socket(); return fcntl.ioctl(s, 0x8916, struct.pack('16sH2s4s8s', b'lo', 2, b'', bytes([10, 0, 0, 1]), b''))",
}
"""What a command may try that is let through to one address."""


def test_the_door_leads_to_whoever_holds_it_and_nowhere_else(jail: Jail, host: Host) -> None:
    sandbox = jail()
    before = sandbox.run(script("return socket.socket()"))
    assert "REFUSED OSError [Errno 97]" in before.output, before
    door = sandbox.door()
    port = door.getsockname()[1]

    def answer() -> None:
        with door, door.accept()[0] as caller:
            caller.sendall(b"welcome")

    with_door = threading.Thread(target=answer)
    with_door.start()
    done = sandbox.run(script(f"return socket.create_connection(('127.0.0.1', {port}), 9).recv(99)"))
    with_door.join()
    assert "PWNED b'welcome'" in done.output, done
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 3)


@pytest.fixture(scope="module")
def ajar(start_state: Path) -> Iterator[tuple[Session, int]]:
    """A sandbox with a door."""
    if reason := Bubblewrap().missing():
        pytest.skip(reason)
    sandbox = Bubblewrap().open(StartState(start_state))
    with sandbox.door() as door:
        yield sandbox, door.getsockname()[1]
    sandbox.close()


@pytest.mark.parametrize("name", [*NETWORK, *BY_THE_DOOR])
def test_an_attack_by_the_door_fails(ajar: tuple[Session, int], host: Host, name: str) -> None:
    sandbox, port = ajar
    attack = (HARMLESS | DANGEROUS | BY_THE_DOOR)[name].replace("<DOOR>", str(port))
    done = sandbox.run(script(host.fill(attack)))
    assert "PWNED" not in done.output and "REFUSED" in done.output, done
    assert SECRET not in done.output and host.victim.poll() is None


@pytest.fixture(scope="module")
def open_field(start_state: Path) -> Iterator[Session]:
    """A sandbox that is no security boundary."""
    sandbox = Local().open(StartState(start_state))
    yield sandbox
    sandbox.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="as root nothing holds these back")
@pytest.mark.parametrize("name", HARMLESS)
def test_the_same_attack_works_where_nothing_holds_it(open_field: Session, host: Host, name: str) -> None:
    done = open_field.run(script(host.fill(HARMLESS[name])))
    (host.folder / "made").unlink(missing_ok=True)
    assert "PWNED" in done.output, done


def test_every_forbidden_call_is_refused(jail: Jail) -> None:
    column = list(seccomp.ARCHITECTURES).index(platform.machine())
    numbers = {name: numbers[column] for name, numbers in seccomp.FORBIDDEN.items() if numbers[column] is not None}
    done = jail().run(
        "python - <<'END'\nimport ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"for name, number in {numbers!r}.items():\n"
        "    ctypes.set_errno(0)\n"
        "    if libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != errno.EPERM:\n"
        "        print('PASSED', name, ctypes.get_errno())\nprint('END')\nEND"
    )
    assert done.output == "END\n"


MACHINE_CODE = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex({code!r}))
print("CAL" + "LED", ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls of another architecture exist on x86-64 only")
@pytest.mark.parametrize("code", ["b814000000cd80c3", "b8270000400f05c3"], ids=["32 bit", "x32"])
def test_calls_of_another_architecture_end_the_program(jail: Jail, code: str) -> None:
    done = jail().run("python - <<'END'\n" + MACHINE_CODE.format(code=code) + "END\n")
    assert "CALLED" not in done.output and done.exit_code == 128 + signal.SIGSYS, done


def test_links_that_lead_out_of_the_sandbox(jail: Jail, host: Host) -> None:
    sandbox = jail()
    sandbox.run(
        f"ln -s {host.folder}/secret out; ln -s {host.folder} folder; ln -s /etc/passwd p; rm sums.py; ln -s /etc/shadow sums.py"
    )
    for name in ("out", "folder/secret", "p", "sums.py"):
        with pytest.raises(FileNotFoundError):
            sandbox.read(name)
    patch = sandbox.diff()
    assert SECRET not in patch and "root:" not in patch and "+/etc/shadow" in patch
    sandbox.write("out", b"x")
    sandbox.write("folder/secret", b"x")
    assert (host.folder / "secret").read_text() == SECRET


def test_names_meant_for_a_terminal_stay_quoted(jail: Jail) -> None:
    sandbox = jail()
    sandbox.run(
        r"""printf x > $'\033]0;owned\007'; printf x > $'a\nb'; printf x > '$(touch evil)'; printf x > '--output=evil'"""
    )
    patch = sandbox.diff()
    assert "\033" not in patch and '"b/\\033]0;owned\\a"' in patch and "b/$(touch evil)" in patch
    assert "evil" not in sandbox.run("ls -d evil 2>/dev/null").output


def test_the_start_state_and_the_host_are_as_they_were(jail: Jail, start_state: Path) -> None:
    before = digest_path(start_state), sorted(path.name for path in Path("/sys").iterdir())
    sandbox = jail()
    sandbox.run("rm -rf /testbed /run /etc /home /sys /usr/bin/git; echo x > /tmp/made; echo x > /dev/shm/made")
    sandbox.diff()
    sandbox.close()
    assert not Path("/dev/shm/made").exists() and not Path("/tmp/made").exists()
    assert (digest_path(start_state), sorted(path.name for path in Path("/sys").iterdir())) == before


def test_installed_packages_of_the_host_are_not_there(jail: Jail) -> None:
    assert "No module named" in jail().run("python -c 'import pip'").output


def test_it_runs_as_nobody_of_this_host(jail: Jail) -> None:
    sandbox = jail()
    assert sandbox.run("id -u").output == "1000\n"
    if os.geteuid() == 0:
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in children(sandbox.process.pid)}
        assert owners and all(owner > 1_000_000_000 or owner == 0 for owner in owners)
        status = Path(f"/proc/{children(sandbox.process.pid)[0]}/status").read_text()
        assert int(status.split("Uid:")[1].split()[0]) > 1_000_000_000
        assert "CapEff:\t0000000000000000" in status


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
