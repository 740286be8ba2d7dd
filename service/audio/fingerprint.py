"""Whether two recordings sound the same: compares their fingerprints, which `service.audio.chromaprint` takes.

A fingerprint is a row of 32-bit words, packed little-endian, eight of them for each second; every bit says whether some
change of the harmony went up or down. Encoders leave nearly all of the bits alone, other music agrees in half of them.
"""

from dataclasses import dataclass

WORD = 4  # bytes
BITS = 8 * WORD

# Encoders and cutters put up to this many words (about four seconds) before the music or take them away.
FARTHEST = 32

# Fewer words than this in common (about five seconds) prove nothing.
LEAST = 40

# The word of digital silence. It is not counted where both are silent: the instruments of one song are recorded one by
# one, and rest together.
SILENT = (627964279).to_bytes(WORD, "little")

# From here on two of them are one recording. Its encodings reach 0.90 at worst (noise, drums, quiet speech) and nearly
# always 0.95. Another mix of it, or the same notes 5 % faster if there are only twelve seconds of them, reach 0.89, two
# strokes of one gong 0.86, other music seldom 0.4 (rows `same` of the benchmark).
SAME = 0.9


@dataclass(frozen=True, slots=True)
class _Row:
    """A fingerprint as numbers, the first word in their lowest bits."""

    bits: int
    moving: int  # the bits that are another in the next word
    silent: int  # all bits of silent words
    words: int


def similarity(first: bytes, second: bytes) -> float:
    """The share of equal bits where the two fit best, stretched so that 0 is chance and 1 is equality.

    The beginnings of two files need not be whole words apart, and half a word changes a tenth of the bits. But a bit
    that is the same in two words is the same between them: only such bits are counted.

    Takes half a millisecond for two minutes.
    """
    one, other = _row(first), _row(second)
    return max(_best(one, other), _best(other, one))


def _best(early: _Row, late: _Row) -> float:
    best = 0.0
    for shift in range(FARTHEST + 1):
        words = min(early.words - shift, late.words)
        if words < LEAST:
            break
        heard = ~((early.silent >> shift * BITS) & late.silent) & ((1 << words * BITS) - 1)
        counted = heard & ~(early.moving >> shift * BITS)
        bits = counted.bit_count()
        if heard.bit_count() >= LEAST * BITS and bits >= LEAST * BITS // 4:
            different = ((early.bits >> shift * BITS) ^ late.bits) & counted
            best = max(best, 1 - 2 * different.bit_count() / bits)
    return best


def _row(fingerprint: bytes) -> _Row:
    words = len(fingerprint) // WORD
    bits = int.from_bytes(fingerprint[: words * WORD], "little")
    moving = (bits ^ (bits >> BITS)) & ((1 << max(0, words - 1) * BITS) - 1)
    silent = 0
    if SILENT in fingerprint:
        places = (fingerprint[place : place + WORD] for place in range(0, words * WORD, WORD))
        silent = int.from_bytes(b"".join((b"\xff" if word == SILENT else b"\0") * WORD for word in places), "little")
    return _Row(bits, moving, silent, words)
