"""Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload): header fields in, header fields out.

Interop version 8, and what clients of the versions 6 (draft -05) and 5 (draft -03) need. Every function takes fields
whose lines of one name have been joined; a field that came twice is then no item any more and, as the draft says,
ignored.
"""

from dataclasses import dataclass

from service.errors import InconsistentUploadLength, InvalidHeader
from service.wire.structured import Fields, boolean, count, from_boolean, from_counts

CONTENT_TYPE = "application/partial-upload"
STATUS = 104
REASON = "Upload Resumption Supported"
INTEROP_FIELD = "Upload-Draft-Interop-Version"
INTEROP_VERSIONS = frozenset({8, 6, 5})
"""Versions whose clients get interim answers."""

LENIENT_VERSIONS = frozenset({6, 5})
"""Versions in which an upload is complete, too, when its length is reached. The client that speaks them, tus-js-client
4.3, does not say ``?1`` with the last bytes of a file it reads in Node unless they are also the first ones.
"""

UNTYPED_VERSION = 5  # draft -03 has no media type for the content of an append

MAX_INTEGER = 10**15 - 1
MICROSECONDS = 1_000_000

_TYPES = "https://iana.org/assignments/http-problem-types#"
MISMATCHING_OFFSET = f"{_TYPES}mismatching-upload-offset"
COMPLETED = f"{_TYPES}completed-upload"
INCONSISTENT_LENGTH = f"{_TYPES}inconsistent-upload-length"


@dataclass(frozen=True, slots=True)
class Creation:
    """A request that creates an upload. ``is_complete``: its body is all of it. ``length`` is None while unknown.

    ``is_last`` is None when the upload is complete with this content if the length is reached.
    """

    is_complete: bool
    length: int | None
    is_last: bool | None


@dataclass(frozen=True, slots=True)
class Appending:
    """A PATCH. ``length`` is what it says of the whole, ``end`` the offset behind its body; None while unknown.

    ``is_complete`` and ``is_last`` as of a creation.
    """

    offset: int
    is_complete: bool
    length: int | None
    end: int | None
    is_last: bool | None


def interop_of(fields: Fields) -> int | None:
    """The version of the draft whose interim answers the client understands; None for no interim answers."""
    version = count(fields, INTEROP_FIELD)
    return version if version in INTEROP_VERSIONS else None


def is_creation(fields: Fields) -> bool:
    """Whether a request with content asks for an upload. A field that is not ``?0`` or ``?1`` does not count."""
    return boolean(fields, "Upload-Complete") is not None


def is_whole(fields: Fields) -> bool:
    """Whether the content is said to be all there is."""
    return boolean(fields, "Upload-Complete") is True


def is_spoken(fields: Fields) -> bool:
    """Whether a request to an upload is one of the draft, and not one of tus."""
    return "Tus-Resumable" not in fields and (INTEROP_FIELD in fields or is_append(fields))


def is_append(fields: Fields) -> bool:
    """Whether a request to an upload can only be an append of the draft."""
    return "Upload-Complete" in fields or _media_type(fields) == CONTENT_TYPE


def _media_type(fields: Fields) -> str:
    return fields.get("Content-Type", "").partition(";")[0].strip().lower()


def may_append_as(fields: Fields) -> bool:
    """Whether the Content-Type is one of an append."""
    return _media_type(fields) == CONTENT_TYPE or count(fields, INTEROP_FIELD) == UNTYPED_VERSION


def parse_creation(fields: Fields, content_length: int | None) -> Creation:
    """What a request with ``Upload-Complete`` wants to create; `content_length` is None for chunked content.

    Raises:
        InconsistentUploadLength: it tells two lengths, or has more content than the length it tells.
    """
    is_complete = is_whole(fields)
    length = _length(fields, is_complete=is_complete, end=content_length)
    return Creation(is_complete, length, _is_last(fields, is_complete=is_complete))


def parse_append(fields: Fields, content_length: int | None) -> Appending:
    """What a PATCH wants to append; `content_length` is None for chunked content.

    Raises:
        InvalidHeader: the offset or the completeness is missing or malformed.
        InconsistentUploadLength: it tells two lengths, or has more content than the length it tells.
    """
    offset, is_complete = count(fields, "Upload-Offset"), boolean(fields, "Upload-Complete")
    if offset is None:
        raise InvalidHeader("Send Upload-Offset, a non-negative integer.", field="Upload-Offset")
    if is_complete is None:
        raise InvalidHeader("Send Upload-Complete, ?1 or ?0.", field="Upload-Complete")
    end = None if content_length is None else offset + content_length
    length = _length(fields, is_complete=is_complete, end=end)
    return Appending(offset, is_complete, length, end, _is_last(fields, is_complete=is_complete))


def _is_last(fields: Fields, *, is_complete: bool) -> bool | None:
    return None if ends_with_length(fields) and not is_complete else is_complete


def ends_with_length(fields: Fields) -> bool:
    """Whether to this client an upload is complete when its length is reached."""
    return count(fields, INTEROP_FIELD) in LENIENT_VERSIONS


def _length(fields: Fields, *, is_complete: bool, end: int | None) -> int | None:
    told = count(fields, "Upload-Length")
    if told is not None and end is not None and (end > told or (is_complete and end != told)):
        raise InconsistentUploadLength("Upload-Length and Content-Length do not agree.", length=told, end=end)
    return end if is_complete and end is not None else told


def limit_field(max_size: int | None, lives_us: int | None = None) -> dict[str, str]:
    """``Upload-Limit``: the largest upload in bytes, and how long it will be there, in microseconds."""
    limits: dict[str, int] = {}
    if max_size is not None:
        limits["max-size"] = min(max_size, MAX_INTEGER)
    if lives_us is not None:
        limits["max-age"] = max(0, lives_us // MICROSECONDS)
    return {"Upload-Limit": from_counts(limits or {"min-size": 0})}


def discovery_fields(max_size: int, lives_us: int) -> dict[str, str]:
    """What OPTIONS tells; drafts -10 and -11 ask for Accept-Patch."""
    return {**limit_field(max_size, lives_us), "Accept-Patch": CONTENT_TYPE}


def announcement(interop: int, location: str, limit: dict[str, str]) -> dict[str, str]:
    """The interim answer to a creation: where the upload is."""
    return {INTEROP_FIELD: str(interop), "Location": location, **limit}


def progress(interop: int, offset: int) -> dict[str, str]:
    """The interim answer while content comes; it never has a Location."""
    return {INTEROP_FIELD: str(interop), "Upload-Offset": str(offset)}


def complete_field(*, is_complete: bool) -> dict[str, str]:
    """``Upload-Complete``. With true the answer is that of the resource the upload is for, even if it is an error."""
    return {"Upload-Complete": from_boolean(is_complete)}


def offset_fields(offset: int, *, is_complete: bool) -> dict[str, str]:
    """After a creation or an append. Version 8 does not ask for the offset, 6 and 5 do."""
    return {**complete_field(is_complete=is_complete), "Upload-Offset": str(offset)}


def state_fields(offset: int, length: int | None, limit: dict[str, str], *, is_complete: bool) -> dict[str, str]:
    """What HEAD tells of an upload."""
    fields = {**offset_fields(offset, is_complete=is_complete), **limit, "Cache-Control": "no-store"}
    return fields if length is None else {**fields, "Upload-Length": str(length)}
