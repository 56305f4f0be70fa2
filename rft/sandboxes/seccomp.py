"""The system calls that a sandboxed command may not make, as a BPF program for `bwrap --seccomp`.

A deny list: what reaches the kernel's rarely used and privileged corners is refused with an error, so that
ordinary programs carry on. Numbers are those of the kernel's tables for x86-64 and the generic table (ARM64).
A second, shorter program keeps commands from the loopback as well, as long as their sandbox has no door.
"""

import errno
import platform
import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
NEW_NAMESPACES = 0x7E020000
"""Flags of clone: mount, cgroup, uts, ipc, user, pid and network namespaces."""
AF_UNIX, AF_INET, SOCK_STREAM, TYPE_BITS, IPPROTO_TCP = 1, 2, 1, 0xF, 6
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

# name: (x86-64, generic); None where the architecture has no such call
FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    "unshare": (272, 97), "setns": (308, 268),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "syslog": (103, 116), "vhangup": (153, 58),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
    "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None), "uselib": (134, None),
    "_sysctl": (156, None), "create_module": (174, None), "query_module": (178, None),
    "memfd_secret": (447, 447),
}  # fmt: skip
CLONE, CLONE3, SOCKET, IOCTL = (56, 220), (435, 435), (41, 198), (16, 29)

LOAD, AND, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL_PROCESS, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT, THIRD_ARGUMENT = 0, 4, 16, 24, 32


def program(machine: str = "") -> bytes:
    """The filter for a machine (this one). Raises NotImplementedError for one whose calls are not known here."""
    column, code = _opening(machine or platform.machine())
    for numbers in FORBIDDEN.values():
        if (number := numbers[column]) is not None:
            code += [_step(JUMP_EQUAL, 0, 1, number), _step(RETURN, value=ERROR | errno.EPERM)]
    # clone3 hides its flags behind a pointer; told that it does not exist, the C library falls back to clone
    code += [_step(JUMP_EQUAL, 0, 1, CLONE3[column]), _step(RETURN, value=ERROR | errno.ENOSYS)]
    code += _when(CLONE[column], FIRST_ARGUMENT, [_step(JUMP_ANY_BIT, 0, 1, NEW_NAMESPACES)], errno.EPERM)
    # sockets between the sandbox's own processes, and TCP: its name space holds nothing but a loopback
    code += _when(
        SOCKET[column],
        FIRST_ARGUMENT,
        [
            _step(JUMP_EQUAL, 7, 0, AF_UNIX),
            _step(JUMP_EQUAL, 0, 5, AF_INET),
            _step(LOAD, value=SECOND_ARGUMENT),
            _step(AND, value=TYPE_BITS),
            _step(JUMP_EQUAL, 0, 2, SOCK_STREAM),
            _step(LOAD, value=THIRD_ARGUMENT),
            _step(JUMP_ANY_BIT, 0, 1, ~IPPROTO_TCP & 0xFFFFFFFF),
        ],
        errno.EAFNOSUPPORT,
    )
    for request in (TIOCSTI, TIOCLINUX):
        code += _when(IOCTL[column], SECOND_ARGUMENT, [_step(JUMP_EQUAL, 0, 1, request)], errno.EPERM)
    code.append(_step(RETURN, value=ALLOW))
    return b"".join(code)


def no_network(machine: str = "") -> bytes:
    """A filter beside that of `program` for commands that have no business on the loopback either."""
    column, code = _opening(machine or platform.machine())
    code += _when(SOCKET[column], FIRST_ARGUMENT, [_step(JUMP_EQUAL, 1, 0, AF_UNIX)], errno.EAFNOSUPPORT)
    return b"".join([*code, _step(RETURN, value=ALLOW)])


def _opening(machine: str) -> tuple[int, list[bytes]]:
    """The machine's column in the tables, and steps that end what calls in another architecture's way."""
    if machine not in ARCHITECTURES:
        raise NotImplementedError(f"no system call filter for {machine}")
    code = [
        _step(LOAD, value=ARCHITECTURE),
        _step(JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        _step(RETURN, value=KILL_PROCESS),
        _step(LOAD, value=NUMBER),
    ]
    if machine == "x86_64":
        code += [_step(JUMP_AT_LEAST, 0, 1, X32_BIT), _step(RETURN, value=KILL_PROCESS)]
    return list(ARCHITECTURES).index(machine), code


def _when(number: int, argument: int, test: list[bytes], error: int) -> list[bytes]:
    """For one call: refuse it when `test` on the low half of an argument falls through, else go on with the next."""
    body = [_step(LOAD, value=argument), *test, _step(RETURN, value=ERROR | error), _step(LOAD, value=NUMBER)]
    return [_step(JUMP_EQUAL, 0, len(body), number), *body]


def _step(code: int, if_true: int = 0, if_false: int = 0, value: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
