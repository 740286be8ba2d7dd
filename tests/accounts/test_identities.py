import pytest

from service.accounts import identities as module
from service.accounts.identities import Identities
from service.accounts.permissions import Identity


def someone(user_id="u1", credential_id="c1"):
    return Identity(user_id, "name", False, frozenset({"read"}), "token", credential_id)


@pytest.fixture
def moment():
    return [100.0]


@pytest.fixture
def identities(moment):
    return Identities(clock=lambda: moment[0])


def remember(identities, key, identity, lifetime_s=3600.0, generation=None):
    generation = identities.generation if generation is None else generation
    identities.remember(key, identity, generation=generation, lifetime_s=lifetime_s)


def test_an_identity_is_known_for_two_seconds(identities, moment):
    remember(identities, b"a", someone())
    moment[0] += 1.9
    assert identities.find(b"a") == someone()
    assert identities.find(b"b") is None
    moment[0] += 0.2
    assert identities.find(b"a") is None


def test_an_identity_ends_with_its_credential(identities, moment):
    remember(identities, b"a", someone(), lifetime_s=0.5)
    moment[0] += 0.6
    assert identities.find(b"a") is None


def test_a_dropped_user_or_credential_is_forgotten_and_others_are_not(identities):
    remember(identities, b"a", someone("u1", "c1"))
    remember(identities, b"b", someone("u1", "c2"))
    remember(identities, b"c", someone("u2", "c3"))
    identities.drop(credential_id="c1")
    assert [identities.find(key) is None for key in (b"a", b"b", b"c")] == [True, False, False]
    identities.drop(user_id="u1")
    assert [identities.find(key) is None for key in (b"a", b"b", b"c")] == [True, True, False]


def test_a_lookup_that_began_before_a_drop_is_not_remembered_after_it(identities):
    before = identities.generation
    identities.drop(user_id="u1")
    remember(identities, b"a", someone("u1"), generation=before)
    assert identities.find(b"a") is None


def test_memory_is_bounded(identities, monkeypatch):
    monkeypatch.setattr(module, "MAX_ENTRIES", 10)
    for number in range(100):
        remember(identities, bytes([number]), someone())
    assert len(identities._entries) == 10
    assert identities.find(bytes([99])) is not None
