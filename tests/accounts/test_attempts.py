import pytest

from service.accounts import attempts as module
from service.accounts.attempts import Attempts
from service.errors import RateLimited


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def attempts(clock):
    return Attempts(10, clock=clock)


def fail(attempts, times, name="admin", address="10.0.0.1"):
    for _ in range(times):
        attempts.begin(name, address)


def test_ten_tries_a_minute_then_none(attempts, clock):
    fail(attempts, 10)
    with pytest.raises(RateLimited):
        attempts.begin("admin", "10.0.0.1")
    clock.now += 59.9
    with pytest.raises(RateLimited):
        attempts.begin("admin", "10.0.0.1")
    clock.now += 0.2
    attempts.begin("admin", "10.0.0.1")


def test_no_minute_has_more_than_ten_tries(attempts, clock):
    passed = []
    for _ in range(3000):
        clock.now += 0.1
        try:
            attempts.begin("admin", "10.0.0.1")
        except RateLimited:
            continue
        passed.append(clock.now)
    assert len(passed) >= 40
    assert all(later - earlier >= 60 for earlier, later in zip(passed, passed[10:], strict=False))


def test_waiting_as_long_as_told_is_enough(attempts, clock):
    fail(attempts, 5)
    clock.now += 20.5
    fail(attempts, 5)
    with pytest.raises(RateLimited) as caught:
        attempts.begin("admin", "10.0.0.1")
    assert caught.value.facts["retry_after"] == 40
    clock.now += 40
    attempts.begin("admin", "10.0.0.1")


def test_the_owner_gets_in_from_another_address(attempts):
    fail(attempts, 10)
    attempts.begin("admin", "10.0.0.2")


def test_the_case_of_a_name_makes_no_other_name(attempts):
    fail(attempts, 10, "admin")
    with pytest.raises(RateLimited):
        attempts.begin("ADMIN", "10.0.0.1")


def test_an_address_has_ten_times_as_many_over_all_names(attempts):
    for number in range(100):
        attempts.begin(f"user{number}", "10.0.0.1")
    with pytest.raises(RateLimited):
        attempts.begin("another", "10.0.0.1")
    attempts.begin("another", "10.0.0.2")


def test_a_network_of_64_bits_is_one_address(attempts):
    fail(attempts, 10, address="2001:db8::1")
    with pytest.raises(RateLimited):
        attempts.begin("admin", "2001:db8::ffff:2")
    attempts.begin("admin", "2001:db8:0:1::1")


def test_a_try_that_succeeded_does_not_count(attempts):
    for _ in range(500):
        attempts.begin("admin", "10.0.0.1")()
    assert len(attempts) == 0
    fail(attempts, 9)
    attempts.begin("admin", "10.0.0.1")()
    attempts.begin("admin", "10.0.0.1")
    with pytest.raises(RateLimited):
        attempts.begin("admin", "10.0.0.1")


def test_memory_is_bounded(attempts, monkeypatch):
    monkeypatch.setattr(module, "MAX_KEYS", 100)
    for number in range(1000):
        attempts.begin("name" * 1000, f"10.0.{number // 256}.{number % 256}")
    assert len(attempts) == 100
    assert all(len(part) <= 64 for key in attempts._tries for part in key)
