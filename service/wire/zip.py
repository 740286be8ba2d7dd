"""Zip archives of files that are stored as they are (PKWARE's APPNOTE 6.3.10), laid out before a byte of them is read.

Size and CRC-32 of a file stand in front of it, and no data descriptor behind it: readers that cannot seek do not know
where a stored file with a descriptor ends, and macOS' own refuses some of them. So every part of an archive has its
place, which follows from names and sizes alone; only to write the headers does one need the CRCs.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

CONTENT_TYPE = "application/zip"

_MAX_16 = 0xFFFF
_MAX_32 = 0xFFFFFFFF
_PLAIN, _ZIP64 = 20, 45  # versions of the format a reader needs (section 4.4.3)
_UNIX = 3 << 8
_UTF8 = 1 << 11
_FILE_MODE = 0o100644 << 16

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_ZIP64_END = struct.Struct("<4sQ2H2I4Q")
_ZIP64_LOCATOR = struct.Struct("<4sIQI")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file. ``name`` is UTF-8, at most 65,535 bytes; ``modified_at`` is shown by readers as it is."""

    name: bytes
    size: int
    modified_at: datetime


class Archive:
    """Where everything lies: an entry has its header at ``headers[n]``, its file at ``starts[n]``; all records begin at
    ``directory``; ``size`` is that of the whole.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.headers: list[int] = []
        self.starts: list[int] = []
        at = 0
        for entry in entries:
            self.headers.append(at)
            at += _LOCAL.size + len(entry.name) + (20 if entry.size >= _MAX_32 else 0)
            self.starts.append(at)
            at += entry.size
        self.directory = at
        self._directory_size = sum(
            _CENTRAL.size + len(entry.name) + len(_zip64(*_large(entry, header)))
            for entry, header in zip(entries, self.headers, strict=True)
        )
        self.end = at + self._directory_size
        self.size = self.end + len(self.ending())

    def header(self, number: int, crc32: int) -> bytes:
        """What stands in front of the file of that entry (section 4.3.7)."""
        entry = self.entries[number]
        is_large = entry.size >= _MAX_32
        extra = _zip64(entry.size, entry.size) if is_large else b""
        size = _MAX_32 if is_large else entry.size
        return (
            _LOCAL.pack(
                b"PK\3\4", _ZIP64 if is_large else _PLAIN, _UTF8, 0, *_dos(entry.modified_at), crc32, size, size,
                len(entry.name), len(extra),
            )
            + entry.name
            + extra
        )  # fmt: skip

    def record(self, number: int, crc32: int) -> bytes:
        """What the directory says of that entry (section 4.3.12)."""
        entry, offset = self.entries[number], self.headers[number]
        extra = _zip64(*_large(entry, offset))
        size = min(entry.size, _MAX_32)
        return (
            _CENTRAL.pack(
                b"PK\1\2", _UNIX | _ZIP64, _ZIP64 if extra else _PLAIN, _UTF8, 0, *_dos(entry.modified_at), crc32,
                size, size, len(entry.name), len(extra), 0, 0, 0, _FILE_MODE, min(offset, _MAX_32),
            )
            + entry.name
            + extra
        )  # fmt: skip

    def ending(self) -> bytes:
        """What stands behind the directory (sections 4.3.14 to 4.3.16)."""
        count, size, start = len(self.entries), self._directory_size, self.directory
        end = _END.pack(
            b"PK\5\6", 0, 0, min(count, _MAX_16), min(count, _MAX_16), min(size, _MAX_32), min(start, _MAX_32), 0
        )
        if count < _MAX_16 and size < _MAX_32 and start < _MAX_32:
            return end
        large = _ZIP64_END.pack(
            b"PK\6\6", _ZIP64_END.size - 12, _UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, start
        )
        return large + _ZIP64_LOCATOR.pack(b"PK\6\7", 0, self.end, 1) + end


def _large(entry: Entry, offset: int) -> list[int]:
    """What of this does not fit in 32 bits, in the order of section 4.5.3."""
    sizes = [entry.size, entry.size] if entry.size >= _MAX_32 else []
    return [*sizes, offset] if offset >= _MAX_32 else sizes


def _zip64(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""


def _dos(moment: datetime) -> tuple[int, int]:
    """Time and date in the form of MS-DOS, which knows neither odd seconds nor time zones."""
    if moment.year < 1980:
        return 0, 1 << 5 | 1
    date = (moment.year - 1980) << 9 | moment.month << 5 | moment.day
    return moment.hour << 11 | moment.minute << 5 | moment.second // 2, date
