"""Users, sessions and tokens at the border: what comes in as JSON or a form, what goes out as JSON."""

from datetime import UTC, datetime, timedelta
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from service.schemas.fields import Text, Timestamp

MAX_LIFE_DAYS = 36_525
MAX_PASSWORD = 4096  # characters; a login with a longer one is not even tried


def _in_time(value: datetime) -> None:
    now = datetime.now(UTC)
    if not now < value <= now + timedelta(days=MAX_LIFE_DAYS):
        raise ValidationError("Must be in the future, within a hundred years.")


class LoginSchema(Schema):
    """``next`` is where a browser goes afterwards."""

    username = Text(required=True, validate=validate.Length(min=1, max=256))
    password = Text(required=True, validate=validate.Length(min=1, max=MAX_PASSWORD))
    next = Text(load_default="/")


class PasswordSchema(Schema):
    """What a user may change about oneself."""

    current_password = Text(required=True, validate=validate.Length(max=MAX_PASSWORD))
    password = Text(required=True, validate=validate.Length(max=MAX_PASSWORD))


class NewTokenSchema(Schema):
    """An API token to be made; without an end it lives until it is revoked."""

    name = Text(required=True, validate=validate.Length(min=1, max=100))
    scopes = fields.List(Text(), required=True, validate=validate.Length(min=1, max=20))
    expires_at = fields.AwareDateTime(format="iso", load_default=None, allow_none=True, validate=_in_time)
    expires_in_s = fields.Integer(
        strict=True, load_default=None, allow_none=True, validate=validate.Range(min=1, max=MAX_LIFE_DAYS * 86_400)
    )

    @validates_schema
    def check_one_end(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("expires_at") is not None and data.get("expires_in_s") is not None:
            raise ValidationError("Give expires_at or expires_in_s, not both.", "expires_in_s")


class UserSchema(Schema):
    """A user, to oneself."""

    id = fields.String(attribute="user_id")
    name = fields.String()
    is_admin = fields.Boolean()
    created_at = Timestamp()


class QuotaSchema(Schema):
    """What one may store, what is stored, what belongs to uploads on their way, and what is left."""

    limit_bytes = fields.Integer()
    used_bytes = fields.Integer()
    reserved_bytes = fields.Integer()
    left_bytes = fields.Integer()
    limit_tracks = fields.Integer()


class ProfileSchema(UserSchema):
    """``/me``: the user, what the credential in use may do, and the quota."""

    scopes = fields.List(fields.String())
    track_count = fields.Integer(attribute="used_tracks")
    quota = fields.Nested(QuotaSchema)


class AccountSchema(UserSchema):
    """A user, to who runs the service."""

    disabled_at = Timestamp()
    quota_bytes = fields.Integer()
    used_bytes = fields.Integer()
    reserved_bytes = fields.Integer()
    track_count = fields.Integer(attribute="used_tracks")


class SessionSchema(Schema):
    """A session; ``current`` is the one that asks."""

    id = fields.String(attribute="session_id")
    address = fields.String()
    user_agent = fields.String()
    created_at = Timestamp()
    last_seen_at = Timestamp()
    expires_at = Timestamp()
    current = fields.Boolean()


class TokenSchema(Schema):
    """An API token without its secret."""

    id = fields.String(attribute="token_id")
    name = fields.String()
    scopes = fields.List(fields.String())
    created_at = Timestamp()
    expires_at = Timestamp()
    last_used_at = Timestamp()
