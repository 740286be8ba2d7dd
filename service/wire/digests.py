"""Digest fields (RFC 9530): ``Content-Digest`` and ``Repr-Digest``, dictionaries of byte sequences (RFC 9651)."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, cast

import http_sf

from service.errors import InvalidHeader

ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
"""The active algorithms of the registry (RFC 9530 section 5) and their names in hashlib."""

LENGTHS = {"sha256": 32, "sha512": 64}


def parse(headers: Mapping[str, str], field: str) -> dict[str, bytes]:
    """The digests of one field by hashlib name; unknown algorithms are ignored (RFC 9530 section 2).

    Raises:
        InvalidHeader: the field is not a dictionary of byte sequences, or a digest has the wrong length.
    """
    value = headers.get(field)
    if value is None:
        return {}
    try:
        dictionary = cast(dict[str, Any], http_sf.parse(value.encode("ascii"), tltype="dictionary"))
    except ValueError:
        raise InvalidHeader(f"{field} is not a digest field such as sha-256=:…:.", field=field) from None
    found = {}
    for key, member in dictionary.items():
        name = ALGORITHMS.get(key)
        if name is None:
            continue
        digest = member[0] if isinstance(member, tuple) else member
        if not isinstance(digest, bytes) or len(digest) != LENGTHS[name]:
            raise InvalidHeader(f"{field} has no {key} digest of the right length.", field=field)
        found[name] = digest
    return found


def sha256_field(digest: bytes) -> str:
    """``sha-256=:…:``"""
    return f"sha-256=:{b64encode(digest).decode('ascii')}:"
