"""What a frame of MPEG audio layer III is: its header, its length, and the first frame that describes the others.

Pure functions of bytes. Sources: ISO/IEC 11172-3 section 2.4 (MPEG-1), ISO/IEC 13818-3 section 2.4 (MPEG-2, half the
sample rates), the "MPEG-2.5" practice of all decoders (a quarter of them), and for the describing frame Xing's VBR
header, the LAME tag revision 1 and Fraunhofer's VBRI.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

# kbit/s by the four bits of the header; 0 is "free format", 15 is forbidden (table in 11172-3 2.4.2.3, 13818-3 2.4.2.3)
BITRATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
BITRATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
SAMPLE_RATES = {"1": (44100, 48000, 32000), "2": (22050, 24000, 16000), "2.5": (11025, 12000, 8000)}
VERSION_BITS = {"2.5": 0, "2": 2, "1": 3}
VERSIONS = {bits: version for version, bits in VERSION_BITS.items()}

# Free format may exceed the highest listed bitrate; encoders stop at 640 kbit/s, which at 8 kHz is 5,760 bytes a frame.
LONGEST_FREE_FRAME = 5761

# The second byte of a header: sync, version, layer III, with or without CRC. The third: neither bitrate 15 nor rate 3.
SECOND_BYTES = bytes(0xE0 | bits << 3 | 1 << 1 | crc for bits in VERSION_BITS.values() for crc in (0, 1))
THIRD_BYTES = bytes(b for b in range(256) if b >> 4 != 15 and b >> 2 & 3 != 3)
SYNC = rb"\xff[" + re.escape(SECOND_BYTES) + rb"][" + re.escape(THIRD_BYTES) + rb"]"


@dataclass(frozen=True, slots=True)
class Stream:
    """What the frames of one chain have in common; ``free_length`` is that of an unpadded free format frame, or 0."""

    version: str
    sample_rate: int
    free_length: int = 0

    @property
    def samples(self) -> int:
        """Samples of one frame and channel: two granules of 576 in MPEG-1, one in the others."""
        return 1152 if self.version == "1" else 576

    def is_like(self, other: "Stream") -> bool:
        """Whether both have the same version and sample rate."""
        return (self.version, self.sample_rate) == (other.version, other.sample_rate)

    @property
    def second_byte(self) -> int:
        """The second byte of every header, CRC bit set (no CRC); the bit may differ from frame to frame."""
        return 0xE3 | VERSION_BITS[self.version] << 3

    def bitrate(self, third: int) -> int:
        """Bits per second that a header's third byte announces."""
        if self.free_length:
            return round(Fraction(self.free_length * 8 * self.sample_rate, self.samples))
        return (BITRATES_1 if self.version == "1" else BITRATES_2)[third >> 4] * 1000


@lru_cache(maxsize=1024)
def mean_length(stream: Stream, third: int) -> Fraction:
    """Bytes of a frame on average: the encoder pads single frames by a byte so that their mean comes out at this.

    As a fraction it tells the rhythm of constant bitrate: the padding can repeat after ``denominator`` frames, which
    are ``numerator`` bytes.
    """
    return Fraction(stream.free_length) or Fraction(stream.samples // 8 * stream.bitrate(third), stream.sample_rate)


@lru_cache(maxsize=256)
def frame_lengths(stream: Stream) -> tuple[int, ...]:
    """The length of a frame by the third byte of its header; 0 where that byte does not belong to the stream."""
    rate_bits = SAMPLE_RATES[stream.version].index(stream.sample_rate)

    def length(third: int) -> int:
        is_free = third >> 4 == 0
        if third >> 4 == 15 or third >> 2 & 3 != rate_bits or is_free != bool(stream.free_length):
            return 0
        return int(mean_length(stream, third)) + (third >> 1 & 1)

    return tuple(map(length, range(256)))


@dataclass(frozen=True, slots=True)
class Header:
    """One frame header; ``bitrate`` is 0 in free format."""

    stream: Stream
    bitrate: int
    padding: int
    channels: int

    @property
    def length(self) -> int:
        """Bytes of the frame, header included; 0 in free format, where only the next header can tell."""
        mean = self.stream.samples // 8 * self.bitrate // self.stream.sample_rate
        return mean + self.padding if self.bitrate else 0


@lru_cache(maxsize=4096)
def parse_header(word: bytes) -> Header | None:
    """Read four bytes; ``None`` when they are no header of layer III."""
    if len(word) < 4 or word[0] != 0xFF or word[1] not in SECOND_BYTES or word[2] not in THIRD_BYTES:
        return None
    version = VERSIONS[word[1] >> 3 & 3]
    stream = Stream(version, SAMPLE_RATES[version][word[2] >> 2 & 3])
    return Header(stream, stream.bitrate(word[2]), word[2] >> 1 & 1, 1 if word[3] >> 6 == 3 else 2)


@dataclass(frozen=True, slots=True)
class Info:
    """What the first frame says about the others: claims of whoever wrote it, ``None`` where it says nothing."""

    kind: str  # "Xing" | "Info" | "VBRI"
    frames: int | None = None
    bytes: int | None = None
    encoder: str | None = None
    is_abr: bool = False
    delay: int | None = None  # samples the encoder put before the music
    padding: int | None = None  # and after it


def parse_info(frame: bytes) -> Info | None:
    """Read a Xing, Info or VBRI header out of a whole frame; ``None`` when it is a frame of music."""
    header = parse_header(frame[:4])
    if header is None:
        return None
    is_mono = header.channels == 1
    side = (17 if is_mono else 32) if header.stream.version == "1" else (9 if is_mono else 17)
    for at in (4 + side, 6 + side):  # the two bytes of a CRC are sometimes left out of the account
        if frame[at : at + 4] in (b"Xing", b"Info"):
            return _parse_xing(frame[at:])
    return _parse_vbri(frame[36:]) if frame[36:40] == b"VBRI" else None


def _parse_xing(data: bytes) -> Info | None:
    """Four flags tell which of frames, bytes, seek table and quality follow; then comes the LAME tag, if any."""
    flags, at = int.from_bytes(data[4:8], "big"), 8
    values: dict[int, int] = {}
    for flag, width in ((1, 4), (2, 4), (4, 100), (8, 4)):
        if flags & flag:
            values[flag] = int.from_bytes(data[at : at + width], "big")
            at += width
    kind, frames, size = data[:4].decode(), values.get(1), values.get(2)
    lame = data[at : at + 24]
    if len(lame) < 24 or not lame.startswith((b"LAME", b"Lavf", b"Lavc")):
        return Info(kind, frames, size)
    encoder = "".join(chr(b) for b in lame[:9] if 32 <= b < 127).strip()
    gaps = int.from_bytes(lame[21:24], "big")
    return Info(kind, frames, size, encoder, lame[9] & 15 in (2, 9), gaps >> 12, gaps & 0xFFF)


def _parse_vbri(data: bytes) -> Info | None:
    """Version, delay and quality of two bytes each, then bytes and frames of the whole."""
    if len(data) < 18:
        return None
    return Info("VBRI", int.from_bytes(data[14:18], "big"), int.from_bytes(data[10:14], "big"))
