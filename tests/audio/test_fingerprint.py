"""How alike two fingerprints are, as a function of bytes."""

import random
import time

import pytest

from service.audio.fingerprint import FARTHEST, LEAST, SAME, SILENT, similarity


def words(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(4 * count)


def flipped(fingerprint: bytes, share: float) -> bytes:
    """The same with so many of its bits turned over."""
    chance = random.Random(1)
    return bytes(byte ^ sum(1 << bit for bit in range(8) if chance.random() < share) for byte in fingerprint)


def test_equal_ones_have_1_and_strangers_next_to_nothing():
    assert similarity(words(900), words(900)) == 1
    assert similarity(words(900), words(900, 1)) < 0.1


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_it_is_the_share_of_equal_bits_between_chance_and_all(share):
    assert similarity(words(900), flipped(words(900), share)) == pytest.approx(1 - 2 * share, abs=0.03)


@pytest.mark.parametrize("shift", [1, 7, FARTHEST])
def test_music_that_begins_later_is_found(shift):
    later = words(shift, 5) + words(900)
    cut = words(900)[4 * shift :]
    for one, other in ((words(900), later), (words(900), cut)):
        assert similarity(one, other) == similarity(other, one) == 1


def test_music_that_begins_much_later_is_not():
    assert similarity(words(900), words(FARTHEST + 2, 5) + words(900)) < SAME


def test_music_that_begins_between_two_words_is_found():
    """As if there were two words for each, and each of the two had every second one of them."""
    chance = random.Random(2)
    halves = [chance.getrandbits(32)]
    for _ in range(1799):
        halves.append(halves[-1] ^ sum(1 << bit for bit in range(32) if chance.random() < 0.09))
    early, late = (b"".join(word.to_bytes(4, "little") for word in halves[first::2]) for first in (0, 1))
    different = (int.from_bytes(early) ^ int.from_bytes(late)).bit_count()
    assert 1 - 2 * different / (8 * len(early)) < 0.85
    assert similarity(early, late) == similarity(late, early) > 0.95


def test_one_that_ends_earlier_is_the_same_as_far_as_it_goes():
    assert similarity(words(900), words(900)[: 4 * 600]) == 1


@pytest.mark.parametrize("count", [0, 1, LEAST - 1])
def test_too_little_proves_nothing(count):
    assert similarity(words(count), words(count)) == 0
    assert similarity(words(900), words(count)) == 0


def test_a_few_words_that_happen_to_agree_at_an_end_are_not_enough():
    """However far it is shifted, there must be enough of both."""
    few = words(LEAST - 10, 7)
    assert similarity(few + words(20, 8), words(20, 9) + few) < SAME


def test_a_short_one_with_much_in_front_is_found():
    assert similarity(words(LEAST), words(30, 5) + words(LEAST)) == 1


def test_silence_resembles_nothing():
    assert similarity(SILENT * 900, SILENT * 900) == 0
    assert similarity(words(LEAST - 1) + SILENT * 900, words(LEAST - 1) + SILENT * 900) == 0


def test_two_that_rest_together_are_not_the_same_for_it():
    """As two instruments do that were recorded one by one: nine tenths of them are silence, at the same time."""
    drums = SILENT * 400 + words(50) + SILENT * 400 + words(50, 1)
    horns = SILENT * 400 + words(50, 2) + SILENT * 400 + words(50, 3)
    assert similarity(drums, horns) < 0.2


def test_one_that_rests_is_found_by_what_is_played():
    drums = SILENT * 400 + words(50) + SILENT * 400
    later = SILENT * 7 + SILENT * 400 + flipped(words(50), 0.02) + SILENT * 300
    assert similarity(drums, later) == similarity(later, drums) == pytest.approx(0.96, abs=0.02)


def test_where_one_is_silent_and_the_other_is_not_they_differ():
    assert similarity(words(450) + SILENT * 450, words(900)) == pytest.approx(0.5, abs=0.05)


def test_silence_counts_by_whole_words_only():
    """The bytes of the word may also stand across two."""
    across = b"\0" + SILENT + b"\0\0\0"
    assert similarity(across * 450, across * 450) == 1


def test_a_thousand_pairs_take_no_time_worth_noting():
    one, other = words(950), words(950, 1)
    started = time.process_time()
    for _ in range(50):
        similarity(one, other)
    assert (time.process_time() - started) / 50 < 0.005
