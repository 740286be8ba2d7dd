"""How alike two fingerprints are, as a function of bytes."""

import random
import time

import pytest

from service.audio.fingerprint import FARTHEST, LEAST, SAME, similarity


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
    assert similarity(words(900), words(FARTHEST + 1, 5) + words(900)) < SAME


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


def test_a_thousand_pairs_take_no_time_worth_noting():
    one, other = words(950), words(950, 1)
    started = time.process_time()
    for _ in range(50):
        similarity(one, other)
    assert (time.process_time() - started) / 50 < 0.005
