"""Mp3 files made by hand out of real ones: strange but whole, or damaged in a way that is known to the byte.

`ODDITIES` has for each what a truthful report says of it, and `make` writes it to disk.
"""

import os
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests import corpus, matrix
from tests.corpus import id3, id3v1, noise

CBR = "lame --resample 44.1 -m j -b 128"
VBR = "lame --resample 44.1 -m j -V 2"
MONO = "lame --resample 44.1 -m m -b 64"
CRC = "lame --resample 44.1 -p -b 128"
LOW = "lame --resample 22.05 -m j -b 56"
LOWER = "lame --resample 8.0 -m m -b 16"
BARE = "lame --resample 44.1 -t -m j -b 128"
BARE_VBR = "lame --resample 44.1 -t -m j -V 2"
BARE_LOW = "lame --resample 22.05 -t -m j -V 5"
FREE = "lame --resample 44.1 --freeformat -b 330"

FRAMES = 78  # of each of them at 44.1 kHz, besides the describing one
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>\n" * 4


@dataclass(frozen=True, slots=True)
class Oddity:
    """How it is made of the files of a directory, and what is true of it."""

    content: Callable[["Parts"], bytes]
    frames: int = FRAMES
    tags: int = 0
    junk: int = 0
    gaps: int = 0
    is_truncated: bool = False
    promised: int | None = None
    facts: dict[str, object] = field(default_factory=dict)  # more members of the report


class Parts:
    """The files that oddities are made of."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, command: str) -> bytes:
        """A file of the matrix."""
        return matrix.encode(self._directory, command).read_bytes()

    def frames(self, command: str) -> list[bytes]:
        """Its frames one by one, the describing one first if it has one."""
        content, at, frames = self.file(command), 0, []
        while at < len(content):
            length = frame_length(content[at : at + 4])
            frames.append(content[at : at + length])
            at += length
        assert at == len(content)
        return frames

    def whole(self, name: str) -> bytes:
        """Another file of the corpus."""
        return corpus.make(self._directory, name).read_bytes()


def frame_length(word: bytes) -> int:
    """The bytes of a frame by the formula of the standard; written down here once more to be independent."""
    version = word[1] >> 3 & 3
    rate = {3: 44100, 2: 22050, 0: 11025}[version] if word[2] >> 2 & 3 == 0 else 0
    rate = rate or ({3: 48000, 2: 24000, 0: 12000} if word[2] >> 2 & 3 == 1 else {3: 32000, 2: 16000, 0: 8000})[version]
    high = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    low = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    kilobits = (high if version == 3 else low)[word[2] >> 4]
    return (144 if version == 3 else 72) * kilobits * 1000 // rate + (word[2] >> 1 & 1)


def vbri(frames: list[bytes], *, promised: int | None = None) -> bytes:
    """A frame like Fraunhofer's encoder writes in front of others: "VBRI" 32 bytes behind the header, then a table."""
    step = 10  # frames an entry
    entries = [sum(map(len, frames[at : at + step])) for at in range(0, len(frames), step)]
    count = len(frames) if promised is None else promised
    word = frames[0][:2] + bytes((frames[0][2] & 0x0F | 0x80, frames[0][3]))
    body = struct.pack(">4sHHHIIHHHH", b"VBRI", 1, 1105, 75, sum(map(len, frames)), count, len(entries), 1, 2, step)
    body += b"".join(struct.pack(">H", entry) for entry in entries)
    return (word + bytes(32) + body).ljust(frame_length(word), b"\0")


def xing(frames: list[bytes], *, flags: int, promised: int | None = None) -> bytes:
    """A frame like Xing's encoder writes, without LAME's additions."""
    word = frames[0][:2] + bytes((frames[0][2] & 0x0F | 0x80, frames[0][3]))
    side = (32 if word[3] >> 6 != 3 else 17) if word[1] >> 3 & 3 == 3 else (17 if word[3] >> 6 != 3 else 9)
    body = struct.pack(">4sI", b"Xing", flags)
    if flags & 1:
        body += struct.pack(">I", len(frames) if promised is None else promised)
    if flags & 2:
        body += struct.pack(">I", sum(map(len, frames)) + frame_length(word))
    return (word + bytes(side) + body).ljust(frame_length(word), b"\0")


