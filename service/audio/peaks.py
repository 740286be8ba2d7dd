"""Peaks: the smallest and the largest sample of every stretch of a track, for drawing its waveform.

They are kept as bytes, two for each point: minimum and maximum of the mono mixdown, signed, 128 is full scale. A point
spans ``samples_per_point`` samples: `FINEST`, doubled until there are at most `MOST` points. On the wire they have the
two forms that the tools around audiowaveform read (version 2 of its data format, 8 bits, one channel).
"""

import struct
from array import array
from typing import Any

FINEST = 2048
MOST = 32_768

# Version, flags, sample rate, samples per pixel, points, channels; little-endian.
_HEADER = struct.Struct("<iIiiIi")
_VERSION = 2
_EIGHT_BITS = 1


def downsample(peaks: bytes, points: int) -> tuple[bytes, int]:
    """The same peaks in at most ``points`` points, and how many of the old ones each of them spans.

    Every point but the last spans the same number of them, so that a place in the list still is a time; hence there
    may be fewer points than asked for. There are never more than there were.
    """
    count = len(peaks) // 2
    group = max(1, -(-count // points))
    if group == 1:
        return peaks, 1
    values = memoryview(peaks).cast("b").tolist()
    coarse = array("b", bytes(-(-count // group) * 2))
    for half, choose in ((0, min), (1, max)):
        column = values[half::2]
        coarse[half::2] = array("b", [choose(column[at : at + group]) for at in range(0, count, group)])
    return coarse.tobytes(), group


def to_json(peaks: bytes, samples_per_point: int, sample_rate: int) -> dict[str, Any]:
    """What audiowaveform writes as JSON."""
    return {
        "version": _VERSION,
        "channels": 1,
        "sample_rate": sample_rate,
        "samples_per_pixel": samples_per_point,
        "bits": 8,
        "length": len(peaks) // 2,
        "data": memoryview(peaks).cast("b").tolist(),
    }


def to_dat(peaks: bytes, samples_per_point: int, sample_rate: int) -> bytes:
    """What audiowaveform writes as ``.dat``."""
    return _HEADER.pack(_VERSION, _EIGHT_BITS, sample_rate, samples_per_point, len(peaks) // 2, 1) + peaks
