import hashlib

import pytest

from service.accounts.sessions import digest, is_secret, new_secret


def test_secrets_have_256_bits_and_never_come_twice():
    secrets = {new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    assert all(len(each) == 43 and is_secret(each) for each in secrets)


@pytest.mark.parametrize(
    "text", ["", "x", "x" * 42, "x" * 44, "x" * 42 + "=", "x" * 42 + "é", "x" * 43 + "\n", "\udcff" * 43]
)
def test_other_texts_are_no_secrets(text):
    assert not is_secret(text)


def test_only_the_sha256_is_stored():
    assert digest("abc") == hashlib.sha256(b"abc").digest()
