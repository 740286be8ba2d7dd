"""An upload on the wire."""

import sqlite3
from typing import Any

from marshmallow import Schema, fields

from service.schemas.fields import Timestamp
from service.schemas.tracks import TrackSchema


class UploadSchema(Schema):
    """An upload and the track it has become. Sizes are bytes; ``length`` is null while unknown.

    ``problem`` says why the content was refused: ``{code, detail, …}``.
    """

    id = fields.String(attribute="upload.upload_id")
    filename = fields.String(attribute="upload.filename")
    state = fields.String(attribute="upload.state")
    offset = fields.Integer(attribute="upload.offset")
    length = fields.Integer(attribute="upload.length")
    expires_at = Timestamp(attribute="upload.expires_at")
    problem = fields.Raw(attribute="upload.problem")
    track = fields.Nested(TrackSchema, allow_none=True)


_UPLOAD = UploadSchema()


def dump_upload(upload: Any, track: sqlite3.Row | None = None) -> dict[str, Any]:
    """The upload on the wire; `track` is the row of its track, when it is finished and the track is still there."""
    dumped: dict[str, Any] = _UPLOAD.dump({"upload": upload, "track": track})
    return dumped
