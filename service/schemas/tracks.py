"""A track on the wire, and the change of one.

`TrackSchema` is the definition of the shape. Neither a receipt nor a page of the listing goes through it: `dump_track`
and the SQL in ``catalogue/listing.py`` write the same members faster, and a test holds all three equal.
"""

import sqlite3
import unicodedata
from collections.abc import Mapping
from itertools import chain
from typing import Any

import orjson
from marshmallow import Schema, ValidationError, fields, pre_dump
from marshmallow.validate import Length, Range, Regexp

from service.schemas.fields import Text, Timestamp, rfc3339

MAX_TEXT = 255
MAX_COMMENT = 4096
MAX_YEAR = 9999
MAX_NUMBER = 65_535
LABEL_NAME = r"[a-z0-9_-]{1,32}\Z"


class Hexadecimal(fields.String):
    """Bytes as lower-case hexadecimal digits. Dump only."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str:
        digits: str = value.hex()
        return digits


class TrackSchema(Schema):
    """A row of the catalogue on the wire. Sizes are bytes, ``duration`` seconds, ``bitrate`` bits a second."""

    id = fields.String(attribute="track_id")
    title = fields.String()
    artist = fields.String()
    album = fields.String()
    album_artist = fields.String()
    genre = fields.String()
    composer = fields.String()
    comment = fields.String()
    year = fields.Integer(allow_none=True)
    track_number = fields.Integer(allow_none=True)
    disc_number = fields.Integer(allow_none=True)
    filename = fields.String()
    size = fields.Integer()
    sha256 = Hexadecimal()
    content_type = fields.Constant("audio/mpeg")
    duration = fields.Float()
    bitrate = fields.Integer()
    mode = fields.String()
    channels = fields.Integer()
    sample_rate = fields.Integer()
    state = fields.String()
    audio = fields.Dict(keys=fields.String())
    metadata = fields.String()
    metadata_reason = fields.String(allow_none=True)
    tags = fields.Dict(keys=fields.String())
    cover = fields.String(allow_none=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String())
    created_at = Timestamp()
    updated_at = Timestamp()
    url = fields.String()

    @pre_dump
    def unpack(self, row: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        track = dict(row)
        track |= {name: orjson.loads(track[name]) for name in DOCUMENTS}
        track["cover"] = cover_url(track["track_id"], track["cover"])
        track["url"] = f"/tracks/{track['track_id']}/audio"
        return track


class GivenText(Text):
    """A word of a user about a track: NFC, no control characters, no blanks at its ends."""

    kept = ""
    """Control characters there may be."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = unicodedata.normalize("NFC", super()._deserialize(value, attr, data, **kwargs)).strip()
        if any(unicodedata.category(character) == "Cc" and character not in self.kept for character in text):
            raise ValidationError("Must not contain control characters.")
        return text


class GivenLines(GivenText):
    """The same with line breaks, of which LF is the only form."""

    kept = "\n\r\t"

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return super()._deserialize(value, attr, data, **kwargs).replace("\r\n", "\n").replace("\r", "\n")


class Labels(fields.Dict):
    """Free words by name. A message is that of the label, whether its name or its text is wrong."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            if not isinstance(error.messages, dict):
                raise
            flat = {name: list(chain.from_iterable(kinds.values())) for name, kinds in error.messages.items()}
            raise ValidationError(flat) from None


class ChangeSchema(Schema):
    """A merge patch (RFC 7396) of a track. Null gives a word back to what the file says, and removes a label."""

    title = GivenText(allow_none=True, validate=Length(min=1, max=MAX_TEXT))
    artist = GivenText(allow_none=True, validate=Length(max=MAX_TEXT))
    album = GivenText(allow_none=True, validate=Length(max=MAX_TEXT))
    album_artist = GivenText(allow_none=True, validate=Length(max=MAX_TEXT))
    genre = GivenText(allow_none=True, validate=Length(max=MAX_TEXT))
    composer = GivenText(allow_none=True, validate=Length(max=MAX_TEXT))
    comment = GivenLines(allow_none=True, validate=Length(max=MAX_COMMENT))
    year = fields.Integer(allow_none=True, strict=True, validate=Range(min=0, max=MAX_YEAR))
    track_number = fields.Integer(allow_none=True, strict=True, validate=Range(min=0, max=MAX_NUMBER))
    disc_number = fields.Integer(allow_none=True, strict=True, validate=Range(min=0, max=MAX_NUMBER))
    labels = Labels(
        keys=Text(validate=Regexp(LABEL_NAME, error="Must be 1 to 32 of a-z, 0-9, _ and -.")),
        values=GivenText(allow_none=True, validate=Length(max=MAX_TEXT)),
        allow_none=True,
    )


COPIED = (
    *("title", "artist", "album", "album_artist", "genre", "composer", "comment"),
    *("year", "track_number", "disc_number", "filename", "size"),
)
MEASURED = ("duration", "bitrate", "mode", "channels", "sample_rate", "state")
DOCUMENTS = ("audio", "tags", "labels")


def dump_track(row: sqlite3.Row) -> dict[str, Any]:
    """The track on the wire, as `TrackSchema` has it; by hand, since every receipt waits for it."""
    track_id = row["track_id"]
    return {
        "id": track_id,
        **{name: row[name] for name in COPIED},
        "sha256": row["sha256"].hex(),
        "content_type": "audio/mpeg",
        **{name: row[name] for name in MEASURED},
        "audio": orjson.loads(row["audio"]),
        "metadata": row["metadata"],
        "metadata_reason": row["metadata_reason"],
        "tags": orjson.loads(row["tags"]),
        "cover": cover_url(track_id, row["cover"]),
        "labels": orjson.loads(row["labels"]),
        "created_at": rfc3339(row["created_at"]),
        "updated_at": rfc3339(row["updated_at"]),
        "url": f"/tracks/{track_id}/audio",
    }


def cover_url(track_id: str, digest: bytes | None) -> str | None:
    """Where the cover is: another address for another picture, so that it can be kept for ever."""
    return f"/tracks/{track_id}/cover?v={cover_version(digest)}" if digest else None


def cover_version(digest: bytes) -> str:
    """What tells one picture from another."""
    return digest.hex()[:16]


def track_etag(row: sqlite3.Row) -> str:
    """The entity tag of the track's description; it changes with every change of the row."""
    return f'"{row["track_id"]}-{row["version"]}-{row["revision"]}"'


def is_version_of(etag: str, row: sqlite3.Row) -> bool:
    """Whether somebody who saw that entity tag knows all that people have changed.

    What analysis has found since is no reason to refuse a change: it overwrites nothing of it.
    """
    return etag.rpartition("-")[0] == track_etag(row).rpartition("-")[0] and etag.endswith('"')
