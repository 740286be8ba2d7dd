"""The text of tags: from the bytes of a file, whatever their encoding, to words that can be shown and compared."""

import unicodedata

# ID3v2 says in one byte how text is encoded; older taggers forget the byte, or put bytes of their own code page there.
LATIN, UTF16, UTF16_BE, UTF8 = range(4)

BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")

# The five bytes without a meaning in Windows-1252 are control characters in Latin-1.
_WINDOWS = [bytes((byte,)).decode("cp1252", "ignore") or chr(byte) for byte in range(256)]

BLANKS = str.maketrans(dict.fromkeys("\t\n\v\f\r\x85\u2028\u2029", " "))


def decode(data: bytes, encoding: int = LATIN) -> str:
    """Text of a tag. NULs are left in it; they stand between values.

    What calls itself Latin-1 and is valid UTF-8 beyond ASCII is UTF-8: Latin-1 of any language hardly ever looks like
    that. All else is the superset Windows-1252, since a guess among code pages would turn right names of one country
    into wrong ones of another.
    """
    if encoding in (UTF16, UTF16_BE) or (len(data) % 2 == 0 and data[:2] in BYTE_ORDER_MARKS):
        return _utf16(data, is_big_endian=encoding == UTF16_BE)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(map(_WINDOWS.__getitem__, data))


def clean(text: str, limit: int, *, is_long: bool = False) -> str | None:
    """NFC, without control characters and outer blanks, at most ``limit`` characters; ``None`` if nothing is left.

    Line breaks survive in long text, with LF as their only form; in names they become blanks.
    """
    text = text[: 4 * limit].replace("\r\n", "\n").replace("\r", "\n")
    if not is_long:
        text = text.translate(BLANKS)
    text = unicodedata.normalize("NFC", "".join(filter(_is_kept, text)))
    return text.strip()[:limit].rstrip() or None


def _is_kept(character: str) -> bool:
    if character in "\n\t":
        return True
    is_character = ord(character) & 0xFFFE != 0xFFFE and character != "\ufeff"
    return is_character and unicodedata.category(character) not in ("Cc", "Cs")


def _utf16(data: bytes, *, is_big_endian: bool) -> str:
    """UTF-16 whose byte order mark counts whatever was said; without one, zeros tell the order of Western text."""
    data = data[: len(data) & ~1]
    if data[:2] in BYTE_ORDER_MARKS:
        is_big_endian = data[0] == 0xFE
    elif (first := data[::2].count(0)) != (second := data[1::2].count(0)):
        is_big_endian = first > second
    return data.decode("utf-16-be" if is_big_endian else "utf-16-le", "replace")