def tag(*, version: int = 3, size: int = 100, flags: int = 0, footer: bool = False) -> bytes:
    """An ID3v2 tag with a title and padding, ``size`` bytes without header and footer."""
    syncsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    head = bytes((version, 0, flags | footer << 4)) + syncsafe
    frame = b"TT2\x00\x00\x05\x00Song" if version == 2 else b"TIT2\x00\x00\x00\x05\x00\x00\x00Song"
    return b"ID3" + head + frame.ljust(size, b"\0") + (b"3DI" + head if footer else b"")


def lyrics3v1(text: bytes = b"[00:02]La la la\r\n" * 5) -> bytes:
    """Lyrics3, version 1; an ID3v1 tag must follow."""
    return b"LYRICSBEGIN" + text + b"LYRICSEND"


def enhanced() -> bytes:
    """The extension of ID3v1 that stands before it."""
    return b"TAG+" + b"A long title".ljust(223, b"\0")


def _cut(command: str, *, frames: int, more: int) -> Callable[[Parts], bytes]:
    """So many frames, and so many bytes of the next one; the describing frame counts."""

    def content(parts: Parts) -> bytes:
        all_frames = parts.frames(command)
        return b"".join(all_frames[:frames]) + all_frames[frames][:more]

    return content


def _between(command: str, what: bytes, *, at: int = 40) -> Callable[[Parts], bytes]:
    """Something between two frames."""
    return lambda parts: b"".join(parts.frames(command)[:at]) + what + b"".join(parts.frames(command)[at:])


def _holes(command: str, places: tuple[int, ...]) -> Callable[[Parts], bytes]:
    """Noise between frames at several places."""

    def content(parts: Parts) -> bytes:
        return b"".join(
            frame + (noise(777, place) if place in places else b"") for place, frame in enumerate(parts.frames(command))
        )

    return content


def _without(command: str, frame: int, start: int, size: int) -> Callable[[Parts], bytes]:
    """The file without some bytes of one frame and of those behind it."""

    def content(parts: Parts) -> bytes:
        frames = parts.frames(command)
        rest = b"".join(frames[frame:])
        return b"".join(frames[:frame]) + rest[:start] + rest[start + size :]

    return content


def _zeroed(command: str, first: int, last: int) -> Callable[[Parts], bytes]:
    """Whole frames overwritten by zeros, as in a download with holes."""

    def content(parts: Parts) -> bytes:
        frames = parts.frames(command)
        return b"".join(bytes(len(f)) if first <= number < last else f for number, f in enumerate(frames))

    return content


def _flipped(parts: Parts) -> bytes:
    frames = parts.frames(BARE)
    frames[30] = b"\xff\x1b" + frames[30][2:]
    return b"".join(frames)


def _shuffled(parts: Parts) -> bytes:
    frames = parts.frames(BARE_VBR)
    random.Random(5).shuffle(frames)
    return b"".join(frames)


def _promise(parts: Parts, count: int) -> bytes:
    content = parts.file(VBR)
    at = content.index(b"Xing") + 8
    return content[:at] + struct.pack(">I", count) + content[at + 4 :]


def _with(before: bytes, command: str, after: bytes = b"") -> Callable[[Parts], bytes]:
    return lambda parts: before + parts.file(command) + after


def _joined(*commands: str, between: bytes = b"") -> Callable[[Parts], bytes]:
    return lambda parts: between.join(map(parts.file, commands))


_APE2, _APE1 = corpus.ape(), corpus.ape(version=1000)
_LYRICS = corpus.lyrics3()

