"""What the tags of an mp3 say: ID3v2 before APE before ID3v1, made clean and put into one shape.

tinytag knows what frames of ID3 mean. It gets a small tag of plain frames that is built here from those of the file:
it would not undo unsynchronisation or compression, has no limits, and fails as a whole over a single broken frame.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from tinytag import TinyTag

from service.audio import apetag, id3frames, tagblocks, tagtext
from service.audio.genres import GENRES, genre_name
from service.audio.id3frames import Allowance
from service.audio.unreadable import Unreadable

__all__ = ["Tags", "Unreadable", "read_tags"]

MAX_NAME = 255
MAX_COMMENT = 4096
MAX_YEAR = 9999
MAX_NUMBER = 65_535
MAX_BPM = 1000
MAX_GAIN = 100
SEPARATOR = " / "

NAMES = ("title", "artist", "album", "albumartist", "genre", "composer")
NUMBERS = ("track", "disc")

# So many values of one name are kept: libraries, ours included, compare each with all others.
MAX_VALUES = 32

# More tags than these in a row are no music collection but an attack.
MAX_TAGS = 8
TAIL = 8192


@dataclass(frozen=True, slots=True)
class Tags:
    """What a file says of itself. Texts are NFC without control characters; what is impossible is ``None``.

    ``musicbrainz`` has UUIDs as "recording", "release", "release_group", "release_track", "artist", "album_artist" and
    "work"; ``replaygain`` has "track_gain" and "album_gain" in dB, "track_peak" and "album_peak" (1 is full scale).
    ``sources`` are the tags found, in the order of their precedence. ``picture`` is the front cover, else any picture,
    as it is in the file and not looked at. ``passed_over`` names what was too large to be read.
    """

    title: str | None = None
    artist: str | None = None
    album: str | None = None
    album_artist: str | None = None
    genre: str | None = None
    composer: str | None = None
    comment: str | None = None
    year: int | None = None
    track_number: int | None = None
    track_total: int | None = None
    disc_number: int | None = None
    disc_total: int | None = None
    bpm: float | None = None
    isrc: str | None = None
    musicbrainz: dict[str, str] = field(default_factory=dict)
    has_lyrics: bool = False
    replaygain: dict[str, float] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    picture: bytes | None = None
    passed_over: tuple[str, ...] = ()


def read_tags(path: Path) -> Tags:
    """Read all tags of a file; a file without any gives empty ones.

    Raises:
        Unreadable: they are beyond the limits.
        OSError: the file cannot be read.
    """
    allowance = Allowance()
    with path.open("rb") as file:
        sources = sorted(_sources(file, allowance), key=lambda source: _PRECEDENCE.index(source.name[:5]))
        return _merged(sources, allowance)


_PRECEDENCE = ["id3v2", "ape", "id3v1"]


@dataclass(slots=True)
class _Source:
    """The values in one tag, by tinytag's name of the field; those that a user made up, by `_key` of their name."""

    name: str
    values: dict[str, list[str]] = field(default_factory=dict)
    has_lyrics: bool = False
    picture: bytes | None = None
    rank: int = 0

    def add(self, name: str, *values: str) -> None:
        """Keep values, up to a number and length that nobody needs."""
        kept = self.values.setdefault(name, [])
        kept.extend(value[: 4 * MAX_COMMENT] for value in values[: MAX_VALUES - len(kept)])

    def add_custom(self, name: str, text: str) -> None:
        """Keep what a user's or a program's own name stands for, if it is one of those known here."""
        if (key := _key(name)) in _CUSTOM:
            self.add(key, *_split(text))

    def offer(self, picture: bytes, kind: int) -> None:
        """Keep the better picture: one of a known format, the front cover, anything but an icon of 32 pixels."""
        rank = 1 + 4 * bool(_PICTURE.match(picture)) + 2 * (kind == _FRONT) + (kind not in _ICONS)
        if picture and rank > self.rank:
            self.picture, self.rank = picture, rank


_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP", re.DOTALL)
_FRONT, _ICONS = 3, (1, 2)


def _sources(file: BinaryIO, allowance: Allowance) -> Iterator[_Source]:
    at = 0
    for _ in range(MAX_TAGS):
        tag = id3frames.tag_at(file, at)
        if tag is None:
            break
        yield _id3v2(file, tag, allowance)
        at += tag.length
    end = file.seek(0, SEEK_END)
    for _ in range(MAX_TAGS):
        file.seek(max(at, end - TAIL))
        tail = file.read(max(0, end - file.tell()))
        length = tagblocks.length_of_last(tail)
        if not 0 < length <= end - at:
            break
        if tail[-length:].startswith(b"TAG") and length == tagblocks.ID3V1_SIZE:
            yield _id3v1(tail[-length:])
        elif tail[-apetag.FOOTER_SIZE :].startswith(b"APETAGEX"):
            yield _ape(file, end, allowance)
        elif tag := id3frames.tag_at(file, end - length):
            yield _id3v2(file, tag, allowance)
        end -= length


