"""Mp3 files that would take the program that reads them down: small on disk, and huge or endless when believed.

    path = make(directory, "an ID3 frame that unpacks to 1 GiB")

Each is an attack in front of real music, or behind it, and so a valid upload. `BOMBS` tells what becomes of each.
"""

import binascii
import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from tests import matrix

GIB = 1 << 30
MUSIC = "lame --resample 44.1 -m j -b 128"
SILENCE = "lame --resample 16.0 -t -m m -b 8"
HALF = 512 << 20
MAX_SYNCSAFE = (1 << 28) - 1
MAX_UNSIGNED = (1 << 32) - 1
TITLE = "Still here"


@dataclass(frozen=True, slots=True)
class Bomb:
    """What stands before and behind the music, and what the service makes of it."""

    before: Callable[[], bytes] = bytes
    after: Callable[[], bytes] = bytes
    title: str | None = None  # that is read in spite of it
    reason: str | None = None  # words of why its tags are unavailable; None: they are available
    has_cover: bool = False  # that is within the limits
    junk: int = 0


def make(directory: Path, name: str) -> Path:
    """The file of that name, made once."""
    path = directory / f"bomb-{name.replace(' ', '_').replace('/', '_')}.mp3"
    if not path.exists():
        bomb = BOMBS[name]
        _write(path, bomb.before() + matrix.encode(directory, MUSIC).read_bytes() + bomb.after())
    return path


def hours_of_silence(directory: Path, hours: float) -> Path:
    """An mp3 that takes long to decode for its size: 3.6 MB an hour, at 8 kbit/s."""
    path = directory / f"silence-{hours}.mp3"
    if not path.exists():
        frame = matrix.encode(directory, SILENCE).read_bytes()[:36]
        silent = frame[:4] + bytes(32)
        _write(path, silent * round(hours * 3600 * 16000 / 576))
    return path


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(content)
    part.rename(path)


# Compression