# Nothing is wrong with these.
WHOLE: dict[str, Oddity] = {
    "ID3v2.2": Oddity(_with(tag(version=2), CBR), tags=110),
    "ID3v2.4 with a footer": Oddity(_with(tag(version=4, footer=True), CBR), tags=120),
    "ID3v2.4 appended": Oddity(_with(b"", CBR, tag(version=4, footer=True)), tags=120),
    "ID3v2.4 appended before ID3v1": Oddity(_with(b"", CBR, tag(version=4, footer=True) + id3v1()), tags=248),
    "ID3v2.3 unsynchronised": Oddity(_with(tag(flags=0x80), CBR), tags=110),
    "ID3v2.3 three times": Oddity(_with(tag() + tag(size=50) + tag(size=5000), CBR), tags=110 + 60 + 5010),
    "ID3v2 of 12 MB": Oddity(_with(tag(size=12_000_000), VBR), tags=12_000_010),
    "ID3v2 full of false headers": Oddity(_with(tag()[:20] + b"\xff\xfb\x90\x64" * 22 + b"\0\0", CBR), tags=110),
    "ID3v1 with enhanced tag": Oddity(_with(b"", CBR, enhanced() + id3v1()), tags=227 + 128),
    "APEv1": Oddity(_with(b"", CBR, _APE1), tags=len(_APE1)),
    "APEv2": Oddity(_with(b"", CBR, _APE2), tags=len(_APE2)),
    "APEv2 in front": Oddity(_with(_APE2, CBR), tags=len(_APE2) - 32 + 32),
    "APEv2 and ID3v1": Oddity(_with(b"", VBR, _APE2 + id3v1()), tags=len(_APE2) + 128),
    "Lyrics3v1": Oddity(_with(b"", CBR, lyrics3v1() + id3v1()), tags=len(lyrics3v1()) + 128),
    "Lyrics3v2": Oddity(_with(b"", VBR, _LYRICS + id3v1()), tags=len(_LYRICS) + 128),
    "all tags there are": Oddity(
        _with(tag(), VBR, _APE2 + _LYRICS + enhanced() + id3v1()), tags=110 + len(_APE2) + len(_LYRICS) + 227 + 128
    ),
    "VBRI": Oddity(
        lambda p: vbri(p.frames(BARE_VBR)) + p.file(BARE_VBR), promised=FRAMES, facts={"info": "VBRI", "mode": "vbr"}
    ),
    "VBRI behind ID3v2": Oddity(
        lambda p: tag() + vbri(p.frames(BARE)) + p.file(BARE), tags=110, promised=FRAMES, facts={"info": "VBRI"}
    ),
    "VBRI in MPEG-2": Oddity(
        lambda p: vbri(p.frames(BARE_LOW)) + p.file(BARE_LOW),
        frames=79,
        promised=79,
        facts={"info": "VBRI", "version": "2"},
    ),
    "VBRI that counts itself": Oddity(
        lambda p: vbri(p.frames(BARE_VBR), promised=FRAMES + 1) + p.file(BARE_VBR), promised=FRAMES + 1
    ),
    "Xing without LAME": Oddity(
        lambda p: xing(p.frames(BARE_VBR), flags=3) + p.file(BARE_VBR), promised=FRAMES, facts={"info": "Xing"}
    ),
    "Xing that counts itself": Oddity(
        lambda p: xing(p.frames(BARE_VBR), flags=1, promised=FRAMES + 1) + p.file(BARE_VBR), promised=FRAMES + 1
    ),
    "Xing without numbers": Oddity(lambda p: xing(p.frames(BARE_VBR), flags=0) + p.file(BARE_VBR), promised=None),
    "a jingle of 5 s": Oddity(lambda p: p.whole("jingle"), frames=193, promised=193),
    "a millisecond": Oddity(
        lambda p: p.whole("one_frame"), frames=2, facts={"duration": 2 * 1152 / 44100, "info": None}
    ),
    "a millisecond, its padding known": Oddity(lambda p: p.whole("millisecond"), frames=2, promised=2),
    "one frame": Oddity(lambda p: p.frames(BARE)[0], frames=1),
    "one frame and ID3v1": Oddity(lambda p: p.frames(BARE)[0] + id3v1(), frames=1, tags=128),
    "one frame between tags": Oddity(lambda p: tag() + p.frames(BARE)[0] + _APE2, frames=1, tags=110 + len(_APE2)),
    "two frames of MPEG-2.5": Oddity(lambda p: b"".join(p.frames(LOWER)[-2:]), frames=2, facts={"version": "2.5"}),
    "three frames": Oddity(lambda p: b"".join(p.frames(BARE)[20:23]), frames=3),
    "frames in any order": Oddity(_shuffled),
    "mono and stereo by turns": Oddity(
        lambda p: b"".join(p.frames(BARE)[:20] + p.frames(MONO)[1:21]), frames=40, facts={"mode": "vbr", "channels": 2}
    ),
    "CRC from some frame on": Oddity(
        lambda p: b"".join(p.frames(BARE)[:20] + p.frames(CRC)[1:21]), frames=40, facts={"mode": "cbr"}
    ),
    "free format behind ID3v2": Oddity(_with(tag(), FREE, id3v1()), tags=238, promised=FRAMES),
}

