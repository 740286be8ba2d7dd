"""Whether two recordings sound the same: compares their fingerprints, which `service.audio.chromaprint` takes.

A fingerprint is a row of 32-bit words, packed little-endian, eight of them for each second; every bit says whether some
change of the harmony went up or down. Encoders leave nearly all of the bits alone, other music agrees in half of them.
"""

WORD = 4  # bytes
BITS = 8 * WORD

# Encoders and cutters put up to this many words (about four seconds) before the music or take them away.
FARTHEST = 32

# Fewer words than this in common (about five seconds) prove nothing.
LEAST = 40

# The word of digital silence. It is not counted where both are silent: the instruments of one song are recorded one by
# one, and rest together.
SILENT = (627964279).to_bytes(WORD, "little")

# From here on two of them are one recording. Its encodings reach 0.84 and more; the same notes 5 % faster, if there are
# only twelve seconds of them, 0.80; two songs over one and the same backing 0.72; other music 0.43 (rows `same` of the
# benchmark).
SAME = 0.82


def similarity(first: bytes, second: bytes) -> float:
    """The share of equal bits where the two fit best, stretched so that 0 is chance and 1 is equality.

    Takes a quarter of a millisecond for two minutes.
    """
    best = 0.0
    for one, other in ((first, second), (second, first)):
        early, early_words, early_rests = _number(one)
        late, late_words, late_rests = _number(other)
        for shift in range(FARTHEST + 1):
            words = min(early_words - shift, late_words)
            rests = (early_rests >> shift) & late_rests & ((1 << max(0, words)) - 1)
            heard = words - rests.bit_count()
            if heard >= LEAST:
                different = ((early >> shift * BITS) ^ late) & ((1 << words * BITS) - 1)
                best = max(best, 1 - 2 * different.bit_count() / (heard * BITS))
    return best


def _number(fingerprint: bytes) -> tuple[int, int, int]:
    """All words as one number, how many they are, and which of them are silent, a bit for each."""
    words = len(fingerprint) // WORD
    rests = 0
    if SILENT in fingerprint:
        places = (fingerprint[place : place + WORD] for place in range(0, words * WORD, WORD))
        rests = sum(1 << number for number, word in enumerate(places) if word == SILENT)
    return int.from_bytes(fingerprint[: words * WORD], "little"), words, rests
