"""Where tags lie in an mp3 and how long they are; what they say is not read here.

Before the music: ID3v2 (id3.org, informal standards 2.2 to 2.4). After it: ID3v1 and its "TAG+" extension, APE tags 1
and 2, Lyrics3 1 and 2, an appended ID3v2.4. Where files were joined, all of them can stand in the middle.
"""

import re

# A version that exists, flags in the upper half of their byte, a size of four times seven bits.
ID3V2 = rb"ID3[\x02-\x04].[" + re.escape(bytes(range(0, 256, 16))) + rb"][\x00-\x7f]{4}"
APE = rb"APETAGEX[\xd0\xe8][\x03\x07]\x00\x00"

# How many bytes must be at hand to know what starts here (the longest of them: the header of an APE tag).
NEEDED = 32
ID3V1_SIZE = 128
ENHANCED_SIZE = 227

_STARTS = re.compile(ID3V2 + b"|" + APE + b"|TAG|LYRICSBEGIN", re.DOTALL)
_ID3V2 = re.compile(ID3V2, re.DOTALL)
_APE = re.compile(APE, re.DOTALL)


def starts_at(data: bytes, at: int) -> bool:
    """Whether any tag begins here."""
    return _STARTS.match(data, at) is not None


def length_at(data: bytes, at: int) -> int:
    """The length of the tag that begins here, as far as its beginning tells it; else 0."""
    if _ID3V2.match(data, at):
        return 10 + _syncsafe(data[at + 6 : at + 10]) + 10 * (data[at + 5] >> 4 & 1)
    if _APE.match(data, at) and len(data) - at >= NEEDED:
        is_header = data[at + 23] >> 5 & 1
        return NEEDED + is_header * int.from_bytes(data[at + 12 : at + 16], "little")
    if data.startswith(b"TAG+", at):
        return ENHANCED_SIZE
    return ID3V1_SIZE if data.startswith(b"TAG", at) else 0


def length_of_trailers(tail: bytes) -> int:
    """The length of all tags at the end of a body, found by their endings; ``tail`` is as much of it as was kept."""
    end, total = len(tail), 0
    while end > 0:
        length = _length_before(tail, end)
        if not length:
            break
        total += length
        end -= length
    return total


def length_of_last(tail: bytes) -> int:
    """The length of the tag that ends where ``tail`` ends, found by its ending; else 0."""
    return _length_before(tail, len(tail))


def _length_before(tail: bytes, end: int) -> int:
    if tail.startswith(b"TAG", max(0, end - ID3V1_SIZE)) and end >= ID3V1_SIZE:
        return ID3V1_SIZE
    if tail.startswith(b"TAG+", max(0, end - ENHANCED_SIZE)) and end >= ENHANCED_SIZE:
        return ENHANCED_SIZE
    if end >= NEEDED and _APE.match(tail, end - NEEDED):
        has_header = tail[end - NEEDED + 23] >> 7
        return NEEDED * has_header + int.from_bytes(tail[end - NEEDED + 12 : end - NEEDED + 16], "little")
    if tail.endswith(b"LYRICS200", 0, end) and tail[max(0, end - 15) : end - 9].isdigit() and end >= 15:
        return 15 + int(tail[end - 15 : end - 9])
    if tail.endswith(b"LYRICSEND", 0, end):
        return end - max(tail.rfind(b"LYRICSBEGIN", 0, end), 0) if b"LYRICSBEGIN" in tail[:end] else 0
    if end >= 10 and tail.startswith(b"3DI", end - 10):
        return 20 + _syncsafe(tail[end - 4 : end])
    return 0


def _syncsafe(four: bytes) -> int:
    return four[0] << 21 | four[1] << 14 | four[2] << 7 | four[3]
