"""Passwords: which are taken, and their Argon2id hashes, made off the event loop, a bounded number at a time."""

import asyncio
import base64
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import argon2
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError

from service.errors import Invalid, Overloaded

T = TypeVar("T")

MAX_BYTES = 1024
MAX_WAITING = 32
RETRY_AFTER_S = 2
SALT_BYTES = 16
HASH_BYTES = 32
PASSES = 2
NO_MEMORY = "Memory allocation error"  # as argon2 words it

COMMON = Path(__file__).parents[1] / "data" / "common-passwords.txt"


@cache
def common_passwords() -> frozenset[str]:
    """The passwords everybody tries first, in lower case."""
    return frozenset(COMMON.read_text(encoding="utf-8").split())


def find_fault(password: str, *, min_length: int, name: str = "") -> str | None:
    """What is wrong with a new password, as a sentence, or None. There are no rules of composition.

    The bytes count as they are: nothing is trimmed, folded or cut off (ASVS 6.2.8).
    """
    if "\0" in password:
        return "Must not contain NUL characters."
    if len(password) < min_length:
        return f"Must have at least {min_length} characters."
    if len(password.encode(errors="surrogatepass")) > MAX_BYTES:
        return f"Must have at most {MAX_BYTES} bytes."
    if password.lower() in common_passwords():
        return "Is one of the passwords that are tried first."
    if name and password.lower() == name.lower():
        return "Must not be the name."
    return None


def check(password: str, *, min_length: int, name: str = "", field: str = "password") -> None:
    """Raise unless `password` may become one; `field` is where the request had it.

    Raises:
        Invalid: it may not.
    """
    if fault := find_fault(password, min_length=min_length, name=name):
        raise Invalid(errors=[{"pointer": f"/{field}", "detail": fault}])


class Passwords:
    """Makes and verifies hashes in threads of its own: one, or two where there are four cores or more.

    What waits for a thread is bounded by `MAX_WAITING`; beyond that every method raises `Overloaded` at once, so that
    a flood of logins costs one core and never the event loop.
    """

    def __init__(self, *, memory_kib: int) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=PASSES, memory_cost=memory_kib, parallelism=1, hash_len=HASH_BYTES, salt_len=SALT_BYTES
        )
        threads = 2 if (os.cpu_count() or 1) >= 4 else 1
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._most = threads + MAX_WAITING
        self._running = 0
        self._nobody = _hash_of_nobody(memory_kib)

    async def hash(self, password: str) -> str:
        """The encoded hash: parameters, salt and digest.

        Raises:
            Overloaded: too many are waiting, or there is no memory for one more.
        """
        return await self._run(lambda: self._hash(password))

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether `password` is the one of `encoded`. For None, nobody's hash, the same work is done, and it is not.

        Raises:
            Overloaded: as `hash`.
        """
        return await self._run(lambda: self._verify(encoded or self._nobody, password))

    def is_outdated(self, encoded: str) -> bool:
        """Whether the hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(encoded)

    def _hash(self, password: str) -> str:
        try:
            return self._hasher.hash(_bytes(password))
        except HashingError:
            raise Overloaded("There is no memory for a password hash.", retry_after=RETRY_AFTER_S) from None

    def _verify(self, encoded: str, password: str) -> bool:
        try:
            return self._hasher.verify(encoded, _bytes(password))
        except (VerifyMismatchError, InvalidHashError):
            return False
        except VerificationError as error:
            if str(error) == NO_MEMORY:
                raise Overloaded("There is no memory for a password hash.", retry_after=RETRY_AFTER_S) from None
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._running >= self._most:
            raise Overloaded("Too many logins at once.", retry_after=RETRY_AFTER_S)
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._running -= 1

    async def close(self) -> None:
        """End the threads; what still waits for one is dropped."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)


def _bytes(password: str) -> bytes:
    return password.encode(errors="surrogatepass")


def _hash_of_nobody(memory_kib: int) -> str:
    """A hash no password is known for, with the parameters of all others; made up, which takes no time."""
    salt, digest = (_base64(secrets.token_bytes(size)) for size in (SALT_BYTES, HASH_BYTES))
    return f"$argon2id$v=19$m={memory_kib},t={PASSES},p=1${salt}${digest}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
