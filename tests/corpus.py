"""Makes real mp3 files with real encoders, damages some of them in known ways, and makes what is no mp3 at all.

    path = make(directory, "vbr")          # made once, then found in the directory
    path = big(directory, 1 << 30)         # a valid mp3 of exactly that size

Everything is deterministic. Needs `lame` and `ffmpeg` on the path. `VALID`, `DAMAGED` and `NOT_MP3` list the names.
"""

import gzip
import io
import os
import random
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)

# Name -> seconds, sample rate, options of lame.
_ENCODED: dict[str, tuple[float, int, str]] = {
    "cbr128": (12, 44100, "-b 128"),
    "cbr320": (12, 44100, "-b 320"),
    "vbr": (12, 44100, "-V 2"),
    "vbr_low": (12, 44100, "-V 7"),
    "abr": (12, 44100, "--abr 160"),
    "mono": (12, 44100, "-m m -b 64"),
    "jingle": (5, 44100, "-b 192"),
    "no_xing_cbr": (12, 44100, "-t -b 128"),
    "no_xing": (30, 44100, "-t -V 2"),
    "free_format": (12, 44100, "--freeformat -b 400"),
    "free_format_low": (12, 22050, "--freeformat -b 24 -m m"),
    "free_format_bare": (12, 48000, "--freeformat -b 370 -t"),
    "crc": (12, 44100, "-p -b 128"),
    "crc_vbr": (12, 48000, "-p -V 3"),
    "one_frame": (0.001, 44100, "-t -b 128"),
    "millisecond": (0.001, 44100, "-b 128"),
    **{f"rate_{rate}": (6, rate, f"-b {64 if rate < 32000 else 160}") for rate in SAMPLE_RATES},
    **{f"rate_{rate}_vbr": (6, rate, "-V 4") for rate in SAMPLE_RATES},
    **{f"rate_{rate}_mono": (6, rate, f"-m m -t -b {24 if rate < 32000 else 48}") for rate in SAMPLE_RATES},
}


def make(directory: Path, name: str) -> Path:
    """The file of that name, made if it is not there yet; its suffix tells what it claims to be."""
    suffix = _SUFFIXES.get(name, ".mp3")
    path = directory / f"{name}{suffix}"
    if not path.exists():
        _write(path, _content(directory, name))
    return path


def big(directory: Path, size: int) -> Path:
    """A valid mp3 of exactly ``size`` bytes: whole frames at 128 kbit/s, after an ID3 tag that takes the rest."""
    path = directory / f"big-{size}.mp3"
    if path.exists():
        return path
    tile = _frames(make(directory, "cbr128").read_bytes())[: 8 * 20480]  # 20,480 bytes are 49 frames, exactly
    count, left = divmod(size, len(tile))
    if count == 0 or (0 < left < 20):
        count, left = count - 1, left + len(tile)
    if count < 1:
        raise ValueError(f"at least {len(tile) + 20} bytes")
    part = path.with_suffix(f".{os.getpid()}")
    with part.open("wb") as file:
        file.write(id3(b"TIT2" + _frame_head(4) + b"\x00Big", padding_to=left) if left else b"")
        for _ in range(count):
            file.write(tile)
    part.rename(path)
    return path


def decoded_seconds(path: Path) -> float:
    """How long ffmpeg plays it, in whole samples of its decoded sound."""
    raw = subprocess.run(
        ["ffmpeg", "-v", "quiet", "-i", path, "-f", "s16le", "-ac", "1", "-"], capture_output=True, check=False
    ).stdout
    return len(raw) / 2 / _sample_rate(path)


def id3(
    frames: bytes = b"", *, version: int = 3, padding: int = 10, padding_to: int = 0, claim: int | None = None
) -> bytes:
    """An ID3v2 tag around frames; ``claim`` is the size it says it has, if that is to be wrong."""
    body = frames + bytes(padding_to - 10 - len(frames) if padding_to else padding)
    size = len(body) if claim is None else claim
    syncsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3" + bytes((version, 0, 0)) + syncsafe + body


def id3v1(title: str = "A title") -> bytes:
    """The 128 bytes at the end of old files."""
    return b"TAG" + title.encode("latin-1").ljust(30, b"\0") + b"\0" * 94 + b"\xff"


