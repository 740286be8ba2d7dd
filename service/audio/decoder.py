"""Frames in, samples out. The decoder is miniaudio's, but it gets to see nothing except whole frames of one kind.

Tags, junk and claims of the describing frame never reach it. Its samples have 16 bits and cannot exceed full scale,
where encoded music often does. So each frame is turned down on its way by `HEADROOM` (12 dB), in its own field for the
gain, as volume adjusters do it, and whoever gets the samples turns them up again by exactly as much.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise

import miniaudio  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from service.audio.mpeg import Stream, frame_lengths
from service.audio.survey import BLOCK_BYTES, Survey

BLOCK_SAMPLES = 1 << 16  # of every channel
HEADROOM = 4  # a factor
_GAIN_STEPS = 8  # of the field; four of them are a factor of two

# Header, CRC, side information, and the sign of a describing frame; there are free formats whose frames are shorter.
_LONGEST_HEAD = 4 + 2 + 32 + 4

_DESCRIBING = bytearray(b"Xing"), bytearray(b"Info")


@dataclass(frozen=True, slots=True)
class Frames:
    """Some whole frames of one kind, ready for the decoder."""

    kind: tuple[int, int, int]  # sample rate, channels, and what tells one free format from others
    data: bytes
    samples: int


def frames_of(file: FileIO, survey: Survey) -> Iterator[Frames]:
    """All frames in order. A cut last one is filled up with zeros, which is how players play it."""
    for span in survey.chains:
        start, end, stream = span.start, span.end, span.stream
        if span is survey.chains[0] and survey.displaced is not None:
            start = survey.displaced
        if start >= end:
            continue
        lengths = frame_lengths(stream)
        file.seek(start)
        rest, is_first = b"", True
        while start < end:
            block = file.read(min(BLOCK_BYTES, end - start))
            start = start + len(block) if block else end
            limit = len(rest) + len(block)
            data = bytearray(rest + block) + bytes(max(lengths) + _LONGEST_HEAD)
            room = limit if start < end else limit + max(lengths)
            starts, at = [], 0
            while at + 3 <= limit and lengths[data[at + 2]] and at + lengths[data[at + 2]] <= room:
                starts.append(at)
                at += lengths[data[at + 2]]
            rest = bytes(data[at:limit])
            if starts:
                yield from _prepare(data, starts, at, stream, is_first)
                is_first = False


def _prepare(data: bytearray, starts: list[int], end: int, stream: Stream, is_first: bool) -> Iterator[Frames]:
    """Turn the frames down, silence those whose beginning is lost, and part them by their channels."""
    buffer = np.frombuffer(data, np.uint8)
    at = np.array(starts)
    is_mono = buffer[at + 3] >> 6 == 3
    side = at + np.where(buffer[at + 1] & 1, 4, 6)
    for channels in (1, 2):
        _turn_down(buffer, side[is_mono == (channels == 1)], stream, channels)
    if is_first:
        _silence_lost(data, starts, stream)
    changes = [0, *(np.flatnonzero(np.diff(is_mono)) + 1).tolist(), len(starts)]
    ends = [*starts, end]
    for first, last in pairwise(changes):
        kind = stream.sample_rate, 1 if is_mono[first] else 2, stream.free_length
        yield Frames(kind, bytes(data[ends[first] : ends[last]]), (last - first) * stream.samples)


def _turn_down(buffer: NDArray[np.uint8], side: NDArray[np.int64], stream: Stream, channels: int) -> None:
    """Lower the eight bits of ``global_gain`` of each granule and channel (ISO/IEC 11172-3 and 13818-3, 2.4.1.7)."""
    if stream.version == "1":
        first, step, granules = (9 + 5 + 4 if channels == 1 else 9 + 3 + 8) + 21, 59, 2 * channels
    else:
        first, step, granules = (8 + 1 if channels == 1 else 8 + 2) + 21, 63, channels
    for bit in range(first, first + step * granules, step):
        place, shift = side + bit // 8, 8 - bit % 8
        word = buffer[place].astype(np.uint16) << 8 | buffer[place + 1]
        gain = word >> shift & 0xFF
        word -= np.minimum(gain, _GAIN_STEPS) << shift
        buffer[place] = word >> 8
        buffer[place + 1] = word & 0xFF


def _silence_lost(data: bytearray, starts: list[int], stream: Stream) -> None:
    """At the beginning of a chain, make those frames silent that begin in others which are not there.

    The decoder would drop them, and everything after them would be early. And it would believe a describing frame: one
    of those that are still here is played, as nothing, like in the middle of a chain.
    """
    reservoir = 0
    for at, end in zip(starts, [*starts[1:], len(data)], strict=True):
        side = at + (4 if data[at + 1] & 1 else 6)
        is_mono = data[at + 3] >> 6 == 3
        if stream.version == "1":
            size, needed, shift, most = 17 if is_mono else 32, data[side] << 1 | data[side + 1] >> 7, 7, 511
        else:
            size, needed, shift, most = 9 if is_mono else 17, data[side], 8, 255
        if data[side + size : side + size + 4] in _DESCRIBING:
            data[side + size : side + size + 4] = bytes(4)
        elif needed <= reservoir:
            break
        else:
            kept = min(reservoir, most)  # for the next one
            data[side : side + size] = (kept << shift).to_bytes(2, "big") + bytes(size - 2)
        reservoir += max(0, end - side - size)


class Source(miniaudio.StreamableSource):  # type: ignore[misc]
    """The bytes of a run of frames, as the decoder asks for them."""

    def __init__(self, run: Iterator[Frames]) -> None:
        self._run = run
        self._block = b""
        self._at = 0
        self.samples = 0
        self.failure: Exception | None = None

    def read(self, num_bytes: int) -> bytes:
        if self._at == len(self._block):
            try:
                block = next(self._run, None)
            except Exception as error:
                self.failure, block = error, None
            self._block, self._at = (block.data, 0) if block else (b"", 0)
            self.samples += block.samples if block else 0
        data = self._block[self._at : self._at + num_bytes]
        self._at += len(data)
        return data

    def seek(self, offset: int, origin: miniaudio.SeekOrigin) -> bool:
        """Go back to the start, which the decoder wants after a look at the first bytes; nothing else."""
        if offset or origin is not miniaudio.SeekOrigin.START:
            raise OSError("a stream")
        self._at = 0
        return True


def decoded(source: Source, sample_rate: int, channels: int) -> Iterator[NDArray[np.int16]]:
    """Samples as rows of channels; nothing when the decoder can make nothing of the frames.

    What goes wrong while it reads is raised here: through the decoder no exception passes.
    """
    try:
        blocks = miniaudio.stream_any(
            source,
            miniaudio.FileFormat.MP3,
            miniaudio.SampleFormat.SIGNED16,
            channels,
            sample_rate,
            frames_to_read=BLOCK_SAMPLES,
        )
        for block in blocks:
            yield np.frombuffer(block, np.int16).reshape(-1, channels)
    except miniaudio.DecodeError:
        pass
    if source.failure:
        raise source.failure
