"""Reads the frames of ID3v2 tags (id3.org, informal standards 2.2 to 2.4) within limits.

What a tag claims costs nothing: frames are walked by their headers in the file, and only what is wanted is read.
Frames come out plain: without unsynchronisation, compression and additional bytes, and under their names in ID3v2.4.
"""

import io
import re
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from service.audio import tagblocks
from service.audio.unreadable import Unreadable

HEADER_SIZE = 10
MAX_FRAMES = 2_000
MAX_FRAME = 1 << 20
MAX_PICTURE = 10 << 20
MAX_TEXTS = 16 << 20  # of all tags of a file together, unpacked
MAX_UNSYNCHRONISED = 16 << 20
MAX_PACKED_PICTURES = 4

PICTURE = "APIC"

_SHORT = {
    "TT2": "TIT2",
    "TP1": "TPE1",
    "TAL": "TALB",
    "TP2": "TPE2",
    "TCO": "TCON",
    "TCM": "TCOM",
    "COM": "COMM",
    "TYE": "TYER",
    "TRK": "TRCK",
    "TPA": "TPOS",
    "TBP": "TBPM",
    "TRC": "TSRC",
    "TXX": "TXXX",
    "UFI": "UFID",
    "ULT": "USLT",
    "SLT": "SYLT",
    "PIC": "APIC",
}
_NAME = re.compile(rb"[A-Z][A-Z0-9]{3}")
_SHORT_NAME = re.compile(rb"[A-Z][A-Z0-9]{2}")


@dataclass(slots=True)
class Allowance:
    """What the tags of one file may cost; one for all of them."""

    items: int = MAX_FRAMES
    texts: int = MAX_TEXTS
    packed_pictures: int = MAX_PACKED_PICTURES
    passed_over: list[str] = field(default_factory=list)

    def count(self) -> None:
        """One more frame or item was met."""
        self.items -= 1
        if self.items < 0:
            raise Unreadable(f"Its tags have more than {MAX_FRAMES:,} frames.")

    def spend(self, size: int) -> None:
        """So many bytes of text more are held."""
        self.texts -= size
        if self.texts < 0:
            raise Unreadable(f"Its tags have more than {MAX_TEXTS >> 20} MiB of text.")

    def allows(self, name: str, size: int, limit: int) -> bool:
        """Whether something of this size is read at all; if not, that is noted."""
        if size > limit:
            self.passed_over.append(f"{name} of {size:,} bytes")
        return size <= limit


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag in a file: where it begins, and the bytes it claims with header and footer."""

    at: int
    length: int
    version: int  # 2, 3 or 4
    flags: int

    @property
    def name(self) -> str:
        """As people call it."""
        return f"id3v2.{self.version}"


def tag_at(file: BinaryIO, at: int) -> Tag | None:
    """The tag that begins here, if one does."""
    file.seek(at)
    head = file.read(HEADER_SIZE)
    length = tagblocks.length_at(head, 0) if head[:3] == b"ID3" else 0
    return Tag(at, length, head[3], head[5]) if length else None


def read_frames(file: BinaryIO, tag: Tag, wanted: Collection[str], allowance: Allowance) -> Iterator[tuple[str, bytes]]:
    """Name and plain content of each wanted frame, in order. The rest of a tag behind a broken frame is not read.

    Raises:
        Unreadable: the tag is beyond the limits.
    """
    body = _body(file, tag)
    for name, flags, at, size in _walk(body, tag.version, allowance):
        if name not in wanted or not size:
            continue
        limit = MAX_PICTURE if name == PICTURE else MAX_FRAME
        if not allowance.allows(f"{name} frame", size, limit + 1024):
            continue
        content = _plain(body.read_at(at, size), tag, flags, name, limit, allowance)
        if content:
            if name != PICTURE:
                allowance.spend(len(content))
            yield name, content


class _Body:
    """The bytes of a tag between header and footer, as they lie in a file; all offsets are in the file."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file = file
        self.start = start
        self.end = min(end, file.seek(0, io.SEEK_END))

    def read_at(self, at: int, size: int) -> bytes:
        """So many bytes from there, or as many as there are."""
        self._file.seek(at)
        return self._file.read(max(0, min(size, self.end - at)))