# --- ID3v2 -----------------------------------------------------------------------------------------------------------

# Names of frames, and what they are handed to tinytag as; of several years, the first one counts.
_TEXTS = {
    **{name: name for name in ("TIT2", "TPE1", "TALB", "TPE2", "TCON", "TCOM", "TRCK", "TPOS", "TBPM", "TSRC")},
    "TDRC": "TDRC",
    "TYER": "TDRC",
    "TDRL": "TDRC",
    "COMM": "COMM",
}
_WANTED = frozenset((*_TEXTS, "TXXX", "UFID", "USLT", "SYLT", id3frames.PICTURE))
_MAX_SHORT = 64

# What programs keep for themselves in comments.
_NO_COMMENT = re.compile(r"itun|songs-db|mm_|musicmatch|cddb|engiTun|id3v1 comment", re.IGNORECASE)


def _id3v2(file: BinaryIO, tag: id3frames.Tag, allowance: Allowance) -> _Source:
    source = _Source(tag.name)
    plain = _Source(tag.name)  # by name of frame
    described: list[str] = []
    for name, content in id3frames.read_frames(file, tag, _WANTED, allowance):
        if name == id3frames.PICTURE:
            source.offer(*_attached(content, tag.version))
        elif name == "UFID":
            owner, _, identifier = content.partition(b"\0")
            if owner.startswith(b"http://musicbrainz.org"):
                source.add("musicbrainztrackid", tagtext.decode(identifier))
        elif name == "SYLT":
            source.has_lyrics = True
        elif name in ("COMM", "USLT"):
            description, _, text = _text(content, language=3).partition("\0")
            if name == "USLT":
                source.has_lyrics |= tagtext.clean(text, MAX_NAME) is not None
            elif not description:
                plain.add(name, text)
            elif not _NO_COMMENT.match(description):
                described.append(text)
        elif name == "TXXX":
            key, _, text = _text(content).partition("\0")
            source.add_custom(key, text)
        elif name in ("TRCK", "TPOS"):
            plain.add(name, *_split(_text(content).replace(" ", "")))
        elif name == "TCON":
            plain.add(name, *_genres(_text(content)))
        else:
            plain.add(name, *_split(_text(content)))
    plain.add("COMM", *described)
    _interpret(source, _plain_tag(plain.values))
    return source


def _text(content: bytes, language: int = 0) -> str:
    """The text of a frame behind the byte that tells its encoding and, where there is one, its language."""
    if content[0] > tagtext.UTF8 and not language:
        return tagtext.decode(content)  # the byte was forgotten
    return tagtext.decode(content[1 + language :], content[0])


def _split(text: str) -> list[str]:
    return text.split("\0", MAX_VALUES)[:MAX_VALUES]


def _plain_tag(texts: dict[str, list[str]]) -> bytes:
    """An ID3v2.4 tag of UTF-8 frames, and zeros instead of an ID3v1 tag, so that none is seen in a text."""
    body = b""
    for name, plain_name in _TEXTS.items():
        is_long = name == "COMM"
        limit = MAX_COMMENT if is_long else MAX_NAME
        values = list(filter(None, (tagtext.clean(value, limit, is_long=is_long) for value in texts.get(name, []))))
        if values:
            content = b"\x03xxx\0" + values[0].encode() if is_long else b"\x03" + "\0".join(values).encode()
            body += plain_name.encode() + _syncsafe(len(content)) + bytes(2) + content
    return b"ID3\x04\0\0" + _syncsafe(len(body)) + body + bytes(tagblocks.ID3V1_SIZE)


def _syncsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


_REFERENCE = re.compile(r"\((\d{1,3}|RX|CR)\)")
_REFERRED = {"RX": "Remix", "CR": "Cover"}


def _genres(text: str) -> list[str]:
    """The values of a TCON frame: numbers of ID3v1, alone or in parentheses with a refinement behind, or names."""
    values = []
    for value in _split(text):
        rest = value.strip()[:MAX_NAME]
        while match := _REFERENCE.match(rest):
            values.append(_REFERRED.get(match[1]) or genre_name(match[1]))
            rest = rest[match.end() :]
        values.append(_REFERRED.get(rest) or genre_name(rest.replace("((", "(", 1) if rest.startswith("((") else rest))
    return values


