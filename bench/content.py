"""Valid mp3 of any size, and unique: an ID3v2 tag with a private frame, then the frames of a real encoder.

The service stores equal bytes once, so every upload must differ. The 16 bytes of MARK inside the tag's PRIV frame are
what the load client replaces in each request; the frames after the tag are shared. The size is exact: what whole
frames leave over is the tag's padding.
"""

import array
import math
import random
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

from bench.paths import CONTENT

MARK = b"@@UNIQUE-BYTES@@"
KINDS = {
    "cbr128": ["--cbr", "-b", "128"],
    "cbr320": ["--cbr", "-b", "320"],
    "vbr": ["-V", "2"],
}
SOURCE_SECONDS = 10
RATE = 44_100
_TAG_MIN = 10 + 10 + len(b"bench\0") + len(MARK)
_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


@dataclass(frozen=True)
class Content:
    """One upload: a tag holding MARK, and the path of the frames that follow it."""

    kind: str
    size: int
    tag: bytes
    frames: Path

    def write_unique(self, path: Path, unique: bytes) -> Path:
        """The same as one file, for curl. ``unique`` takes the place of MARK."""
        with path.open("wb") as out:
            out.write(self.tag.replace(MARK, unique.ljust(len(MARK), b".")))
            with self.frames.open("rb") as frames:
                while block := frames.read(1 << 20):
                    out.write(block)
        return path


def make(kind: str, size: int) -> Content:
    lengths, source = _source(kind)
    room = size - _TAG_MIN
    loops, rest = divmod(room, len(source))
    tail = 0
    for length in lengths:
        if tail + length > rest:
            break
        tail += length
    path = CONTENT / f"{kind}-{size}.frames"
    frames_size = loops * len(source) + tail
    if not path.exists() or path.stat().st_size != frames_size:
        with path.open("wb") as out:
            for _ in range(loops):
                out.write(source)
            out.write(source[:tail])
    return Content(kind, size, _tag(size - frames_size), path)


def _tag(size: int) -> bytes:
    frame = b"bench\0" + MARK
    frames = b"PRIV" + len(frame).to_bytes(4, "big") + b"\0\0" + frame
    body = size - 10
    synchsafe = bytes((body >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + synchsafe + frames.ljust(body, b"\0")


def _source(kind: str) -> tuple[list[int], bytes]:
    """The frames of some seconds of sound, encoded once: their lengths, and all of them in a row."""
    path = CONTENT / f"{kind}.mp3"
    if not path.exists():
        sound = CONTENT / "sound.wav"
        _write_sound(sound)
        subprocess.run(["lame", "--quiet", "-t", *KINDS[kind], sound, path], check=True)
    data = path.read_bytes()
    lengths = []
    at = 0
    while at + 4 <= len(data):
        length = _frame_length(data[at : at + 4])
        if at + length > len(data):
            break
        lengths.append(length)
        at += length
    return lengths, data[:at]


def _frame_length(header: bytes) -> int:
    """Of an MPEG 1 layer III frame at 44.1 kHz: all that our encoder writes."""
    if header[0] != 0xFF or header[1] & 0xFE != 0xFA or header[2] & 0x0C:
        raise ValueError(f"not the expected mp3 frame: {header.hex()}")
    return 144_000 * _KBITS[header[2] >> 4] // RATE + (header[2] >> 1 & 1)


def _write_sound(path: Path) -> None:
    """Chords over noise, so that a variable bitrate varies."""
    noise = random.Random(1)
    samples = array.array("h")
    for i in range(RATE * SOURCE_SECONDS):
        t = i / RATE
        tone = math.sin(math.tau * 220 * t) + math.sin(math.tau * (277 + 40 * int(t)) * t)
        hiss = noise.uniform(-1, 1) * (0.2 + 0.8 * (int(t * 2) % 2))
        value = int(6000 * tone + 3000 * hiss)
        samples.extend((value, value // 2))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
