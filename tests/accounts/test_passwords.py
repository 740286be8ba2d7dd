import asyncio
import resource
from pathlib import Path

import argon2
import pytest

from service.accounts.passwords import MAX_BYTES, MAX_WAITING, Passwords, check, common_passwords, find_fault
from service.errors import Invalid, Overloaded

MEMORY_KIB = 8192
GOOD = "correct horse battery"


@pytest.fixture
async def passwords():
    made = Passwords(memory_kib=MEMORY_KIB)
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("elevenchars", "at least 12"),
        ("x" * 3 + "\0" + "y" * 20, "NUL"),
        ("é" * (MAX_BYTES // 2) + "é", "at most 1024 bytes"),
        ("passwordpassword", "tried first"),
        ("PasswordPassword", "tried first"),
        ("qwerty123456", "tried first"),
        ("Chris.Long-Name", "Must not be the name"),
    ],
)
def test_a_poor_password_is_refused_with_the_reason(password, words):
    assert words in find_fault(password, min_length=12, name="chris.long-name")


@pytest.mark.parametrize(
    "password",
    [GOOD, " twelve chars", "x" * 1021 + "é", "пароль пароль", "🎵🎶🎵🎶🎵🎶🎵🎶🎵🎶🎵🎶", "a\tb c\nd e f g"],
)
def test_everything_else_is_taken(password):
    assert find_fault(password, min_length=12, name="admin") is None


def test_a_refusal_points_to_the_field():
    with pytest.raises(Invalid) as caught:
        check("short", min_length=12, field="password")
    assert caught.value.facts["errors"] == [{"pointer": "/password", "detail": "Must have at least 12 characters."}]


def test_the_list_has_a_thousand_passwords_that_are_long_enough_to_matter():
    assert sum(len(each) >= 12 for each in common_passwords()) > 1000
    assert all(each == each.lower() for each in common_passwords())


async def test_a_hash_is_argon2id_with_the_parameters_of_the_settings(passwords):
    encoded = await passwords.hash(GOOD)
    assert encoded.startswith("$argon2id$")
    parameters = argon2.extract_parameters(encoded)
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (MEMORY_KIB, 2, 1)
    assert (parameters.salt_len, parameters.hash_len) == (16, 32)


async def test_the_bytes_of_a_password_count_as_they_are(passwords):
    encoded = await passwords.hash("caf\u00e9 " + "x" * 1000)
    assert await passwords.verify(encoded, "caf\u00e9 " + "x" * 1000)
    for other in (
        "cafe\u0301 " + "x" * 1000,
        "caf\u00e9 " + "x" * 999,
        "Caf\u00e9 " + "x" * 1000,
        "caf\u00e9" + "x" * 1000,
    ):
        assert not await passwords.verify(encoded, other)


async def test_nobody_has_a_hash_of_the_same_cost_and_no_password(passwords):
    assert argon2.extract_parameters(passwords._nobody) == argon2.extract_parameters(await passwords.hash(GOOD))
    assert not await passwords.verify(None, GOOD)


async def test_a_broken_hash_is_no_login(passwords):
    assert not await passwords.verify("$argon2id$nonsense", GOOD)


async def test_no_memory_for_a_hash_is_overload_and_not_a_wrong_password(passwords):
    encoded = "$argon2id$v=19$m=4194304,t=1,p=1$" + passwords._nobody.split("$", 4)[4]
    await passwords.hash(GOOD)  # the thread has its stack
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), hard))
    try:
        with pytest.raises(Overloaded):
            await passwords.verify(encoded, GOOD)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


async def test_other_parameters_are_outdated(passwords):
    encoded = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(GOOD)
    assert passwords.is_outdated(encoded)
    assert not passwords.is_outdated(await passwords.hash(GOOD))


async def test_what_waits_is_bounded_and_the_rest_refused_at_once(passwords):
    results = await asyncio.gather(*(passwords.verify(None, GOOD) for _ in range(100)), return_exceptions=True)
    refused = [each for each in results if isinstance(each, Overloaded)]
    assert MAX_WAITING < results.count(False) <= MAX_WAITING + 2
    assert len(refused) == 100 - results.count(False)
    assert refused[0].facts["retry_after"] >= 1
    assert not await passwords.verify(None, GOOD)  # and afterwards there is room again


async def test_the_event_loop_runs_while_a_hash_is_made(passwords):
    work = asyncio.create_task(passwords.hash(GOOD))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.0005)
        turns += 1
    assert turns > 3
