"""A file in a zip, unpacked no further than a limit, whatever the zip says of its size."""

import zipfile
import zlib
from pathlib import Path

ZSTANDARD = 93
"""The method by which Inspect packs; Python's own zipfile knows it from 3.14 on. Source: APPNOTE.TXT 6.3.10, 4.4.5."""
_HEADER = 30
"""Bytes before a file's name, in front of its data; the last four are the lengths of name and extra field."""


def unpacked(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """The file's bytes, or `limit + 1` of them where there are more. Raises BadZipFile, and what unpacking raises."""
    found = archive.getinfo(name)
    if found.compress_type != ZSTANDARD:
        with archive.open(found) as file:
            return file.read(limit + 1)
    import pyarrow

    packed = pyarrow.BufferReader(_packed(archive, found, limit))
    with pyarrow.CompressedInputStream(packed, "zstd") as stream:
        data: bytes = stream.read(limit + 1)
    if len(data) <= limit and zlib.crc32(data) != found.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {name!r}")
    return data


def _packed(archive: zipfile.ZipFile, found: zipfile.ZipInfo, limit: int) -> bytes:
    with Path(str(archive.filename)).open("rb") as file:
        file.seek(found.header_offset)
        header = file.read(_HEADER)
        for length in (header[26:28], header[28:30]):
            file.seek(int.from_bytes(length, "little"), 1)
        return file.read(min(found.compress_size, limit))
