"""Whether another encoding of a recording is recognised, and nothing else is taken for one.

Pieces of music, each encoded in many ways, and relatives of some of them: the same notes in another key or faster, the
same chords and drums under another melody. And real recordings, if somebody has put some there. Every file is decoded
as the service does it, and every pair compared.
"""

import itertools
import subprocess
import tempfile
import time
import wave
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench import music
from bench.paths import CONTENT, PROJECT, RECORDINGS
from bench.row import Row, Run, Shot, Side
from service.audio.decode import measure
from service.audio.fingerprint import SAME, similarity


class Encoding(NamedTuple):
    command: list[str]  # the program and its options
    before: tuple[str, ...] = ()  # of ffmpeg, for its input
    of: str = ""  # an encoding that is encoded once more, and not the recording


ENCODINGS = {
    "lame cbr 320": Encoding(["lame", "-b", "320"]),
    "lame cbr 128": Encoding(["lame", "-b", "128"]),
    "lame cbr 64 mono": Encoding(["lame", "-m", "m", "-b", "64"]),
    "lame vbr 2": Encoding(["lame", "-V", "2"]),
    "lame vbr 7": Encoding(["lame", "-V", "7"]),
    "lame abr 160": Encoding(["lame", "--abr", "160"]),
    "lame 22.05 kHz 48": Encoding(["lame", "--resample", "22.05", "-b", "48"]),
    "lame 8 dB quieter 96": Encoding(["lame", "--scale", "0.4", "-b", "96"]),
    "ffmpeg cbr 192": Encoding(["ffmpeg", "-b:a", "192k"]),
    "ffmpeg vbr 5": Encoding(["ffmpeg", "-q:a", "5"]),
    "0.7 s cut off, 128": Encoding(["ffmpeg", "-b:a", "128k"], before=("-ss", "0.7")),
    "2 s cut off, vbr 4": Encoding(["ffmpeg", "-q:a", "4"], before=("-ss", "2")),
    "1.5 s of silence in front, 128": Encoding(["ffmpeg", "-af", "adelay=1500:all=1", "-b:a", "128k"]),
}
RELATED_EVERY = 4  # one piece of so many has relatives

