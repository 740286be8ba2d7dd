"""Whether two recordings sound the same: compares their fingerprints, which `service.audio.chromaprint` takes.

A fingerprint is a row of 32-bit words, packed little-endian, eight of them for each second; every bit says whether some
change of the harmony went up or down. Encoders leave nearly all of the bits alone, other music agrees in half of them.
"""

WORD = 4  # bytes
BITS = 8 * WORD

# Encoders and cutters put up to this many words (about four seconds) before the music or take them away.
FARTHEST = 32

# Fewer words than this in common (about five seconds) prove nothing: silence resembles silence.
LEAST = 40

# From here on two of them are one recording. Its encodings reach 0.86 and more, two songs over one and the same backing
# 0.72, and other music 0.55 (bench, row `same`).
SAME = 0.8


def similarity(first: bytes, second: bytes) -> float:
    """The share of equal bits where the two fit best, stretched so that 0 is chance and 1 is equality.

    Takes a fifth of a millisecond for two minutes.
    """
    words = min(len(first), len(second)) // WORD
    one, other = (int.from_bytes(each[: words * WORD], "little") for each in (first, second))
    everything = (1 << words * BITS) - 1
    best = 0.0
    for shift in range(min(FARTHEST, words - LEAST) + 1):
        bits = (words - shift) * BITS
        for early, late in ((one, other), (other, one)):
            different = (early ^ late << shift * BITS & everything) >> shift * BITS
            best = max(best, 1 - 2 * different.bit_count() / bits)
    return best
