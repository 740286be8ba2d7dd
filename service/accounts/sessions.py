"""The secrets of sessions: 256 random bits, known to the client only; the catalogue has their hash."""

import hashlib
import re
import secrets

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_secret() -> str:
    """43 characters of base64url."""
    return secrets.token_urlsafe(32)


def is_secret(text: str) -> bool:
    """Whether `text` has the form of a session's secret; anything else is not worth a look into the catalogue."""
    return _SECRET.fullmatch(text) is not None


def digest(text: str) -> bytes:
    """What is stored of a secret. A plain fast hash does for 256 random bits (ASVS 6.5.2)."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