# Of real recordings. The encoder's fastest quality: a third of the time, and if anything harder to recognise.
_LAME = ["lame", "-q", "7"]
_FFMPEG = ["ffmpeg", "-compression_level", "7"]
OF_RECORDINGS = {
    "lame cbr 320": Encoding([*_LAME, "-b", "320"]),
    "lame cbr 192": Encoding([*_LAME, "-b", "192"]),
    "lame cbr 128": Encoding([*_LAME, "-b", "128"]),
    "lame cbr 96": Encoding([*_LAME, "-b", "96"]),
    "lame cbr 48 mono": Encoding([*_LAME, "-m", "m", "-b", "48"]),
    "lame vbr 4": Encoding([*_LAME, "-V", "4"]),
    "lame 22.05 kHz 64": Encoding([*_LAME, "--resample", "22.05", "-b", "64"]),
    "lame 6 dB quieter 128": Encoding([*_LAME, "--scale", "0.5", "-b", "128"]),
    "0.8 s cut off, 96": Encoding([*_FFMPEG, "-b:a", "96k"], before=("-ss", "0.8")),  # half a word of the fingerprint
    "1 s cut off, 128": Encoding([*_FFMPEG, "-b:a", "128k"], before=("-ss", "1")),
    "2 s of silence in front, 128": Encoding([*_FFMPEG, "-af", "adelay=2000:all=1", "-b:a", "128k"]),
    "ffmpeg 96 of lame 128": Encoding([*_FFMPEG, "-b:a", "96k"], of="lame cbr 128"),
    "ffmpeg 192 of lame 48 mono": Encoding([*_FFMPEG, "-b:a", "192k"], of="lame cbr 48 mono"),
}
RECORDED = {".aif", ".aiff", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav"}
SECONDS = 60  # of a recording; half of what a fingerprint takes is harder
QUICK = 10  # recordings
NEAREST = 20  # pairs on either side of the threshold that the raw figures name


class Heard(NamedTuple):
    """One file: of which piece, how it is related, how it was encoded, its fingerprint."""

    piece: str
    relation: str
    encoding: str
    fingerprint: bytes


def rows(run: Run) -> list[Row]:
    is_quick = run.big < 1 << 30
    sets = ((8, 30),) if is_quick else ((16, 30), (12, 12))
    synthetic = [
        Row(
            f"same-{seconds}s",
            f"equal sound of {pieces} pieces of {seconds} s",
            "%",
            partial(_sides_of_pieces, pieces, seconds),
            is_absolute=True,
        )
        for pieces, seconds in sets
    ]
    recordings = _recordings()
    if is_quick:
        recordings = recordings[:: max(1, len(recordings) // QUICK)]
    where = RECORDINGS.relative_to(PROJECT)
    title = f"equal sound of {len(recordings)} recordings" if recordings else f"equal sound: nothing is in {where}/"
    return [*synthetic, Row("same-own", title, "%", partial(_sides_of_recordings, recordings), is_absolute=True)]


@contextmanager
def _sides_of_pieces(pieces: int, seconds: int) -> Iterator[list[Side]]:
    found = _compare(list(_pieces(pieces, seconds)))
    yield _sides(found, {"highest of two relatives": 100 * max(found.relatives)}, {})


@contextmanager
def _sides_of_recordings(recordings: list[Path]) -> Iterator[list[Side]]:
    if not recordings:
        yield []
        return
    heard = list(_of_recordings(recordings))
    found = _compare(heard)
    yield _sides(found, {}, {"recordings": len({one.piece for one in heard}), **found.nearest()})


def _sides(found: "_Found", also: dict[str, float], facts: dict[str, Any]) -> list[Side]:
    facts |= {"pairs": found.pairs, "ms_a_pair": found.ms_a_pair, "threshold": SAME}
    figures = {
        "recall": found.recall,
        "precision": found.precision,
        "lowest of two encodings": 100 * min(found.same),
        "highest of two pieces": 100 * max(found.others),
        **also,
    }
    return [Side(label, partial(Shot, value, facts)) for label, value in figures.items()]


class _Found:
    """The similarities of all pairs, by what they are."""

    def __init__(self) -> None:
        self.same: list[float] = []
        self.others: list[float] = []
        self.relatives: list[float] = []
        self.ms_a_pair = 0.0
        self._extremes: dict[tuple[str, str], tuple[float, str]] = {}  # by pieces

    @property
    def pairs(self) -> int:
        return len(self.same) + len(self.others) + len(self.relatives)

    @property
    def recall(self) -> float:
        return 100 * _over(self.same) / len(self.same)

    @property
    def precision(self) -> float:
        right = _over(self.same)
        return 100 * right / (right + _over(self.others) + _over(self.relatives))

    def take(self, one: Heard, other: Heard) -> None:
        value = similarity(one.fingerprint, other.fingerprint)
        is_same = one.piece == other.piece
        of_piece = self.same if one.relation == other.relation else self.relatives
        (of_piece if is_same else self.others).append(value)
        pieces = one.piece, other.piece
        if pieces not in self._extremes or (value < self._extremes[pieces][0]) == is_same:
            self._extremes[pieces] = value, f"{one.piece} ({one.encoding}) | {other.piece} ({other.encoding})"

    def nearest(self) -> dict[str, list[str]]:
        """The worst pair of every recording, and of every two of them, by name: the lowest and the highest first."""
        same = sorted(worst for (one, other), worst in self._extremes.items() if one == other)
        others = sorted((worst for (one, other), worst in self._extremes.items() if one != other), reverse=True)
        return {"lowest": _listed(same), "highest": _listed(others)}


def _listed(pairs: list[tuple[float, str]]) -> list[str]:
    return [f"{value:.3f} {names}" for value, names in pairs[:NEAREST]]


def _over(values: list[float]) -> int:
    return sum(value >= SAME for value in values)


def _compare(heard: list[Heard]) -> _Found:
    found = _Found()
    started = time.perf_counter()
    for one, other in itertools.combinations(heard, 2):
        found.take(one, other)
    found.ms_a_pair = (time.perf_counter() - started) * 1000 / found.pairs
    return found


def _pieces(pieces: int, seconds: int) -> Iterator[Heard]:
    """Every encoding of every piece and relative."""
    with tempfile.TemporaryDirectory(dir=CONTENT) as directory:
        sound = Path(directory) / "sound.wav"
        for number in range(pieces):
            score = music.Score.of(number, seconds)
            scores = {"": score}
            if number % RELATED_EVERY == 0:
                scores |= {relation: change(score) for relation, change in music.RELATIVES.items()}
            for relation, each in scores.items():
                _play(each, sound)
                for encoding, path in _encode(sound, ENCODINGS):
                    yield Heard(str(number), relation, encoding, _fingerprint(path))


def _recordings() -> list[Path]:
    """What lies there, in folders or not; the path is the name of the recording."""
    return sorted(path for path in RECORDINGS.rglob("*") if path.suffix.lower() in RECORDED)


def _of_recordings(recordings: Iterable[Path]) -> Iterator[Heard]:
    """Every encoding of the beginning of every recording."""
    with tempfile.TemporaryDirectory(dir=CONTENT) as directory:
        sound = Path(directory) / "sound.wav"
        for recording in recordings:
            _run("ffmpeg", "-v", "error", "-y", "-i", recording, "-t", SECONDS, "-vn", "-ac", 2, "-ar", 44_100, sound)
            for encoding, path in _encode(sound, OF_RECORDINGS):
                yield Heard(str(recording.relative_to(RECORDINGS)), "", encoding, _fingerprint(path))


def _play(score: music.Score, path: Path) -> None:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(music.RATE)
        out.writeframes((music.piece(score) * 32_000).astype("<i2").tobytes())


def _encode(sound: Path, encodings: dict[str, Encoding]) -> Iterator[tuple[str, Path]]:
    """The names and files, next to the sound; the next one that is called the same overwrites them."""
    paths: dict[str, Path] = {}
    for name, ((program, *options), before, of) in encodings.items():
        source = paths[of] if of else sound
        path = paths[name] = sound.with_name(f"{len(paths)}.mp3")
        if program == "lame":
            _run("lame", "--quiet", *options, source, path)
        else:
            _run("ffmpeg", "-v", "error", "-y", *before, "-i", source, *options, "-c:a", "libmp3lame", path)
        yield name, path


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True)


def _fingerprint(path: Path) -> bytes:
    fingerprint = measure(path).fingerprint
    if fingerprint is None:
        raise RuntimeError("there are no fingerprints: libchromaprint1 is not installed")
    return fingerprint