# Something is wrong with these, and what it is can be seen.
DAMAGED: dict[str, Oddity] = {
    "cut in a frame": Oddity(_cut(CBR, frames=40, more=200), frames=39, is_truncated=True),
    "cut in a frame, no promise": Oddity(_cut(BARE, frames=40, more=200), frames=40, is_truncated=True),
    "cut in a frame, VBR": Oddity(_cut(VBR, frames=40, more=100), frames=39, is_truncated=True),
    "cut in a frame, VBR without a promise": Oddity(_cut(BARE_VBR, frames=40, more=100), frames=40, is_truncated=True),
    "cut in the last frame": Oddity(_cut(CBR, frames=78, more=300), frames=77, is_truncated=True),
    "cut in the last frame, VBR": Oddity(_cut(VBR, frames=78, more=300), frames=77, is_truncated=True),
    "cut by one byte": Oddity(lambda p: p.file(VBR)[:-1], frames=77, is_truncated=True),
    "cut in a header": Oddity(_cut(CBR, frames=40, more=2), frames=39, is_truncated=True),
    "cut in a header, no promise": Oddity(_cut(BARE, frames=40, more=1), frames=40, is_truncated=True),
    "cut between frames": Oddity(_cut(CBR, frames=40, more=0), frames=39, is_truncated=True),
    "cut between frames, VBR": Oddity(_cut(VBR, frames=40, more=0), frames=39, is_truncated=True),
    "cut by one whole frame": Oddity(_cut(VBR, frames=78, more=0), frames=77, is_truncated=True),
    "cut between frames, VBRI": Oddity(
        lambda p: vbri(p.frames(BARE_VBR)) + b"".join(p.frames(BARE_VBR)[:50]), frames=50, is_truncated=True
    ),
    "cut in a frame, VBRI": Oddity(
        lambda p: vbri(p.frames(BARE_VBR)) + _cut(BARE_VBR, frames=50, more=99)(p), frames=50, is_truncated=True
    ),
    "cut, then tagged": Oddity(
        lambda p: tag() + _cut(CBR, frames=40, more=200)(p) + id3v1(), frames=39, tags=238, is_truncated=True
    ),
    "cut, no promise, then tagged": Oddity(
        lambda p: _cut(BARE, frames=40, more=200)(p) + _APE2 + id3v1(),
        frames=40,
        tags=len(_APE2) + 128,
        is_truncated=True,
    ),
    "cut in the middle of its last tag": Oddity(
        lambda p: p.file(BARE) + _APE2[:-20], tags=len(_APE2) - 20, is_truncated=True
    ),
    "cut free format": Oddity(lambda p: p.file(FREE)[:-500], frames=FRAMES - 1, is_truncated=True),
    "noise between frames": Oddity(_between(BARE, noise(1000, 7)), junk=1000, gaps=1),
    "noise at five places": Oddity(_holes(CBR, (10, 20, 30, 40, 50)), junk=5 * 777, gaps=5),
    "an error page between frames": Oddity(_between(BARE, HTML), junk=len(HTML), gaps=1),
    "a tag between frames": Oddity(_between(CBR, tag(size=2000)), tags=2010, gaps=1),
    "zeros for frames": Oddity(_zeroed(CBR, 30, 40), frames=68, junk=4180, gaps=1),
    "zeros for frames at the end": Oddity(_zeroed(CBR, 60, 79), frames=59, junk=7941),
    "bytes lost": Oddity(_without(BARE, 30, 100, 1000), frames=75, junk=254, gaps=1),
    "bytes lost, VBR": Oddity(_without(BARE_VBR, 30, 100, 3000), frames=60, junk=97, gaps=1),
    "frames lost": Oddity(_without(CBR, 30, 0, 4180), frames=68, is_truncated=True),
    "a bit flipped in a header": Oddity(_flipped, frames=77, gaps=1, junk=418),
    "noise first": Oddity(_with(noise(3000, 8), BARE), junk=3000),
    "a few bytes first": Oddity(_with(b"\0\xff\xfb", BARE), junk=3),
    "an error page first": Oddity(_with(b"\0" + HTML, BARE), junk=len(HTML) + 1),
    "noise first, and a promise": Oddity(_with(noise(3000, 8), VBR), junk=3000, promised=FRAMES),
    "zeros first": Oddity(_with(bytes(100_000), BARE), junk=100_000),
    "noise last": Oddity(_with(b"", CBR, noise(3000, 9)), junk=3000),
    "a byte last": Oddity(_with(b"", CBR, b"\n"), junk=1),
    "zeros last": Oddity(_with(b"", BARE, bytes(10_000)), junk=10_000),
    "an error page last": Oddity(_with(b"", CBR, HTML), junk=len(HTML)),
    "noise before the last tag": Oddity(_with(b"", BARE, noise(500, 3) + id3v1()), junk=500, tags=128),
    "ID3v2 that is longer than it says": Oddity(
        lambda p: id3(b"PRIV" + bytes(2) + b"\x4e\x20" + bytes(2) + noise(20_000, 4), claim=50) + p.file(BARE),
        tags=60,
        junk=20_030 - 60,
    ),
    "ID3v2 that is shorter than it says": Oddity(
        lambda p: id3(claim=10_000) + p.file(BARE), tags=10_010, frames=54, junk=41
    ),
    "padding behind ID3v2": Oddity(lambda p: tag() + bytes(4096) + p.file(VBR), tags=110, junk=4096, promised=FRAMES),
    "joined": Oddity(_joined(BARE, BARE), frames=156),
    "joined, with headers": Oddity(_joined(CBR, VBR), frames=157, promised=78),
    "joined with tags": Oddity(_joined(CBR, VBR, between=id3v1() + tag()), frames=157, tags=238, gaps=1, promised=78),
    "joined, other version": Oddity(_joined(BARE, BARE_LOW), frames=157, gaps=1),
    "joined, other version first": Oddity(_joined(BARE_LOW, BARE), frames=157, gaps=1),
    "joined, three versions": Oddity(_joined(CBR, LOW, LOWER), frames=78 + 80 + 30, gaps=2),
    "joined with free format": Oddity(_joined(BARE, FREE), frames=157, gaps=1),
    "joined, the first one cut": Oddity(
        lambda p: _cut(BARE, frames=40, more=200)(p) + p.file(BARE), frames=118, junk=199, gaps=1
    ),
    "joined with noise between": Oddity(_joined(BARE, CBR, between=noise(2000, 6)), frames=157, junk=2000, gaps=1),
    "a promise of too much": Oddity(lambda p: _promise(p, 200), is_truncated=True, promised=200),
    "a promise of one too many": Oddity(lambda p: _promise(p, 79), is_truncated=True, promised=79),
    "a promise of too little": Oddity(lambda p: _promise(p, 40), promised=40),
    "a promise of nothing": Oddity(lambda p: _promise(p, 0), promised=0),
}

ODDITIES = {**WHOLE, **DAMAGED}


def make(directory: Path, name: str) -> Path:
    """The file of that name, made once."""
    path = directory / f"odd-{name.replace(' ', '_')}.mp3"
    if not path.exists():
        part = path.with_name(f"{os.getpid()}-{path.name}")
        part.write_bytes(ODDITIES[name].content(Parts(directory)))
        part.rename(path)
    return path
