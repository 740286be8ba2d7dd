"""A collection on the wire, the change of one, and of what stands in it."""

import re
import sqlite3
from collections.abc import Callable
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema
from marshmallow.validate import Length, Range, Regexp

from service.schemas.fields import Text, rfc3339
from service.schemas.tracks import MAX_COMMENT, MAX_TEXT, GivenText

MAX_ITEMS = 10_000
MAX_NUMBER = (1 << 53) - 1
ID = re.compile(r"[0-9A-Za-z]{1,64}\Z")


class Ids(fields.List[Any]):
    """Up to 10,000 ids, looked at one by one only when there is something to be said about one of them."""

    def __init__(self, inner: fields.Field[Any], is_good: Callable[[Any], bool], **options: Any) -> None:
        super().__init__(inner, **options)
        self._is_good = is_good

    def _deserialize(self, value: Any, *arguments: Any, **options: Any) -> list[Any]:
        if isinstance(value, list) and all(map(self._is_good, value)):
            return value
        return super()._deserialize(value, *arguments, **options)


def _track_id() -> Text:
    """A field for an id that may be one of a track."""
    return Text(validate=Regexp(ID, error="Must be letters and digits, at most 64."))


def _track_ids(*, at_least: int | None = None) -> Ids:
    """A field for such ids."""
    return Ids(
        _track_id(),
        lambda value: isinstance(value, str) and ID.match(value) is not None,
        validate=Length(min=at_least, max=MAX_ITEMS),
    )


class NewCollectionSchema(Schema):
    """A collection to be made."""

    name = GivenText(required=True, validate=Length(min=1, max=MAX_TEXT))
    description = GivenText(load_default="", validate=Length(max=MAX_COMMENT))


class CollectionChangeSchema(Schema):
    """A merge patch (RFC 7396) of a collection."""

    name = GivenText(validate=Length(min=1, max=MAX_TEXT))
    description = GivenText(allow_none=True, validate=Length(max=MAX_COMMENT))


class AddSchema(Schema):
    """Tracks for a collection, one or several."""

    track_id = _track_id()
    track_ids = _track_ids(at_least=1)
    position = fields.Integer(strict=True, validate=Range(min=1, max=MAX_NUMBER))

    @validates_schema
    def check(self, data: dict[str, Any], **_: Any) -> None:
        require_one(data, "track_id", "track_ids")


class OrderSchema(Schema):
    """The whole order of a collection."""

    item_ids = Ids(
        fields.Integer(strict=True, validate=Range(min=1, max=MAX_NUMBER)),
        lambda value: type(value) is int and 1 <= value <= MAX_NUMBER,
        validate=Length(max=MAX_ITEMS),
    )
    track_ids = _track_ids()

    @validates_schema
    def check(self, data: dict[str, Any], **_: Any) -> None:
        require_one(data, "item_ids", "track_ids")
        item_ids = data.get("item_ids", [])
        if len(set(item_ids)) < len(item_ids):
            raise ValidationError("Name each item once.", "item_ids")


def require_one(data: dict[str, Any], *names: str) -> None:
    """Raise unless exactly one of these members is there."""
    if sum(name in data for name in names) != 1:
        raise ValidationError(f"Send either {' or '.join(names)}.")


class CollectionSchema(Schema):
    """A row of the catalogue on the wire, as `dump_collection` makes it. ``duration`` is seconds, ``size`` bytes."""

    id = fields.String()
    name = fields.String()
    description = fields.String()
    track_count = fields.Integer()
    duration = fields.Float()
    size = fields.Integer()
    created_at = fields.String()
    updated_at = fields.String()
    tracks = fields.String()
    m3u8 = fields.String()
    zip = fields.String()


COLLECTION_FIELDS = tuple(CollectionSchema._declared_fields)


def dump_collection(row: sqlite3.Row) -> dict[str, Any]:
    """The collection on the wire. What is in the trash is not counted."""
    url = f"/collections/{row['collection_id']}"
    return {
        "id": row["collection_id"],
        "name": row["name"],
        "description": row["description"],
        "track_count": row["track_count"],
        "duration": row["duration_us"] / 1_000_000,
        "size": row["size"],
        "created_at": rfc3339(row["created_at"]),
        "updated_at": rfc3339(row["updated_at"]),
        "tracks": f"{url}/tracks",
        "m3u8": f"{url}.m3u8",
        "zip": f"{url}.zip",
    }


def collection_etag(row: sqlite3.Row, revision: object = None) -> str:
    """The entity tag of what shows the collection; `revision` tells apart what its version does not."""
    return f'"{row["collection_id"]}-{row["version"]}-{row["revision"] if revision is None else revision}"'


def is_version_of(etag: str, row: sqlite3.Row) -> bool:
    """Whether somebody who saw that entity tag knows the order and all words as they are."""
    return etag.startswith(f'"{row["collection_id"]}-{row["version"]}-')
