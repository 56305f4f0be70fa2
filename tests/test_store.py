"""Records that survive a kill: torn lines, damage, full disks, two writers, hostile text."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.errors import StoreError
from rft.store import Records, decode_line, digest, encode_line, write_atomic
from rft.types import Decision, Example


def decision(identity: str, reason: str = "") -> Decision:
    return Decision(id=identity, task_id="t", keep=True, rule="kept", reason=reason)


def write(path: Path, *identities: str) -> Records[Decision]:
    records = Records(path, Decision)
    with records.writer() as append:
        for identity in identities:
            append(decision(identity))
    return records


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text(alphabet='{}",crc:\\\n\x00\u2028', max_size=40)
)
def test_any_text_comes_back_and_stays_on_one_line(reason: str, identity: str) -> None:
    line = encode_line(decision(identity, reason))
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert decode_line(line, Decision) == decision(identity, reason)


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(line: bytes) -> None:
    with pytest.raises((ValueError, msgspec.DecodeError)):
        decode_line(line, Decision)


@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    line = bytearray(encode_line(decision("a/01/02", "because")))
    at = data.draw(st.integers(0, len(line) - 2))
    line[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((ValueError, msgspec.DecodeError)):
        assert decode_line(bytes(line), Decision) != decision("a/01/02", "because")
        raise AssertionError("a damaged line was read as a record")


def test_records_come_back_in_order_and_by_offset(tmp_path: Path) -> None:
    records = write(tmp_path / "d.jsonl", "a", "b", "c")
    assert [record.id for record in records] == ["a", "b", "c"]
    assert records.at(records.index()["b"]).id == "b"


def test_an_id_is_never_written_twice_even_by_a_later_writer(tmp_path: Path) -> None:
    records = write(tmp_path / "d.jsonl", "a")
    with pytest.raises(StoreError, match="already there"), records.writer() as append:
        append(decision("a"))
    assert [record.id for record in records] == ["a"]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_named_then_set_aside(tmp_path: Path, cut: int) -> None:
    records = write(tmp_path / "d.jsonl", "a", "b")
    whole = records.path.read_bytes()
    records.path.write_bytes(whole[:-cut])
    if cut > 1:  # a line that lacks only its newline is whole
        with pytest.raises(StoreError, match="line 2: damaged"):
            list(records)
        assert records.repair() == (1, 0)
        assert [record.id for record in records] == ["a"]
        aside = records.path.with_suffix(".jsonl.aside").read_bytes()
        assert aside.rstrip(b"\n") == whole.splitlines(keepends=True)[1][:-cut]
    with records.writer() as append:
        append(decision("c"))
    assert [record.id for record in records] == (["a", "c"] if cut > 1 else ["a", "b", "c"])


def test_damage_in_the_middle_costs_that_record_alone(tmp_path: Path) -> None:
    records = write(tmp_path / "d.jsonl", "a", "b", "c")
    data = bytearray(records.path.read_bytes())
    data[len(data) // 2] ^= 1
    records.path.write_bytes(bytes(data))
    assert records.repair(keep=lambda record: record.id != "c") == (1, 1)
    assert [record.id for record in records] == ["a"]


def test_a_record_of_another_kind_is_refused(tmp_path: Path) -> None:
    records = write(tmp_path / "d.jsonl", "a")
    with pytest.raises(StoreError, match="expected a Example"):
        list(Records(records.path, Example))


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    records = write(tmp_path / "d.jsonl", "a")
    with records.writer(), pytest.raises(StoreError, match="another process"), records.writer():
        pass


@pytest.mark.process
def test_locks_are_those_that_nfs_grants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over NFS Linux makes `flock` the lock of a byte range, which wants the file open for writing (man 2 flock)."""
    monkeypatch.setattr(fcntl, "flock", fcntl.lockf)
    records = write(tmp_path / "r.jsonl", "a", "b")
    records.path.open("ab").write(b"torn")
    assert records.repair(lambda record: record.id != "b") == (1, 1)
    assert [record.id for record in records] == ["a"]


def test_a_file_system_without_locks_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(StoreError, match=r"cannot be locked \(Function not implemented\); expected a file system"):
        write(tmp_path / "r.jsonl", "a")


def test_costly_records_are_on_the_disk_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size) or real(file))
    records = Records(tmp_path / "r.jsonl", Decision)
    with records.writer(costly=True) as append:
        for identity in "ab":
            append(decision(identity))
            assert synced[-1] == records.path.stat().st_size
    assert len(synced) == 3


def test_a_killed_writer_leaves_whole_records(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from rft.store import Records
        from rft.types import Decision
        with Records(Path({str(path)!r}), Decision).writer() as append:
            for i in range(10**9):
                append(Decision(id=str(i), task_id="t", keep=True, rule="r", reason="x" * 5000))
                if i == 50: print("ready", flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    records = Records(path, Decision)
    damaged, _ = records.repair()
    assert damaged <= 1
    count = sum(1 for _ in records)
    assert count > 50
    with records.writer() as append:
        append(decision("after"))
    assert sum(1 for _ in records) == count + 1


@pytest.mark.process
def test_a_full_disk_is_an_error_and_costs_nothing_before(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        records = Records(mount / "d.jsonl", Decision)
        with pytest.raises(StoreError, match="No space left") as caught, records.writer() as append:
            for i in range(100):
                append(decision(str(i), "x" * 3000))
        assert "Free some space" in str(caught.value)
        kept = [record.id for record in records]
        assert kept == [str(i) for i in range(len(kept))] and len(kept) > 10
        with pytest.raises(StoreError, match="No space left"):
            write_atomic(mount / "big.json", b"x" * 100_000)
        assert not list(mount.glob(".big*"))
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_digests_ignore_key_order_and_see_values() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
