"""The name under which a browser saves a download: Content-Disposition (RFC 6266, RFC 8187)."""

import unicodedata
from typing import Literal
from urllib.parse import quote

_ATTR_CHARS = "!#$&+-.^_`|~"  # of RFC 8187 section 3.2.1, besides letters and digits

# A quote or backslash would end or escape the quoted string, and some browsers decode %41 inside of it.
_UNSAFE = frozenset('"\\%/;')


def content_disposition(kind: Literal["inline", "attachment"], filename: str) -> str:
    """The field: an ASCII name for every client, and the true name as ``filename*`` where that says more."""
    plain = unicodedata.normalize("NFKD", filename)
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    plain = "".join(each if " " <= each <= "~" and each not in _UNSAFE else "_" for each in plain)
    field = f'{kind}; filename="{plain}"'
    if plain != filename:
        field += f"; filename*=UTF-8''{quote(filename, safe=_ATTR_CHARS, errors='replace')}"
    return field