def _attached(content: bytes, version: int) -> tuple[bytes, int]:
    """The picture of an APIC or PIC frame, and its kind. What is only an address of one counts as none."""
    media_end = 4 if version == 2 else content.find(b"\0", 1) + 1
    media, kind = content[1:media_end], content[media_end : media_end + 1]
    if not kind or media.startswith(b"-->"):
        return b"", 0
    at = media_end + 1
    if content[0] in (tagtext.UTF16, tagtext.UTF16_BE):
        start = next((end + 2 for end in range(at, at + _MAX_DESCRIPTION, 2) if content[end : end + 2] == b"\0\0"), at)
    else:
        start = content.find(b"\0", at) + 1 or at
    # Descriptions end wrongly in files of many programs; a picture begins unmistakably.
    if not _PICTURE.match(content, start) and (found := _PICTURE.search(content, at, at + _MAX_DESCRIPTION)):
        start = found.start()
    return content[start:], kind[0]


_MAX_DESCRIPTION = 1024


# --- ID3v1 -----------------------------------------------------------------------------------------------------------

_V1_FIELDS = (slice(3, 33), slice(33, 63), slice(63, 93), slice(93, 97), slice(97, 127))


def _id3v1(tag: bytes) -> _Source:
    source = _Source("id3v1")
    track = tag[125:127] if tag[125] == 0 else b""
    parts = [tag[where].partition(b"\0")[0] for where in _V1_FIELDS]
    is_utf8 = all(_is_utf8(part) for part in parts)
    tidy = b"TAG"
    for where, part in zip(_V1_FIELDS, parts, strict=True):
        text = part.decode("utf-8", "ignore") if is_utf8 else tagtext.decode(part)
        tidy += (text.rstrip().encode() if is_utf8 else part).ljust(where.stop - where.start, b"\0")
    tidy = tidy[: 127 - len(track)] + track + b"\xff"
    source.add("genre", *GENRES[tag[127] : tag[127] + 1])
    _interpret(source, tidy, "utf-8" if is_utf8 else "cp1252")
    return source


def _is_utf8(part: bytes) -> bool:
    """Whether it is UTF-8; its last character may have been cut."""
    try:
        part.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and len(part) in (28, 30)
    return True


# --- APE -------------------------------------------------------------------------------------------------------------

_APE_NAMES = {
    **{name: name for name in ("title", "artist", "album", "genre", "composer", "comment", "year", "bpm", "isrc")},
    "albumartist": "albumartist",
    "date": "year",
    "tracknumber": "track",
    "discnumber": "disc",
    "track": "track",
    "disc": "disc",
    "totaltracks": "track_total",
    "totaldiscs": "disc_total",
    "tracktotal": "track_total",
    "disctotal": "disc_total",
}


def _ape(file: BinaryIO, end: int, allowance: Allowance) -> _Source:
    source = _Source("ape")
    for name, value in apetag.read_items(file, end, allowance):
        if name.startswith("cover art"):
            source.offer(value.partition(b"\0")[2], _FRONT if "front" in name else 0)
            continue
        key, text = _key(name), tagtext.decode(value)
        source.add_custom(name, text)
        if key in ("lyrics", "unsyncedlyrics"):
            source.has_lyrics |= bool(tagtext.clean(text, MAX_NAME))
        elif key in ("track", "tracknumber", "disc", "discnumber"):
            number, _, total = text.partition("/")
            source.add(_APE_NAMES[key], number)
            source.add(f"{_APE_NAMES[key]}_total", *filter(None, [total]))
        elif key in _APE_NAMES:
            source.add(_APE_NAMES[key], *_split(text))
    return source


# --- From values to tags ---------------------------------------------------------------------------------------------

_MUSICBRAINZ = {
    "musicbrainztrackid": "recording",
    "musicbrainzrecordingid": "recording",
    "musicbrainzalbumid": "release",
    "musicbrainzreleasegroupid": "release_group",
    "musicbrainzreleasetrackid": "release_track",
    "musicbrainzartistid": "artist",
    "musicbrainzalbumartistid": "album_artist",
    "musicbrainzworkid": "work",
}
_REPLAYGAIN = {
    f"replaygain{scope}{what}": f"{scope}_{what}" for scope in ("track", "album") for what in ("gain", "peak")
}
_CUSTOM = {*_MUSICBRAINZ, *_REPLAYGAIN}

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_YEAR = re.compile(r"(?<![0-9])([0-9]{4})(?=[0-9]{4}(?![0-9])|[^0-9]|$)")
_DECIMAL = re.compile(r"\s*([+-]?(?:[0-9]{1,9}(?:[.,][0-9]{0,40})?|[.,][0-9]{1,40}))\s*(?:dB|bpm)?\s*", re.IGNORECASE)


