"""Jobs, to who runs the service."""

from marshmallow import Schema, fields

from service.schemas.fields import Timestamp


class JobSchema(Schema):
    """A job that runs, waits or has failed; ``problem`` says what went wrong at the last attempt."""

    kind = fields.String()
    state = fields.String()
    attempts = fields.Integer()
    track = fields.String(attribute="track_id")
    filename = fields.String()
    user = fields.String()
    due_at = Timestamp()
    problem = fields.String()