def _body(file: BinaryIO, tag: Tag) -> _Body:
    footer = HEADER_SIZE if tag.version == 4 and tag.flags & 0x10 else 0
    body = _Body(file, tag.at + HEADER_SIZE, tag.at + tag.length - footer)
    if tag.flags & 0x80 and tag.version < 4:  # the sizes of frames count what is left without the inserted zeros
        data = body.read_at(body.start, MAX_UNSYNCHRONISED).replace(b"\xff\x00", b"\xff")
        body = _Body(io.BytesIO(data), 0, len(data))
    if tag.flags & 0x40 and tag.version > 2:
        head = body.read_at(body.start, 4)
        if not _NAME.fullmatch(head):  # some set the flag and have no extended header
            body.start += _syncsafe(head) if tag.version == 4 else 4 + int.from_bytes(head)
    return body


def _walk(body: _Body, version: int, allowance: Allowance) -> Iterator[tuple[str, int, int, int]]:
    """Name, flags, offset and size of the content of each frame that is whole."""
    at, head_size = body.start, 6 if version == 2 else 10
    pattern = _SHORT_NAME if version == 2 else _NAME
    while True:
        head = body.read_at(at, head_size)
        name = head[: 3 if version == 2 else 4]
        is_short = version > 2 and name[3:] == b"\0" and _SHORT_NAME.match(name)  # old programs copied them like this
        if len(head) < head_size or not (pattern.fullmatch(name) or is_short):
            return
        allowance.count()
        at += head_size
        size = int.from_bytes(head[3:6]) if version == 2 else int.from_bytes(head[4:8])
        if version == 4 and size > 0x7F:
            size = _size(body, at, head[4:8])
        if size > body.end - at:
            return
        text = name.rstrip(b"\0").decode("ascii")
        yield _SHORT.get(text, text), int.from_bytes(head[8:10]), at, size
        at += size


def _size(body: _Body, at: int, four: bytes) -> int:
    """The size of a frame of version 2.4: four times seven bits, but many wrote plain numbers; what follows tells."""
    plain, syncsafe = int.from_bytes(four), _syncsafe(four)
    if plain & 0x80808080 or (not _is_border(body, at + syncsafe) and _is_border(body, at + plain)):
        return plain
    return syncsafe


def _is_border(body: _Body, at: int) -> bool:
    """Whether a frame, padding or nothing begins here."""
    if at >= body.end:
        return at == body.end
    head = body.read_at(at, 4)
    return not head.strip(b"\0") or _NAME.match(head) is not None


def _plain(data: bytes, tag: Tag, flags: int, name: str, limit: int, allowance: Allowance) -> bytes | None:
    """The content without what the flags say was done to it; ``None`` if it is encrypted or broken."""
    if tag.version == 3:
        is_packed, is_encrypted, grouping = flags & 0x80, flags & 0x40, (flags >> 5 & 1)
        data = data[(4 if is_packed else 0) + grouping :]
    elif tag.version == 4:
        is_packed, is_encrypted, grouping = flags & 0x08, flags & 0x04, (flags >> 6 & 1)
        data = data[grouping + (4 if flags & 0x01 or is_packed else 0) :]
        if (flags & 0x02 or tag.flags & 0x80) and not re.search(rb"\xff[\xe0-\xff]", data):
            data = data.replace(b"\xff\x00", b"\xff")
    else:
        is_packed = is_encrypted = 0
    if is_encrypted:
        return None
    if is_packed:
        return _unpack(data, name, limit, allowance)
    return data if allowance.allows(f"{name} frame", len(data), limit) else None


def _unpack(data: bytes, name: str, limit: int, allowance: Allowance) -> bytes | None:
    if name == PICTURE:
        allowance.packed_pictures -= 1
        if allowance.packed_pictures < 0:
            raise Unreadable(f"Its tags have more than {MAX_PACKED_PICTURES} compressed pictures.")
    try:
        content = zlib.decompressobj().decompress(data, limit + 1)
    except zlib.error:
        return None
    if len(content) > limit:
        raise Unreadable(f"A compressed frame of its tags unpacks to more than {limit >> 20} MiB.")
    return content


def _syncsafe(four: bytes) -> int:
    value = 0
    for byte in four:
        value = value << 7 | byte & 0x7F
    return value
