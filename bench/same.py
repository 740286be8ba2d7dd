"""Whether another encoding of a recording is recognised, and nothing else is taken for one.

Pieces of music, each encoded in many ways, and relatives of some of them: the same notes in another key or faster, the
same chords and drums under another melody. Every file is decoded as the service does it, and every pair compared.
"""

import itertools
import subprocess
import tempfile
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import music
from bench.paths import CONTENT
from bench.row import Row, Run, Shot, Side
from service.audio.decode import measure
from service.audio.fingerprint import SAME, similarity

# What is done to the sound by ffmpeg before, and the options of the encoder.
ENCODINGS: dict[str, tuple[list[str], list[str]]] = {
    "lame cbr 320": ([], ["lame", "-b", "320"]),
    "lame cbr 128": ([], ["lame", "-b", "128"]),
    "lame cbr 64 mono": ([], ["lame", "-m", "m", "-b", "64"]),
    "lame vbr 2": ([], ["lame", "-V", "2"]),
    "lame vbr 7": ([], ["lame", "-V", "7"]),
    "lame abr 160": ([], ["lame", "--abr", "160"]),
    "lame 22.05 kHz 48": ([], ["lame", "--resample", "22.05", "-b", "48"]),
    "lame 8 dB quieter 96": ([], ["lame", "--scale", "0.4", "-b", "96"]),
    "ffmpeg cbr 192": ([], ["ffmpeg", "-b:a", "192k"]),
    "ffmpeg vbr 5": ([], ["ffmpeg", "-q:a", "5"]),
    "0.7 s cut off, 128": (["-ss", "0.7"], ["ffmpeg", "-b:a", "128k"]),
    "2 s cut off, vbr 4": (["-ss", "2"], ["ffmpeg", "-q:a", "4"]),
    "1.5 s of silence in front, 128": ([], ["ffmpeg", "-af", "adelay=1500:all=1", "-b:a", "128k"]),
}
RELATED_EVERY = 4  # one piece of so many has relatives


def rows(run: Run) -> list[Row]:
    sets = ((8, 30),) if run.big < 1 << 30 else ((16, 30), (12, 12))
    return [
        Row(
            f"same-{seconds}s",
            f"equal sound of {pieces} pieces of {seconds} s",
            "%",
            partial(_sides, pieces, seconds),
            is_absolute=True,
        )
        for pieces, seconds in sets
    ]


@contextmanager
def _sides(pieces: int, seconds: int) -> Iterator[list[Side]]:
    found = _compare(_fingerprints(pieces, seconds))
    facts = {"pairs": found.pairs, "ms_a_pair": found.ms_a_pair, "threshold": SAME}
    figures = {
        "recall": found.recall,
        "precision": found.precision,
        "lowest of two encodings": 100 * min(found.same),
        "highest of two pieces": 100 * max(found.others),
        "highest of two relatives": 100 * max(found.relatives),
    }
    yield [Side(label, partial(Shot, value, facts)) for label, value in figures.items()]


class _Found:
    """The similarities of all pairs, by what they are."""

    def __init__(self) -> None:
        self.same: list[float] = []
        self.others: list[float] = []
        self.relatives: list[float] = []
        self.ms_a_pair = 0.0

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


def _over(values: list[float]) -> int:
    return sum(value >= SAME for value in values)


def _compare(fingerprints: list[tuple[int, str, bytes]]) -> _Found:
    found = _Found()
    started = time.perf_counter()
    for (piece, relation, one), (other_piece, other_relation, other) in itertools.combinations(fingerprints, 2):
        of_piece = found.same if relation == other_relation else found.relatives
        (of_piece if piece == other_piece else found.others).append(similarity(one, other))
    found.ms_a_pair = (time.perf_counter() - started) * 1000 / found.pairs
    return found


def _fingerprints(pieces: int, seconds: int) -> list[tuple[int, str, bytes]]:
    """Of every encoding of every piece and relative: number of the piece, how it is related, fingerprint."""
    taken = []
    with tempfile.TemporaryDirectory(dir=CONTENT) as directory:
        for number in range(pieces):
            score = music.Score.of(number, seconds)
            scores = {"": score}
            if number % RELATED_EVERY == 0:
                scores |= {relation: change(score) for relation, change in music.RELATIVES.items()}
            for relation, each in scores.items():
                for path in _encode(Path(directory), each):
                    fingerprint = measure(path).fingerprint
                    if fingerprint is None:
                        raise RuntimeError("there are no fingerprints: libchromaprint1 is not installed")
                    taken.append((number, relation, fingerprint))
    return taken


def _encode(directory: Path, score: music.Score) -> Iterator[Path]:
    sound, path = directory / "sound.wav", directory / "sound.mp3"
    with wave.open(str(sound), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(music.RATE)
        out.writeframes((music.piece(score) * 32_000).astype("<i2").tobytes())
    for before, (program, *options) in ENCODINGS.values():
        if program == "lame":
            command = ["lame", "--quiet", *options, sound, path]
        else:
            command = ["ffmpeg", "-v", "error", "-y", *before, "-i", sound, *options, "-c:a", "libmp3lame", path]
        subprocess.run(command, check=True)
        yield path
