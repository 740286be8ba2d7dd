"""Checksums a client claims."""

import hashlib

import pytest

from service.errors import DigestMismatch
from service.uploads.claims import Claims


def claims_of(content: bytes, **wrong: bytes) -> Claims:
    expected = {name: hashlib.new(name, content).digest() for name in ("sha1", "sha256", "sha512")}
    claims = Claims({**expected, **wrong})
    for at in range(0, len(content), 7):
        claims.update(content[at : at + 7])
    return claims


def test_right_claims_hold_however_the_bytes_come():
    claims_of(b"fifteen men on the dead man's chest").check()
    claims_of(b"").check()


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha512"])
def test_one_wrong_claim_is_told_with_both_digests(name):
    wrong = bytes(hashlib.new(name).digest_size)
    with pytest.raises(DigestMismatch) as caught:
        claims_of(b"ahoy", **{name: wrong}).check()
    facts = caught.value.facts
    assert facts["algorithm"] == name
    assert facts["expected"] == wrong.hex()
    assert facts["found"] == hashlib.new(name, b"ahoy").hexdigest()


def test_a_digest_that_only_begins_right_is_wrong():
    with pytest.raises(DigestMismatch):
        claims_of(b"ahoy", sha256=hashlib.sha256(b"ahoy").digest()[:31]).check()


def test_without_a_claim_everything_holds():
    claims = Claims()
    claims.update(b"anything")
    claims.check()
    assert not claims
    assert claims_of(b"")
