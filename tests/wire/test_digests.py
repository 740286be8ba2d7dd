"""Content-Digest and Repr-Digest (RFC 9530)."""

import hashlib
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidHeader
from service.wire.digests import parse, sha256_field

BODY = b'{"hello": "world"}'
SHA256, SHA512 = hashlib.sha256(BODY).digest(), hashlib.sha512(BODY).digest()


def field(value: str) -> dict[str, bytes]:
    return parse({"Content-Digest": value}, "Content-Digest")


def encoded(digest: bytes) -> str:
    return f":{b64encode(digest).decode()}:"


def test_no_field_is_no_claim():
    assert parse({}, "Content-Digest") == {}
    assert parse({"Repr-Digest": sha256_field(SHA256)}, "Content-Digest") == {}


def test_the_active_algorithms_are_known():
    assert field(f"sha-256={encoded(SHA256)}") == {"sha256": SHA256}
    assert field(f"sha-512={encoded(SHA512)}") == {"sha512": SHA512}
    assert field(f"sha-256={encoded(SHA256)},sha-512={encoded(SHA512)}") == {"sha256": SHA256, "sha512": SHA512}
    assert field(f"sha-512={encoded(SHA512)} ,\t sha-256={encoded(SHA256)}") == {"sha256": SHA256, "sha512": SHA512}


def test_the_digest_of_the_rfc_is_understood():
    """RFC 9530 appendix B.1."""
    assert field("sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:") == {
        "sha256": hashlib.sha256(BODY + b"\n").digest()
    }


def test_unknown_and_insecure_algorithms_are_ignored():
    assert field("md5=:Sd/dVLAcvNLSq16eXua5uQ==:") == {}
    assert field(f"md5=:AAAA:, sha-256={encoded(SHA256)}, foo=1") == {"sha256": SHA256}


def test_the_last_of_two_equal_keys_counts():
    assert field(f"sha-256={encoded(bytes(32))}, sha-256={encoded(SHA256)}") == {"sha256": SHA256}


@pytest.mark.parametrize(
    "value",
    [
        "sha-256",
        "sha-256=",
        "sha-256=1",
        'sha-256="RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="',
        "sha-256=RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=",
        "sha-256=:AAAA:",
        "sha-256=::",
        f"sha-512={encoded(SHA256)}",
        "sha-256=:not base64!:",
        f"sha-256={encoded(SHA256)},",
        f"sha-256=({encoded(SHA256)})",
        "SHA-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        ",",
        "ü=1",
        "\udcff",
    ],
)
def test_what_is_no_digest_is_said_to_be_none(value):
    with pytest.raises(InvalidHeader) as caught:
        field(value)
    assert caught.value.facts["field"] == "Content-Digest"


@given(st.text(max_size=60))
def test_any_text_is_a_digest_or_an_error(value):
    try:
        found = field(value)
    except InvalidHeader:
        return
    assert set(found) <= {"sha256", "sha512"}


@given(st.binary(min_size=32, max_size=32))
def test_what_we_send_we_understand(digest):
    assert field(sha256_field(digest)) == {"sha256": digest}
