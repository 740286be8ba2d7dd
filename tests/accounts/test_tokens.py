import re
import zlib

from service.accounts.tokens import DIGITS, checksum, new_token, parse


def test_a_token_has_prefix_id_secret_and_checksum():
    token_id, text = new_token()
    assert re.fullmatch(r"yarrr_[0-9A-Za-z]{6}_[A-Za-z0-9_-]{43}[0-9A-Za-z]{6}", text)
    assert text[6:12] == token_id == parse(text)


def test_tokens_never_come_twice():
    assert len({new_token()[1] for _ in range(1000)}) == 1000


def test_the_checksum_is_the_crc32_to_base_62():
    value = 0
    for digit in checksum("yarrr"):
        value = value * 62 + DIGITS.index(digit)
    assert value == zlib.crc32(b"yarrr")


def test_every_typo_is_noticed_without_the_catalogue():
    _, text = new_token()
    for index, character in enumerate(text):
        other = "A" if character != "A" else "B"
        assert parse(text[:index] + other + text[index + 1 :]) is None
    for wrong in ("", text[:-1], text + "x", text + "\n", " " + text, text.upper(), "\udcff", "yarrr_"):
        assert parse(wrong) is None