def ape(*, version: int = 2000) -> bytes:
    """An APE tag: with header and footer in version 2, with a footer only in version 1."""
    value = b"A title"
    items = struct.pack("<II", len(value), 0) + b"Title\0" + value

    def block(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", version, len(items) + 32, 1, flags) + bytes(8)

    return block(0xA0000000) + items + block(0x80000000) if version == 2000 else items + block(0)


def lyrics3(text: str = "[00:02]La la la\r\n" * 20) -> bytes:
    """A Lyrics3 tag, version 2."""
    body = b"LYRICSBEGIN" + b"IND00002" + b"10" + f"LYR{len(text):05d}{text}".encode()
    return body + f"{len(body):06d}LYRICS200".encode()


def noise(size: int, seed: int = 0) -> bytes:
    """Random bytes, always the same ones."""
    return random.Random(seed).randbytes(size)


def _content(directory: Path, name: str) -> bytes:
    if name in _ENCODED:
        return _lame(directory, *_ENCODED[name])
    if name.startswith("random_"):
        return noise(200_000, int(name.removeprefix("random_")))
    return _MAKERS[name](directory)


def _write(path: Path, content: bytes) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(content)
    part.rename(path)


def source(directory: Path, seconds: float, rate: int) -> Path:
    """A stereo WAV: a rising tone, silence now and then, noise. It makes a variable bitrate vary."""
    path = directory / f"source-{seconds}-{rate}.wav"
    if not path.exists():
        part = path.with_suffix(f".{os.getpid()}.wav")
        left = "0.4*sin(2*PI*(200+40*t)*t)*gt(mod(t\\,3)\\,0.7)"
        right = "0.2*sin(2*PI*660*t)*gt(mod(t\\,5)\\,1.1)+0.1*(random(0)-0.5)*gt(mod(t\\,4)\\,2)"
        _run("ffmpeg", "-f", "lavfi", "-i", f"aevalsrc={left}|{right}:s={rate}:d={seconds}", "-c:a", "pcm_s16le", part)
        part.rename(path)
    return path


def _lame(directory: Path, seconds: float, rate: int, options: str) -> bytes:
    sound = source(directory, seconds, rate)
    return _output(directory, "lame", "--quiet", "--resample", str(rate / 1000), *options.split(), sound)


def _ffmpeg(directory: Path, options: str, *, format_: str = "mp3") -> bytes:
    return _output(directory, "ffmpeg", "-i", source(directory, 12, 44100), *options.split(), "-f", format_)


def _output(directory: Path, *command: str | Path) -> bytes:
    """What a command writes into a file; into a pipe, encoders could not go back to fill in the Xing header."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        path = Path(scratch) / "output"
        _run(*command, path)
        return path.read_bytes()


def _run(*command: str | Path) -> None:
    quiet = ("-v", "error", "-bitexact") if command[0] == "ffmpeg" else ()
    subprocess.run([*command[:-1], *quiet, command[-1]], capture_output=True, check=True)


def _sample_rate(path: Path) -> int:
    command = ["ffprobe", "-v", "quiet", "-show_entries", "stream=sample_rate", "-of", "default=nk=1:nw=1", path]
    return int(subprocess.run(command, capture_output=True, check=True).stdout.split()[0])


def _frame_head(size: int, *, syncsafe: bool = False) -> bytes:
    shifts = (21, 14, 7, 0) if syncsafe else (24, 16, 8, 0)
    return bytes(size >> shift & (0x7F if syncsafe else 0xFF) for shift in shifts) + bytes(2)


def _frames(content: bytes) -> bytes:
    """An mp3 of lame at 44.1 kHz and 128 kbit/s without its first frame, which describes the others."""
    return content[417:]


def _of(name: str) -> Callable[[Path], bytes]:
    return lambda directory: make(directory, name).read_bytes()


def _title(version: int) -> bytes:
    text = b"\x03Sea Song"
    return b"TIT2" + _frame_head(len(text), syncsafe=version == 4) + text


def _picture(size: int) -> bytes:
    """An APIC frame whose picture is random bytes, and so holds false headers too."""
    picture = b"\x00image/jpeg\x00\x03\x00" + b"\xff\xd8\xff\xe0" + noise(size, 12)
    return b"APIC" + _frame_head(len(picture)) + picture


def _half(name: str) -> Callable[[Path], bytes]:
    def half(directory: Path) -> bytes:
        content = make(directory, name).read_bytes()
        return content[: len(content) // 2 + 150]  # in the middle of a frame

    return half


def _junk_inside(directory: Path) -> bytes:
    content, first = make(directory, "cbr128").read_bytes(), _half("cbr128")(directory)
    return first + noise(1000, 7) + content[len(first) :]


def _joined(*names: str, between: bytes = b"") -> Callable[[Path], bytes]:
    return lambda directory: between.join(make(directory, name).read_bytes() for name in names)


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(300) for _ in range(100))
    header = struct.pack(">IIBBBBB", 100, 100, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _zip(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("song.mp3"), make(directory, "cbr128").read_bytes())
    return buffer.getvalue()


_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)
_TEXT = "Fifteen men on the dead man's chest - yö-ho-ho, and a bottle of rum!\n".encode()
_HTML = b"<!DOCTYPE html>\n<html><head><title>Log in</title></head><body><p>Please log in.</p></body></html>\n"

_TAGGED: dict[str, Callable[[Path], bytes]] = {
    "ffmpeg_cbr": lambda directory: _ffmpeg(directory, "-c:a libmp3lame -b:a 192k"),
    "ffmpeg_vbr": lambda directory: _ffmpeg(directory, "-c:a libmp3lame -q:a 3"),
    "ffmpeg_no_xing": lambda directory: _ffmpeg(directory, "-c:a libmp3lame -q:a 3 -write_xing 0 -id3v2_version 0"),
    "id3v23": lambda directory: id3(_title(3)) + _of("vbr")(directory),
    "id3v24_id3v1": lambda directory: id3(_title(4), version=4) + _of("cbr128")(directory) + id3v1(),
    "id3_twice": lambda directory: id3(_title(3)) + id3(_title(4), version=4) + _of("vbr")(directory),
    "ape": lambda directory: _of("cbr128")(directory) + ape(),
    "ape_id3v1": lambda directory: _of("cbr128")(directory) + ape() + id3v1(),
    "ape1_id3v1": lambda directory: _of("cbr128")(directory) + ape(version=1000) + id3v1(),
    "lyrics3": lambda directory: _of("vbr")(directory) + lyrics3() + id3v1(),
    "cover": lambda directory: id3(_title(3) + _picture(12_000_000)) + _of("vbr")(directory),
    "id3_padding_outside": lambda directory: id3(_title(3)) + bytes(200_000) + _of("vbr")(directory),
    "three_frames": lambda directory: _frames(_of("cbr128")(directory))[: 417 + 418 + 418],
}

_DAMAGED: dict[str, Callable[[Path], bytes]] = {
    "half": _half("cbr128"),
    "half_vbr": _half("vbr"),
    "half_id3v1": lambda directory: _half("cbr128")(directory) + id3v1(),
    "junk_inside": _junk_inside,
    "junk_first": lambda directory: noise(3000, 8) + _of("vbr")(directory),
    "junk_last": lambda directory: _of("cbr128")(directory) + noise(3000, 9),
    "joined": _joined("cbr128", "cbr320"),
    "joined_rates": _joined("cbr128", "rate_22050", "rate_48000_vbr"),
    "joined_tagged": lambda directory: (
        id3(_title(3))
        + _of("cbr128")(directory)
        + id3v1()
        + id3(_title(4), version=4)
        + _of("vbr")(directory)
        + id3v1()
    ),
    "id3_too_short": lambda directory: id3(_title(3) + _picture(20_000), claim=50) + _of("vbr")(directory),
    "id3_too_long": lambda directory: id3(_title(3), claim=30_000) + _of("cbr128")(directory),
}

_OTHERS: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "wav": (".wav", lambda directory: source(directory, 12, 44100).read_bytes()),
    "wav_mp3": (".wav", lambda directory: _ffmpeg(directory, "-c:a libmp3lame -b:a 128k", format_="wav")),
    "flac": (".flac", lambda directory: _ffmpeg(directory, "-c:a flac", format_="flac")),
    "ogg": (".ogg", lambda directory: _ffmpeg(directory, "-c:a flac", format_="ogg")),
    "aac": (".aac", lambda directory: _ffmpeg(directory, "-c:a aac", format_="adts")),
    "m4a": (".m4a", lambda directory: _ffmpeg(directory, "-c:a aac", format_="ipod")),
    "mp2": (".mp2", lambda directory: _ffmpeg(directory, "-c:a mp2", format_="mp2")),
    "pdf": (".pdf", lambda _: _PDF),
    "text": (".mp3", lambda _: _TEXT * 3000),
    "short_text": (".mp3", lambda _: _TEXT),
    "html": (".mp3", lambda _: _HTML),
    "id3_html": (".mp3", lambda _: id3(_title(3)) + _HTML * 50),
    "id3_only": (".mp3", lambda _: id3(_title(3))),
    "id3_claims_all": (".mp3", lambda directory: id3(_title(3), claim=1 << 27) + _of("cbr128")(directory)),
    "png": (".png", lambda _: _png()),
    "gzip": (".gz", lambda directory: gzip.compress(_of("cbr128")(directory), mtime=0)),
    "zip": (".zip", _zip),
    "zeros": (".mp3", lambda _: bytes(200_000)),
    "empty": (".mp3", lambda _: b""),
}

_MAKERS = {**_TAGGED, **_DAMAGED, **{name: maker for name, (_, maker) in _OTHERS.items()}}
_SUFFIXES = {name: suffix for name, (suffix, _) in _OTHERS.items()}

VALID = (*_ENCODED, *_TAGGED)
DAMAGED = tuple(_DAMAGED)
NOT_MP3 = (*_OTHERS, *(f"random_{seed}" for seed in range(10)))
