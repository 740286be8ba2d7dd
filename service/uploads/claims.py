"""Checksums a client claims for the content of one request, checked while the bytes pass."""

import hashlib
from collections.abc import Mapping
from typing import Protocol

import google_crc32c

from service.errors import ContentMismatch

ALGORITHMS = frozenset({"sha256", "sha512", "sha1", "crc32c"})


class Hash(Protocol):
    """What hashlib's objects and those of the crc32c library have in common."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


def new_hash(name: str) -> Hash:
    """A running hash; the digest of crc32c is its 32 bits, the highest byte first."""
    if name == "crc32c":
        crc: Hash = google_crc32c.Checksum()  # type: ignore[no-untyped-call] # the library's own annotations stop here
        return crc
    return hashlib.new(name, usedforsecurity=False)


class Claims:
    """`expected` maps a name of `ALGORITHMS` to the digest the client sent."""

    def __init__(self, expected: Mapping[str, bytes] | None = None) -> None:
        self._expected = dict(expected or {})
        self._hashes = {name: new_hash(name) for name in self._expected}

    def __bool__(self) -> bool:
        return bool(self._expected)

    def update(self, data: bytes) -> None:
        """Bytes of this request, in order."""
        for each in self._hashes.values():
            each.update(data)

    def check(self) -> None:
        """Raise `ContentMismatch` when one of the claims does not hold."""
        for name, expected in self._expected.items():
            found = self._hashes[name].digest()
            if found != expected:
                raise ContentMismatch(
                    "The content does not match its digest.",
                    algorithm=name,
                    expected=expected.hex(),
                    found=found.hex(),
                )
