"""Writes an ID3v2.4 tag (id3.org, "ID3 tag version 2.4.0", structure and native frames).

All text is UTF-8. There is no unsynchronisation, which players since the nineties do not need, no extended header, no
footer and no padding: whoever changes such a file writes it anew anyway. One comment, one picture, one value a frame.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_TEXTS = {
    "title": "TIT2",
    "artist": "TPE1",
    "album": "TALB",
    "album_artist": "TPE2",
    "genre": "TCON",
    "composer": "TCOM",
    "isrc": "TSRC",
}
_NUMBERS = {"track": "TRCK", "disc": "TPOS"}
_MUSICBRAINZ = {
    "release": "MusicBrainz Album Id",
    "release_group": "MusicBrainz Release Group Id",
    "release_track": "MusicBrainz Release Track Id",
    "artist": "MusicBrainz Artist Id",
    "album_artist": "MusicBrainz Album Artist Id",
    "work": "MusicBrainz Work Id",
}
_LATIN, _UTF8 = b"\0", b"\3"
_NO_LANGUAGE = b"XXX"
_FRONT_COVER = b"\3"


def build(words: Mapping[str, Any], *, labels: Mapping[str, str] | None = None, cover: bytes | None = None) -> bytes:
    """The tag that says these words. What is missing, ``None`` or empty makes no frame; without any there is no tag.

    `words` has the members of a track's tags: ``title``, ``artist``, ``album``, ``album_artist``, ``genre``,
    ``composer``, ``comment``, ``isrc``; ``year``, ``track_number``, ``track_total``, ``disc_number``, ``disc_total``,
    ``bpm``; ``musicbrainz`` and ``replaygain`` by name (as in `tags.Tags`). A label becomes a TXXX frame
    ``label:NAME``. `cover` is a JPEG.

    Raises:
        ValueError: it would be longer than a tag can be, 256 MiB.
    """
    frames = b"".join((*_text_frames(words), *_own_frames(words, labels or {}), *_cover_frames(cover)))
    return b"ID3\4\0\0" + _syncsafe(len(frames)) + frames if frames else b""


def _text_frames(words: Mapping[str, Any]) -> Iterator[bytes]:
    for word, name in _TEXTS.items():
        if text := words.get(word):
            yield _text(name, text)
    if words.get("year") is not None:
        yield _text("TDRC", f"{words['year']:04}")
    for word, name in _NUMBERS.items():
        number, total = words.get(f"{word}_number"), words.get(f"{word}_total")
        if number is not None:
            yield _text(name, f"{number}/{total}" if total else f"{number}")
    if words.get("bpm"):
        yield _text("TBPM", f"{words['bpm']:.6g}")  # the standard wants a whole number, disc jockeys want the rest
    if comment := words.get("comment"):
        yield _frame("COMM", _UTF8 + _NO_LANGUAGE + b"\0" + _encoded(comment))


def _own_frames(words: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[bytes]:
    """What has no frame of its own in the standard; names as the taggers of today write and read them."""
    musicbrainz = words.get("musicbrainz") or {}
    if recording := musicbrainz.get("recording"):
        yield _frame("UFID", b"http://musicbrainz.org\0" + _encoded(recording))
    for name, description in _MUSICBRAINZ.items():
        if text := musicbrainz.get(name):
            yield _own(description, text)
    for name, value in (words.get("replaygain") or {}).items():
        yield _own(f"REPLAYGAIN_{name.upper()}", f"{value:.2f} dB" if name.endswith("gain") else f"{value:.6f}")
    for name, text in labels.items():
        yield _own(f"label:{name}", text)


def _cover_frames(cover: bytes | None) -> Iterator[bytes]:
    if cover:
        yield _frame("APIC", _LATIN + b"image/jpeg\0" + _FRONT_COVER + b"\0" + cover)


def _text(name: str, text: str) -> bytes:
    return _frame(name, _UTF8 + _encoded(text))


def _own(description: str, text: str) -> bytes:
    return _frame("TXXX", _UTF8 + _encoded(description) + b"\0" + _encoded(text))


def _encoded(text: str) -> bytes:
    return text.replace("\0", " ").encode(errors="replace")  # a NUL would begin a second value


def _frame(name: str, content: bytes) -> bytes:
    return name.encode("ascii") + _syncsafe(len(content)) + b"\0\0" + content


def _syncsafe(size: int) -> bytes:
    if size >= 1 << 28:
        raise ValueError("A tag cannot be that long.")
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
