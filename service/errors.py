"""Everything that can go wrong, in domain words.

    YarrrError
    ├── Invalid                       fields of a JSON body, a form or a query
    │   ├── InvalidQuery
    │   └── InvalidHeader
    ├── MalformedBody                 cannot be parsed at all
    ├── UnsupportedMediaType
    ├── Refused                       the content of an upload
    │   ├── NotAnMp3
    │   ├── DamagedAudio
    │   ├── DigestMismatch
    │   │   └── ContentMismatch       of one request only
    │   └── TooLarge
    ├── UploadError                   the state of an upload
    │   ├── OffsetMismatch
    │   ├── InconsistentUploadLength
    │   │   └── LengthExceeded
    │   ├── UploadCompleted
    │   ├── UploadExpired
    │   ├── UploadLocked
    │   ├── TooManyUploads
    │   └── TusVersionMismatch
    ├── BodyError                     the network while a body is read
    │   ├── ClientGone
    │   └── BodyTimeout
    ├── StorageError
    │   ├── QuotaExceeded
    │   ├── StorageFull
    │   └── StorageFailed
    │       └── DatabaseFull
    ├── AccessError
    │   ├── Unauthenticated
    │   ├── Forbidden
    │   ├── InsufficientScope
    │   └── CrossSite
    ├── NotFound
    ├── Conflict                      a name that is taken
    ├── NotAnalysed
    ├── NotAPicture
    ├── PreconditionFailed
    ├── PreconditionRequired
    ├── RateLimited
    ├── Overloaded
    ├── ShuttingDown
    └── FrontendUnavailable

Each class has a permanent kebab-case ``code``; statuses and titles are the business of ``web/problems.py`` alone.
Keyword arguments are facts about the one case: they become extension members of the problem (RFC 9457 section 3.2).
"""

from typing import Any, ClassVar


class YarrrError(Exception):
    """The base: a detail for people, facts for programs."""

    code: ClassVar[str]

    def __init__(self, detail: str = "", **facts: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class Invalid(YarrrError):
    """Fields that do not validate; ``errors`` is a list of ``{"pointer", "detail"}`` (RFC 6901 pointers)."""

    code = "invalid"

    def __init__(self, detail: str = "", *, errors: list[dict[str, str]] | None = None, **facts: Any) -> None:
        super().__init__(detail or "Some fields are not valid.", errors=errors or [], **facts)


class InvalidQuery(Invalid):
    """A query parameter that is unknown or has a wrong value; ``allowed`` lists what would do."""

    code = "invalid-query"


class InvalidHeader(Invalid):
    """A request header field that cannot be understood; ``field`` is its name."""

    code = "invalid-header"


class MalformedBody(YarrrError):
    """The body is not what its Content-Type says: JSON, a form, multipart."""

    code = "malformed-body"


class UnsupportedMediaType(YarrrError):
    """A Content-Type or Content-Encoding this resource does not take."""

    code = "unsupported-media-type"


class Refused(YarrrError):
    """The content of an upload is not taken; the upload is over."""


class NotAnMp3(Refused):
    """No chain of MPEG audio layer III frames: ``bytes_examined``, ``found`` (what it looks like)."""

    code = "not-an-mp3"


class DamagedAudio(Refused):
    """Truncated, or with junk inside, and the settings are strict."""

    code = "damaged-audio"


class DigestMismatch(Refused):
    """The bytes that arrived do not hash to what the client said."""

    code = "digest-mismatch"


class ContentMismatch(DigestMismatch):
    """The bytes of one request do not hash to what the client said of them; only these bytes are forgotten."""


class TooLarge(Refused):
    """Over ``max_upload_bytes``, or a part, field or document over its own limit."""

    code = "too-large"


class UploadError(YarrrError):
    """The request does not fit the state of the upload."""


class OffsetMismatch(UploadError):
    """``expected_offset`` is the right one, ``provided_offset`` the one that was sent."""

    code = "offset-mismatch"


class InconsistentUploadLength(UploadError):
    """Two indications of the length of an upload differ, or more bytes came than were announced."""

    code = "inconsistent-upload-length"


class LengthExceeded(InconsistentUploadLength):
    """More bytes came than the upload has; those are not stored."""


class UploadCompleted(UploadError):
    """The upload is finished, and the request is not its last one again."""

    code = "completed-upload"


class UploadExpired(UploadError):
    """The upload was there once and is no longer: expired, terminated or lost in a crash."""

    code = "upload-expired"


class UploadLocked(UploadError):
    """Another request holds the upload and did not let go in time."""

    code = "upload-locked"


class TooManyUploads(UploadError):
    """The user, or the whole service, has as many uploads running or open as is allowed."""

    code = "too-many-uploads"


class TusVersionMismatch(UploadError):
    """The client speaks another version of tus, or does not say which; ``supported`` lists ours."""

    code = "tus-version-mismatch"


class BodyError(YarrrError):
    """The body ended otherwise than it should."""


class ClientGone(BodyError):
    """The client closed or reset the connection; nobody will read an answer."""

    code = "client-gone"


class BodyTimeout(BodyError):
    """No byte came for the idle time."""

    code = "body-timeout"


class StorageError(YarrrError):
    """Bytes cannot be stored."""


class QuotaExceeded(StorageError):
    """Over the user's quota: ``quota_bytes``, ``used_bytes``, ``reserved_bytes``."""

    code = "quota-exceeded"


class StorageFull(StorageError):
    """The disk has less free space than the reserve, or the write said so."""

    code = "storage-full"


class StorageFailed(StorageError):
    """The disk failed a write or a flush; nothing that was not acknowledged can be trusted."""

    code = "storage-failed"


class DatabaseFull(StorageFailed):
    """The disk has no room for the database: a failed transaction, and for the client a full disk."""

    code = StorageFull.code


class AccessError(YarrrError):
    """Who asks may not."""


class Unauthenticated(AccessError):
    """No identity, or one that is not valid."""

    code = "unauthenticated"


class Forbidden(AccessError):
    """The identity is known and may not do this."""

    code = "forbidden"


class InsufficientScope(AccessError):
    """The token lacks ``required_scope``."""

    code = "insufficient-scope"


class CrossSite(AccessError):
    """An unsafe request that a browser sent from another site."""

    code = "cross-site"


class NotFound(YarrrError):
    """Nothing there, or nothing this user may know of: both look the same."""

    code = "not-found"


class Conflict(YarrrError):
    """The name is taken, or the state does not allow it."""

    code = "conflict"


class NotAnalysed(YarrrError):
    """What analysis finds is not known: not yet (``retry_after`` in seconds), or never (``reason``)."""

    code = "not-analysed"


class NotAPicture(YarrrError):
    """What was sent as a cover cannot be shown."""

    code = "not-a-picture"


class PreconditionFailed(YarrrError):
    """If-Match names another version than the present one."""

    code = "precondition-failed"


class PreconditionRequired(YarrrError):
    """A change needs If-Match, so that no other change is lost."""

    code = "precondition-required"


class RateLimited(YarrrError):
    """Too many tries; ``retry_after`` in seconds."""

    code = "rate-limited"


class Overloaded(YarrrError):
    """The service has as much work as it takes on; ``retry_after`` in seconds."""

    code = "overloaded"


class ShuttingDown(YarrrError):
    """The service is draining; ``retry_after`` in seconds."""

    code = "shutting-down"


class FrontendUnavailable(YarrrError):
    """The front-end server did not answer, or not in a way that can be passed on."""

    code = "frontend-unavailable"
