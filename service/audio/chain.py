"""A chain: frames that agree in version, layer and sample rate, each beginning where the one before ended.

A single header proves nothing: noise is full of them. `prove` says whether a chain begins at some place, and `Chain`
follows it; its loop sees every frame of every upload, so that is where the speed is.
"""

import re
from dataclasses import replace
from enum import Enum

from service.audio import tagblocks
from service.audio.mpeg import LONGEST_FREE_FRAME, Header, Stream, frame_lengths, mean_length, parse_header

# So many headers in a row are a chain. Random bytes continue a header with a matching one once in 2**17 times.
CHAIN = 4

# The length of a free format frame is the distance to the next header; at least so much, and known after so many bytes.
SHORTEST_FREE_FRAME = 24
FREE_FORMAT_NEEDED = CHAIN * LONGEST_FREE_FRAME + tagblocks.NEEDED

# Whole periods of constant bitrate are compared column by column when there are enough of them to repay the set-up, and
# at most so many frames at once, so that a place that differs costs one stride of walking and not the whole buffer.
MIN_PERIODS = 4
MAX_LEAP = 8192
STRIDE = 256 * 1024


class Chain:
    """The frames of one stream, counted by the third byte of their headers, which tells bitrate and padding."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.tally = [0] * 256
        self.last = 0
        self.is_broken = False
        self._lengths = frame_lengths(stream)
        self._second = stream.second_byte

    @property
    def last_length(self) -> int:
        """Bytes of the last frame; 0 before the first."""
        return self._lengths[self.last]

    def starts_with(self, prefix: bytes) -> bool:
        """Whether one or two bytes could begin the next header."""
        return prefix[0] == 0xFF and all(byte | 1 == self._second for byte in prefix[1:])

    def follow(self, buffer: bytes, at: int) -> int:
        """Go from header to header to the end of the chain or of the buffer; return where the next one should be."""
        while len(buffer) - at > 2 and not self.is_broken:
            here = self._leap(buffer, at)
            at = here if here > at else self._walk(buffer, at)
        return at

    def _walk(self, buffer: bytes, at: int) -> int:
        """Look at single headers, as many as `STRIDE`."""
        lengths, second, tally, last = self._lengths, self._second, self.tally, self.last
        end = min(len(buffer) - 2, at + STRIDE)
        while at < end and buffer[at] == 0xFF and buffer[at + 1] | 1 == second:
            third = buffer[at + 2]
            length = lengths[third]
            if not length:
                break
            tally[third] += 1
            at += length
            last = third
        self.last = last
        self.is_broken = at < end
        return at

    def _leap(self, buffer: bytes, at: int) -> int:
        """Skip whole periods of constant bitrate: the same headers again and again at the same distance.

        Where the same three bytes stand in every period where the first one has its headers, walking would find the
        same frames. One slice with a step compares many of them in C. Whatever does not fit is left to the walk.
        """
        lengths, first = self._lengths, buffer[at + 2]
        if not lengths[first]:
            return at
        period = mean_length(self.stream, first)
        size, frames = period.numerator, period.denominator
        periods = min((len(buffer) - at) // size, MAX_LEAP // frames)
        if periods < MIN_PERIODS:
            return at
        thirds, here, end = bytearray(), at, at + periods * size
        for _ in range(frames):
            third = buffer[here + 2]
            if buffer[here] != 0xFF or buffer[here + 1] | 1 != self._second or not lengths[third]:
                return at
            for column in (here + 2, here + 1, here):
                if buffer[column:end:size].count(buffer[column]) != periods:
                    return at
            thirds.append(third)
            here += lengths[third]
        if here != at + size:
            return at
        for third in thirds:
            self.tally[third] += periods
        self.last = thirds[-1]
        return end


class Proof(Enum):
    """What can be said about a place where no chain is proven."""

    NONE = "no chain"
    OPEN = "more bytes are needed to tell"


def prove(buffer: bytes, at: int, *, is_expected: bool, body_end: int | None) -> tuple[Stream | Proof, int]:
    """The stream of the chain that begins here, or the lack of one; and how many beginnings were tried.

    A chain shorter than `CHAIN` is taken if it ends where music ends: at a tag, or at ``body_end``, when it is known.
    A single frame is taken only where one is expected.
    """
    header = parse_header(buffer[at : at + 4])
    if header is None:
        return Proof.NONE, 1
    if header.bitrate:
        return _test(buffer, at, header.stream, is_expected, body_end), 1
    if body_end is None and len(buffer) - at < FREE_FORMAT_NEEDED:
        return Proof.OPEN, 0
    return _prove_free_format(buffer, at, header, is_expected, body_end)


def _prove_free_format(
    buffer: bytes, at: int, header: Header, is_expected: bool, body_end: int | None
) -> tuple[Stream | Proof, int]:
    alike = re.compile(
        b"\xff[" + re.escape(bytes((buffer[at + 1] & 0xFE, buffer[at + 1] | 1))) + b"]"
        b"[" + re.escape(bytes(buffer[at + 2] & 0xFC | low for low in range(4))) + b"]"
    )
    tried = 1
    for match in alike.finditer(buffer, at + SHORTEST_FREE_FRAME, at + LONGEST_FREE_FRAME + 3):
        stream = replace(header.stream, free_length=match.start() - at - header.padding)
        tried += 1
        proof = _test(buffer, at, stream, is_expected, body_end)
        if isinstance(proof, Stream):
            return proof, tried
    return Proof.NONE, tried


def _test(buffer: bytes, at: int, stream: Stream, is_expected: bool, body_end: int | None) -> Stream | Proof:
    lengths, second, frames = frame_lengths(stream), stream.second_byte, 0
    limit = len(buffer) if body_end is None else body_end
    while frames < CHAIN and at + 3 <= limit:
        if buffer[at] != 0xFF or buffer[at + 1] | 1 != second or not lengths[buffer[at + 2]]:
            break
        at += lengths[buffer[at + 2]]
        frames += 1
    if frames == CHAIN:
        return stream
    if body_end is None and at + tagblocks.NEEDED > len(buffer):
        return Proof.OPEN
    is_cut = at > limit
    is_at_end = is_cut or at == body_end or tagblocks.starts_at(buffer, at)
    whole = frames - is_cut
    return stream if is_at_end and (whole > 1 or (whole == 1 and is_expected)) else Proof.NONE
