"""The form of API tokens: ``yarrr_`` + 6 characters of id + ``_`` + 43 of secret + 6 of checksum.

The prefix lets scanners find a token that leaked, the checksum tells a typo from a token without asking the catalogue.
"""

import re
import secrets
import string
import zlib

PREFIX = "yarrr_"
ID_LENGTH = 6
DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase

_TOKEN = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_[A-Za-z0-9_-]{{43}}[0-9A-Za-z]{{6}}", re.ASCII)


def new_token() -> tuple[str, str]:
    """The id and the whole text of a new token; the secret has 256 random bits."""
    token_id = "".join(secrets.choice(DIGITS) for _ in range(ID_LENGTH))
    text = f"{PREFIX}{token_id}_{secrets.token_urlsafe(32)}"
    return token_id, text + checksum(text)


def parse(text: str) -> str | None:
    """The id of a well-formed token, or None."""
    match = _TOKEN.fullmatch(text)
    if match is None or checksum(text[:-6]) != text[-6:]:
        return None
    return match[1]


def checksum(text: str) -> str:
    """CRC-32 of the text as six digits to base 62."""
    rest = zlib.crc32(text.encode())
    digits = []
    for _ in range(6):
        rest, digit = divmod(rest, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(reversed(digits))
