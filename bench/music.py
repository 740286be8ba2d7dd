"""Pieces of music that nobody wrote: chords, a melody, a bass and drums, all drawn by chance from a seed.

`piece` gives the samples. `RELATIVES` say how a second piece may be like the first and still be another recording: the
same notes faster or in another key, the same chords under another melody.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
Samples = NDArray[np.float32]

_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9, 12, 14))
_BEATS = ((1, 0, 0, 0), (1, 0, 1, 0), (1, 1, 0, 1), (0, 1, 0, 1), (1, 0, 0, 1))


@dataclass(frozen=True)
class Score:
    """All that makes a piece what it is."""

    chords_seed: int
    melody_seed: int
    key: float  # hertz of its first tone
    tempo: float  # beats a minute
    seconds: float

    @classmethod
    def of(cls, seed: int, seconds: float) -> "Score":
        chance = random.Random(seed)
        return cls(seed, seed, 110 * 2 ** (chance.randrange(12) / 12), chance.uniform(70, 150), seconds)


RELATIVES = {
    "in another key": lambda score: replace(score, key=score.key * 2 ** (2 / 12)),
    "5 % faster": lambda score: replace(score, tempo=score.tempo * 1.05),
    "another melody": lambda score: replace(score, melody_seed=score.melody_seed + 1000),
    "other chords": lambda score: replace(score, chords_seed=score.chords_seed + 1000),
}


def piece(score: Score) -> Samples:
    """Two channels as columns, loud but not clipped."""
    chords, melody = random.Random(score.chords_seed), random.Random(score.melody_seed)
    noise = np.random.default_rng(score.chords_seed)
    scale, beat = chords.choice(_SCALES), 60 / score.tempo
    sound = np.zeros((round(score.seconds * RATE), 2), np.float32)
    partials = [chords.uniform(0, 1) / number for number in range(1, 8)]
    voice = [melody.uniform(0, 1) / number for number in range(1, 6)]
    progression = [chords.randrange(7) for _ in range(8)]
    drums = chords.choice(_BEATS), chords.choice(_BEATS)
    place = 7
    for number, start in enumerate(_times(score.seconds, beat)):
        degree = progression[number // 4 % len(progression)]
        if number % 4 == 0:
            for third in (0, 2, 4):
                _add(sound, start, _tone(_pitch(score, scale, degree + third), 4 * beat, partials) * 0.12, 0.5)
        _add(sound, start, _tone(_pitch(score, scale, degree) / 2, beat, [1, 0.4]) * 0.25, 0.5)
        for part in range(melody.choice((1, 1, 2, 2, 4))):
            place = max(3, min(17, place + melody.choice((-2, -1, -1, 1, 1, 2, 3))))
            length = beat / 2
            _add(sound, start + part * length, _tone(_pitch(score, scale, place), length, voice) * 0.2, 0.3)
        if drums[0][number % 4]:
            _add(sound, start, _tone(55, 0.15, [1]) * 0.5, 0.5)
        if drums[1][number % 4]:
            hit = noise.standard_normal(RATE // 8).astype(np.float32)
            _add(sound, start, hit * np.exp(-np.arange(len(hit)) / 1500, dtype=np.float32) * 0.08, 0.6)
    return np.tanh(1.4 * sound).astype(np.float32)


def _times(seconds: float, beat: float) -> Iterator[float]:
    return (number * beat for number in range(int(seconds / beat)))


def _pitch(score: Score, scale: tuple[int, ...], degree: int) -> float:
    octave, step = divmod(degree, len(scale))
    return float(score.key * 2 ** (octave + scale[step] / 12))


def _tone(hertz: float, seconds: float, partials: list[float]) -> Samples:
    times = np.arange(round(seconds * RATE), dtype=np.float32) / RATE
    waves = (
        level * np.sin(math.tau * hertz * number * times)
        for number, level in enumerate(partials, 1)
        if hertz * number < 16_000
    )
    shape = np.minimum(times / 0.01, 1) * np.minimum((seconds - times) / 0.03, 1) * np.exp(-times * 1.5)
    return (sum(waves) * shape).astype(np.float32)


def _add(sound: Samples, start: float, tone: Samples, left: float) -> None:
    at = round(start * RATE)
    tone = tone[: max(0, len(sound) - at)]
    sound[at : at + len(tone), 0] += tone * left * 2
    sound[at : at + len(tone), 1] += tone * (1 - left) * 2
