"""File names are display text: cleaned here, shown to people, and never part of a path."""

import unicodedata

MAX_FILENAME_BYTES = 255
UNTITLED = "untitled.mp3"

# Marks that reorder the text around them: "gpj.3pm" can be made to read "3pm.jpg" (Unicode TR 36, section 2.6).
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean_text(text: str) -> str:
    """`text` in NFC, without control, format-reordering and unpaired surrogate characters, with single blanks."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    kept = "".join(" " if each.isspace() else each for each in text if _is_shown(each))
    return unicodedata.normalize("NFC", " ".join(kept.split()))


def _is_shown(character: str) -> bool:
    return character.isspace() or (character not in _BIDI and unicodedata.category(character) not in ("Cc", "Cs", "Co"))


def clean_filename(name: str | None) -> str:
    """The last component of a name a client sent, at most 255 bytes of UTF-8, never empty, never only dots."""
    cleaned = clean_text((name or "").replace("\\", "/").rsplit("/", 1)[-1])
    if not cleaned.strip(". "):
        return UNTITLED
    stem, dot, suffix = cleaned.rpartition(".")
    if not dot or len(suffix.encode()) > 16:
        return shorten(cleaned, MAX_FILENAME_BYTES)
    tail = dot + suffix
    return shorten(stem, MAX_FILENAME_BYTES - len(tail.encode())) + tail


def shorten(text: str, size: int) -> str:
    """`text` cut to at most `size` bytes of UTF-8, never inside a character."""
    return text.encode()[:size].decode("utf-8", "ignore")
