"""Whether two recordings sound the same: compares their fingerprints, which `service.audio.chromaprint` takes.

A fingerprint is a row of 32-bit words, packed little-endian, eight of them for each second; every bit says whether some
change of the harmony went up or down. Encoders leave nearly all of the bits alone, other music agrees in half of them.
"""

WORD = 4  # bytes
WORDS_PER_SECOND = 11025 / (4096 / 3)  # of Chromaprint's algorithm: a window of 4,096 samples moves by a third

# Encoders and cutters put up to this many words (about four seconds) before the music or take them away.
FARTHEST = 32

# Fewer words than this in common (about five seconds) prove nothing: silence resembles silence.
LEAST = 40

# From here on two of them are one recording. Its encodings reach 0.86 and more, two songs over one and the same backing
# 0.72, and other music 0.55 (bench, row `same`).
SAME = 0.8


def similarity(first: bytes, second: bytes) -> float:
    """The share of equal bits where the two fit best, stretched so that 0 is chance and 1 is equality."""
    best = 0.0
    for shift in range(-FARTHEST, FARTHEST + 1):
        one, other = first[max(0, shift) * WORD :], second[max(0, -shift) * WORD :]
        length = min(len(one), len(other)) // WORD * WORD
        if length < LEAST * WORD:
            continue
        different = int.from_bytes(one[:length], "little") ^ int.from_bytes(other[:length], "little")
        best = max(best, 1 - 2 * different.bit_count() / (8 * length))
    return best
