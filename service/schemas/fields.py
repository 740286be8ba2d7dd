"""Fields that more than one resource has."""

from datetime import UTC, datetime, timedelta
from typing import Any

from marshmallow import fields

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Text(fields.String):
    """Text that every part of the service can hold: no NUL, no half of a surrogate pair."""

    default_error_messages = {"unusable": "Must not contain NUL characters or lone surrogates."}  # noqa: RUF012

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise self.make_error("unusable")
        return text


def rfc3339(microseconds: int) -> str:
    """A time of the catalogue on the wire: ``2026-11-22T16:10:00.123456Z`` (RFC 3339 section 5.6)."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Timestamp(fields.Field[str]):
    """A time of the catalogue, integer microseconds. Dump only."""

    def _serialize(self, value: Any, *_: Any, **__: Any) -> str | None:
        return None if value is None else rfc3339(value)
