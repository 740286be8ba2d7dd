"""Conditional requests (RFC 9110 section 13): entity tags, dates, and in which order they are asked."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from service.errors import PreconditionFailed, PreconditionRequired

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\uffff]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_EACH = re.compile(_TAG)


def entity_tags(field: str) -> list[str]:
    """The entity tags of an If-Match or If-None-Match field; none when it is malformed."""
    return _EACH.findall(field) if _TAGS.fullmatch(field) else []


def matches(field: str, etag: str) -> bool:
    """Strong comparison, as If-Match needs it (section 8.8.3.2); ``*`` matches whatever is there."""
    if field.strip() == "*":
        return True
    return not etag.startswith("W/") and etag in entity_tags(field)


def matches_weakly(field: str, etag: str) -> bool:
    """Weak comparison, as If-None-Match needs it."""
    if field.strip() == "*":
        return True
    opaque = etag.removeprefix("W/")
    return any(each.removeprefix("W/") == opaque for each in entity_tags(field))


def check_match(
    headers: Mapping[str, str],
    etag: str,
    *,
    is_required: bool = False,
    is_equal: Callable[[str], bool] | None = None,
) -> None:
    """Let a change go on only if If-Match names the present version; `is_equal` tells which else stand for it.

    Raises:
        PreconditionFailed: it names another one.
        PreconditionRequired: there is no If-Match although the change needs one (RFC 6585 section 3).
    """
    field = headers.get("If-Match")
    if field is None:
        if is_required:
            raise PreconditionRequired("Send the ETag you last saw in If-Match, or * to overwrite whatever is there.")
        return
    if not matches(field, etag) and not (is_equal and any(map(is_equal, entity_tags(field)))):
        raise PreconditionFailed("If-Match does not name the present version.", etag=etag)


def is_not_modified(headers: Mapping[str, str], etag: str, modified: datetime | None = None) -> bool:
    """Whether a GET or HEAD is answered with 304; If-None-Match makes If-Modified-Since count for nothing."""
    field = headers.get("If-None-Match")
    if field is not None:
        return matches_weakly(field, etag)
    since = _date(headers.get("If-Modified-Since"))
    return since is not None and modified is not None and modified.replace(microsecond=0) <= since


def check_unmodified(headers: Mapping[str, str], etag: str, modified: datetime | None) -> None:
    """Let a read go on only if If-Match, or else If-Unmodified-Since, holds; the latter counts where there is a date.

    Raises:
        PreconditionFailed: it does not.
    """
    if "If-Match" in headers:
        check_match(headers, etag)
        return
    since = _date(headers.get("If-Unmodified-Since"))
    if since is not None and modified is not None and modified.replace(microsecond=0) > since:
        raise PreconditionFailed("It was modified after If-Unmodified-Since.")


def may_send_range(headers: Mapping[str, str], etag: str, modified: datetime | None) -> bool:
    """Whether If-Range allows a part: only of the very version the client has the rest of (section 13.1.5)."""
    field = headers.get("If-Range")
    if field is None:
        return True
    field = field.strip()
    if field.startswith(('"', "W/")):
        return field == etag and not etag.startswith("W/")
    return modified is not None and _date(field) == modified.replace(microsecond=0)


def http_date(moment: datetime) -> str:
    """``Sun, 22 Nov 2026 16:10:00 GMT`` (section 5.6.7)."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _date(field: str | None) -> datetime | None:
    if field is None:
        return None
    try:
        moment = parsedate_to_datetime(field)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError):
        return None