@cache
def deflated_zeros(size: int) -> bytes:
    """A zlib stream of so many zeros (a multiple of 1 MiB), put together from one compressed piece in no time."""
    piece = 1 << 20
    assert size % piece == 0
    compressor = zlib.compressobj(9, wbits=-15)
    block = compressor.compress(bytes(piece)) + compressor.flush(zlib.Z_FULL_FLUSH)
    checksum = (size % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + block * (size // piece) + b"\x03\x00" + struct.pack(">I", checksum)


# ID3v2


def syncsafe(size: int) -> bytes:
    """28 bits in four bytes."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def tag(frames: bytes, *, version: int = 4, flags: int = 0) -> bytes:
    """A tag around frames."""
    return b"ID3" + bytes((version, 0, flags)) + syncsafe(len(frames)) + frames


def frame(name: bytes, content: bytes, *, version: int = 4, flags: int = 0, claim: int | None = None) -> bytes:
    """A frame of version 2.3 or 2.4; ``claim`` is the size it says it has."""
    size = len(content) if claim is None else claim
    return name + (syncsafe(size) if version == 4 else struct.pack(">I", size)) + struct.pack(">H", flags) + content


def title() -> bytes:
    """An innocent frame."""
    return frame(b"TIT2", b"\x03" + TITLE.encode())


def packed(name: bytes, size: int, *, version: int = 4) -> bytes:
    """A compressed frame of zeros."""
    data = deflated_zeros(size)
    if version == 4:
        return frame(name, syncsafe(min(size, MAX_SYNCSAFE)) + data, flags=0x0009)
    return frame(name, struct.pack(">I", min(size, MAX_UNSIGNED)) + data, version=3, flags=0x0080)


def picture(data: bytes, media: bytes = b"image/png", kind: int = 3) -> bytes:
    """A frame with a picture, in a tag that names a title, too."""
    return tag(title() + frame(b"APIC", b"\x00" + media + b"\x00" + bytes((kind,)) + b"\x00" + data))


def _many(name: bytes, count: int) -> bytes:
    return b"".join(frame(name, b"\x03key%d\x00value" % number) for number in range(count))


# Pictures


def png(width: int, height: int, *, bits: int = 8, colour: int = 2, chunks: bytes = b"") -> bytes:
    """A picture that is black throughout, of a thousandth of the size of its pixels."""
    samples = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    row = 1 + (width * samples * bits + 7) // 8
    size = -(-row * height // (1 << 20)) << 20  # some rows too many
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = _chunk(b"IDAT", deflated_zeros(size))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + chunks + data + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", binascii.crc32(kind + data))


@cache
def jpeg(side: int, *, scans: int = 0) -> bytes:
    """A progressive picture, with its last scan repeated so many times: each is as much work as a whole picture."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (1 + scans) + b"\xff\xd9"


def jpeg_that_claims(width: int, height: int) -> bytes:
    """A small picture whose header says that it is large."""
    data = jpeg(64)
    at = data.index(b"\xff\xc2") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def gif(width: int, height: int, pictures: int) -> bytes:
    """An animation on a large screen."""
    one = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + one * pictures + b"\x3b"


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(document.cookie)</script>"


# APE


def ape(items: bytes, *, count: int, size: int | None = None) -> bytes:
    """A tag of version 2 without a header; ``count`` and ``size`` are what it says."""
    size = len(items) + 32 if size is None else size
    return items + b"APETAGEX" + struct.pack("<IIII", 2000, size, count, 0) + bytes(8)


def ape_item(key: bytes, value: bytes, *, claim: int | None = None) -> bytes:
    """An item of text."""
    return struct.pack("<II", len(value) if claim is None else claim, 0) + key + b"\x00" + value


def _footer() -> bytes:
    return b"3DI" + bytes((4, 0, 0x10)) + syncsafe(MAX_SYNCSAFE)


TOO_MUCH = "unpacks to more than"
TOO_MANY = "more than 2,000 frames"

BOMBS: dict[str, Bomb] = {
    # Even compressed, a gibibyte is more than a frame of text may have, and passed over.
    "an ID3 frame that unpacks to 1 GiB": Bomb(lambda: tag(title() + packed(b"TPE1", GIB)), title=TITLE),
    "a comment that unpacks to 4 GiB": Bomb(lambda: tag(title() + packed(b"COMM", 4 * GIB)), title=TITLE),
    "a picture that unpacks to 1 GiB": Bomb(lambda: tag(title() + packed(b"APIC", GIB)), reason=TOO_MUCH),
    "a picture that unpacks to 8 GiB": Bomb(lambda: tag(title() + packed(b"APIC", 8 * GIB)), reason=TOO_MUCH),
    "an ID3 frame that unpacks to 512 MiB": Bomb(lambda: tag(title() + packed(b"TPE1", HALF)), reason=TOO_MUCH),
    "an ID3v2.3 frame that unpacks to 512 MiB": Bomb(
        lambda: tag(packed(b"TPE1", HALF, version=3), version=3), reason=TOO_MUCH
    ),
    "lyrics that unpack to 512 MiB": Bomb(lambda: tag(title() + packed(b"USLT", HALF)), reason=TOO_MUCH),
    "a private frame that unpacks to 1 GiB": Bomb(lambda: tag(title() + packed(b"PRIV", GIB)), title=TITLE),
    "fifty frames that unpack to 1 MiB each": Bomb(
        lambda: tag(title() + packed(b"TXXX", 1 << 20) * 50), reason="more than 16 MiB of text"
    ),
    "five pictures that unpack to 10 MiB each": Bomb(
        lambda: tag(title() + packed(b"APIC", 10 << 20) * 5), reason="compressed pictures"
    ),
    "200,000 frames": Bomb(lambda: tag(_many(b"TXXX", 200_000)), reason=TOO_MANY),
    "200,000 comments": Bomb(lambda: tag(_many(b"COMM", 200_000)), reason=TOO_MANY),
    "200,000 pictures": Bomb(lambda: tag(frame(b"APIC", b"\x00a\x00\x03\x00b") * 200_000), reason=TOO_MANY),
    "200,000 empty frames": Bomb(lambda: tag(frame(b"TIT2", b"") * 200_000), reason=TOO_MANY),
    "150,000 artists in one frame": Bomb(
        lambda: tag(title() + frame(b"TPE1", b"\x03" + b"\x00".join(b"a%d" % n for n in range(150_000)))),
        title=TITLE,
    ),
    "a title of 1 MB": Bomb(lambda: tag(frame(b"TIT2", b"\x03" + b"a" * 1_000_000)), title="a" * 255),
    "genres in a million parentheses": Bomb(
        lambda: tag(title() + frame(b"TCON", b"\x03" + b"(" * 1_000_000)), title=TITLE
    ),
    "a million references to genres": Bomb(
        lambda: tag(title() + frame(b"TCON", b"\x03" + b"(17)" * 250_000)), title=TITLE
    ),
    "ten thousand tags": Bomb(lambda: tag(title()) * 10_000, title=TITLE),
    "ten thousand tags behind": Bomb(after=lambda: _behind() * 10_000, title=TITLE),
    "a cover of 30,000 x 30,000": Bomb(lambda: picture(png(30_000, 30_000)), title=TITLE),
    "a cover of 30,000 x 30,000 in two colours": Bomb(
        lambda: picture(png(30_000, 30_000, bits=1, colour=0)), title=TITLE
    ),
    "a cover of 6,300 x 6,300 with transparency": Bomb(
        lambda: picture(png(6_300, 6_300, colour=6)), title=TITLE, has_cover=True
    ),
    "a cover of 6,300 x 6,300 with 16 bits": Bomb(
        lambda: picture(png(6_300, 6_300, bits=16)), title=TITLE, has_cover=True
    ),
    "a cover of 1 x 40,000,000": Bomb(
        lambda: picture(png(1, 40_000_000, bits=8, colour=0)), title=TITLE, has_cover=True
    ),
    "a cover of 40,000,000 x 1": Bomb(
        lambda: picture(png(40_000_000, 1, bits=8, colour=0)), title=TITLE, has_cover=True
    ),
    "a cover with a text of 1 GiB": Bomb(
        lambda: picture(png(64, 64, chunks=_chunk(b"zTXt", b"Comment\x00\x00" + deflated_zeros(GIB)))), title=TITLE
    ),
    "a cover with a colour profile of 1 GiB": Bomb(
        lambda: picture(png(64, 64, chunks=_chunk(b"iCCP", b"profile\x00\x00" + deflated_zeros(GIB)))), title=TITLE
    ),
    "a progressive JPEG of 6,000 x 6,000 with 90 scans": Bomb(
        lambda: picture(jpeg(6_000, scans=84)), title=TITLE, has_cover=True
    ),
    "a progressive JPEG of 4,000 x 4,000 with 2,000 scans": Bomb(
        lambda: picture(jpeg(4_000, scans=2_000)), title=TITLE
    ),
    "a JPEG that says 30,000 x 30,000": Bomb(lambda: picture(jpeg_that_claims(30_000, 30_000)), title=TITLE),
    "a JPEG that says 6,300 x 6,300": Bomb(
        lambda: picture(jpeg_that_claims(6_300, 6_300)), title=TITLE, has_cover=True
    ),
    "a GIF of 60,000 x 60,000": Bomb(lambda: picture(gif(60_000, 60_000, 1)), title=TITLE),
    "a GIF of 6,000 x 6,000 and 100,000 pictures": Bomb(lambda: picture(gif(6_000, 6_000, 100_000)), title=TITLE),
    "a cover that is SVG": Bomb(lambda: picture(SVG, b"image/svg+xml"), title=TITLE),
    "a cover that is HTML": Bomb(lambda: picture(HTML, b"image/jpeg"), title=TITLE),
    "a cover that is SVG and says PNG": Bomb(lambda: picture(SVG, b"image/png"), title=TITLE),
    "a cover that is an address": Bomb(lambda: picture(b"http://127.0.0.1:1/cover.png", b"-->"), title=TITLE),
    "a tag of 268 MB, with flags that there are not": Bomb(
        lambda: b"ID3\x04\x00\x0f" + syncsafe(MAX_SYNCSAFE), junk=10
    ),
    "a frame of 268 MB": Bomb(lambda: tag(title() + frame(b"TPE1", b"\x03a", claim=MAX_SYNCSAFE)), title=TITLE),
    "a frame of 4 GB": Bomb(
        lambda: tag(
            frame(b"TIT2", b"\x00" + TITLE.encode(), version=3)
            + frame(b"TPE1", b"\x00a", version=3, claim=MAX_UNSIGNED),
            version=3,
        ),
        title=TITLE,
    ),
    "an extended header of 268 MB": Bomb(lambda: tag(syncsafe(MAX_SYNCSAFE) + b"\x01\x00" + title(), flags=0x40)),
    "an extended header of nothing": Bomb(lambda: tag(bytes(4) + bytes(200), flags=0x40)),
    "a tag of unsynchronised 0xFF": Bomb(
        lambda: tag(title() + frame(b"TPE1", b"\x01" + b"\xff\x00" * 400_000), flags=0x80), title=TITLE
    ),
    "a tag behind that says 268 MB": Bomb(after=_footer, junk=10),
    "an APE tag of four billion items": Bomb(
        after=lambda: ape(ape_item(b"Title", TITLE.encode()), count=MAX_UNSIGNED), title=TITLE
    ),
    "an APE tag of 4 GB": Bomb(after=lambda: ape(ape_item(b"Title", b"x"), count=1, size=MAX_UNSIGNED), junk=15),
    "an APE item of 4 GB": Bomb(
        after=lambda: ape(ape_item(b"Title", TITLE.encode()) + ape_item(b"Artist", b"x", claim=MAX_UNSIGNED), count=2),
        title=TITLE,
    ),
    "an APE tag of 200,000 items": Bomb(
        after=lambda: ape(b"".join(ape_item(b"K%d" % n, b"v") for n in range(200_000)), count=200_000), reason=TOO_MANY
    ),
    "chapters a thousand deep": Bomb(lambda: tag(title() + _chapters(1000)), title=TITLE),
}
"""Whose tags are read in spite of the attack have a title; a cover that is an attack is left out."""


def _behind() -> bytes:
    body = title()
    return tag(body, flags=0x10) + b"3DI" + bytes((4, 0, 0x10)) + syncsafe(len(body))


def _chapters(depth: int) -> bytes:
    content = b""
    for number in range(depth):
        content = frame(b"CHAP", b"c%d\x00" % number + bytes(16) + content)
    return content