def _key(name: str) -> str:
    """The name of a value without what programs write differently: "MusicBrainz Album Id", "MUSICBRAINZ_ALBUMID"."""
    return re.sub(r"[\W_]+", "", name[:MAX_NAME]).lower()


def _interpret(source: _Source, tag: bytes, encoding: str | None = None) -> None:
    """Add what tinytag finds in a plain tag."""
    found = TinyTag.get(filename="tag.mp3", file_obj=BytesIO(tag), duration=False, encoding=encoding)
    for name in (*NAMES, "comment", "year", "bpm", "isrc", "track", "track_total", "disc", "disc_total"):
        first: Any = getattr(found, name, None)
        source.add(name, *([] if first is None else [str(first)]), *found.other.get(name, []))


def _merged(sources: list[_Source], allowance: Allowance) -> Tags:
    merged: dict[str, Any] = {}
    musicbrainz: dict[str, str] = {}
    replaygain: dict[str, float] = {}
    for source in reversed(sources):
        for name, value in _usable(source.values):
            if name in ("track_number", "disc_number"):
                merged.pop(name.replace("number", "total"), None)  # a total belongs to the number beside it
            merged[name] = value
        musicbrainz |= _identifiers(source.values)
        replaygain |= _gains(source.values)
    best = max(sources, key=lambda source: source.rank, default=None)
    return Tags(
        **merged,
        musicbrainz=musicbrainz,
        replaygain=replaygain,
        has_lyrics=any(source.has_lyrics for source in sources),
        sources=tuple(dict.fromkeys(source.name for source in sources)),
        picture=best.picture if best else None,
        passed_over=tuple(allowance.passed_over),
    )


def _usable(values: dict[str, list[str]]) -> Iterator[tuple[str, Any]]:
    """Each member of `Tags` about which one tag says something possible; a number before its total."""
    for name in NAMES:
        cleaned = filter(None, (tagtext.clean(value, MAX_NAME) for value in values.get(name, [])))
        text = tagtext.clean(SEPARATOR.join(dict.fromkeys(cleaned)), MAX_NAME)
        yield from _said("album_artist" if name == "albumartist" else name, text)
    comment = next(iter(values.get("comment", [])), "")
    yield from _said("comment", tagtext.clean(comment, MAX_COMMENT, is_long=True))
    yield from _said("year", _first(_year, values.get("year", [])))
    for name in NUMBERS:
        number = _first(_number, values.get(name, []))
        total = _first(_number, values.get(f"{name}_total", []))
        yield from _said(f"{name}_number", number)
        yield from _said(f"{name}_total", total if total and total >= (number or 0) else None)
    yield from _said("bpm", _first(_bpm, values.get("bpm", [])))
    yield from _said("isrc", _first(_isrc, values.get("isrc", [])))


def _said(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if value is not None:
        yield name, value


def _first(parse: Any, values: list[str]) -> Any:
    return next((parsed for parsed in map(parse, values) if parsed is not None), None)


def _year(text: str) -> int | None:
    match = _YEAR.search(text[:_MAX_SHORT])
    return int(match[1]) or None if match else None


def _number(text: str) -> int | None:
    text = text.strip(" \0")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
    return number if 0 < number <= MAX_NUMBER else None


def _decimal(text: str) -> float | None:
    match = _DECIMAL.fullmatch(text.strip("\0"))
    return float(match[1].replace(",", ".")) if match else None


def _bpm(text: str) -> float | None:
    bpm = _decimal(text)
    return bpm if bpm and 0 < bpm <= MAX_BPM else None


def _isrc(text: str) -> str | None:
    code = re.sub(r"[\s\0-]", "", text[:_MAX_SHORT]).upper().removeprefix("ISRC")
    return code if _ISRC.fullmatch(code) else None


def _identifiers(values: dict[str, list[str]]) -> dict[str, str]:
    found = {}
    for key, name in _MUSICBRAINZ.items():
        for value in reversed(values.get(key, [])):
            if _UUID.fullmatch(uuid := value.strip(" \0\ufeff").lower()):
                found[name] = uuid
    return found


def _gains(values: dict[str, list[str]]) -> dict[str, float]:
    found = {}
    for key, name in _REPLAYGAIN.items():
        number = _first(_decimal, [value.strip("\ufeff") for value in values.get(key, [])])
        low = -MAX_GAIN if name.endswith("gain") else 0
        if number is not None and low <= number <= MAX_GAIN:
            found[name] = number
    return found
