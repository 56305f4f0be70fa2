"""Drivers of one run on two machines, of which the file system's locks know nothing."""

import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from rft.errors import StoreError
from rft.presence import present

SILENCE = 2.0
DRIVER = """
import sys, time
from pathlib import Path
from rft.presence import present
with present(Path(sys.argv[1]), here="another", beat=0.1, silence=2.0):
    print("drives", flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.process


def test_one_machine_drives_and_another_takes_over_after_its_silence(tmp_path: Path) -> None:
    sign = tmp_path / "run" / ".driver"
    other = subprocess.Popen([sys.executable, "-c", DRIVER, sign], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert other.stdout is not None and other.stdout.readline() == b"drives\n"
        with pytest.raises(StoreError, match=f"process {other.pid} on .* drives this run"), take(sign):
            pass
        other.send_signal(signal.SIGSTOP)  # as a machine that the network has lost
        began = time.monotonic()
        with take(sign):
            assert time.monotonic() - began >= SILENCE
            other.send_signal(signal.SIGCONT)
            assert other.wait(30) == 1, "the one that was lost writes nothing more"
        assert b"has taken this run over" in other.communicate()[1]
        assert not sign.exists()
    finally:
        other.kill()
        other.communicate()


def test_the_next_driver_on_a_machine_waits_for_nobody(tmp_path: Path) -> None:
    sign = tmp_path / ".driver"
    with take(sign):
        killed = sign.read_bytes()
    sign.write_bytes(killed)
    began = time.monotonic()
    with take(sign, silence=60.0):
        assert time.monotonic() - began < 30


def take(sign: Path, silence: float = SILENCE) -> AbstractContextManager[None]:
    return present(sign, here="this one", beat=0.1, silence=silence)
