"""tus 1.0.0: header fields in, header fields out.

Every function takes fields whose lines of one name have been joined, as RFC 9110 section 5.3 says: a field that came
twice then is no number any more, and is refused.
"""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import urlsplit

from service.errors import InvalidHeader, TusVersionMismatch
from service.wire import metadata

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "checksum",
    "concatenation",
    "expiration",
)
CHECKSUM_BYTES = {"sha1": 20, "sha256": 32, "crc32c": 4}
"""The algorithms of ``Upload-Checksum`` and how long their digests are."""

CONTENT_TYPE = "application/offset+octet-stream"
PARTIAL = "partial"
FINAL = "final"
CHECKSUM_FAILED = 460

MAX_DIGITS = 18  # of a number; more than any disk has
MICROSECONDS = 1_000_000

_NUMBER = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}\Z")
_UPLOAD_PATH = re.compile(r"/uploads/([0-9a-f]{32})\Z")

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Creation:
    """A POST. ``length`` is None when it is to be told later; ``parts`` are the URLs of a final upload, else None.

    ``metadata`` and ``concat`` are the fields as they were sent.
    """

    length: int | None
    filename: str | None
    title: str | None
    metadata: str | None
    concat: str | None
    parts: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Appending:
    """A PATCH. ``length`` is there when it tells a length that was deferred."""

    offset: int
    length: int | None
    checksum: dict[str, bytes]


def check_version(fields: Fields, *, may_lack: bool = False) -> None:
    """Raise unless the client speaks our version of the protocol.

    Raises:
        TusVersionMismatch: another version, or none where `may_lack` is false.
    """
    version = fields.get("Tus-Resumable")
    if version != VERSION and not (may_lack and version is None):
        raise TusVersionMismatch("Send Tus-Resumable: 1.0.0.", supported=[VERSION])


def parse_creation(fields: Fields) -> Creation:
    """What a POST wants to create.

    Raises:
        InvalidHeader: a field is malformed, or the length is told twice, or not at all.
    """
    raw = fields.get(metadata.FIELD, "").strip() or None
    known = metadata.parse(raw) if raw else {}
    concat = fields.get("Upload-Concat")
    parts = _parse_concat(concat) if concat is not None else None
    return Creation(
        length=_length_of_creation(fields, is_final=parts is not None),
        filename=metadata.filename_of(known),
        title=known.get("title"),
        metadata=raw,
        concat=concat,
        parts=parts,
    )


def _length_of_creation(fields: Fields, *, is_final: bool) -> int | None:
    length, defer = fields.get("Upload-Length"), fields.get("Upload-Defer-Length")
    if is_final:
        if length is not None or defer is not None:
            raise InvalidHeader("The length of a final upload is that of its parts.", field="Upload-Length")
        return None
    if defer is not None:
        if length is not None:
            raise InvalidHeader("Send Upload-Length or Upload-Defer-Length, not both.", field="Upload-Length")
        if defer != "1":
            raise InvalidHeader("The only value of Upload-Defer-Length is 1.", field="Upload-Defer-Length")
        return None
    if length is None:
        raise InvalidHeader("Send Upload-Length, or Upload-Defer-Length: 1.", field="Upload-Length")
    return _number(fields, "Upload-Length")


def _parse_concat(value: str) -> tuple[str, ...] | None:
    if value == PARTIAL:
        return None
    kind, semicolon, urls = value.partition(";")
    parts = tuple(urls.split())
    if kind != FINAL or not semicolon or not parts or not value.isascii():
        raise InvalidHeader("Upload-Concat is `partial`, or `final;` and URLs.", field="Upload-Concat")
    return parts


def upload_id_of(url: str, hosts: Collection[str]) -> str:
    """The upload that a URL of ``Upload-Concat`` names; `hosts` are the names this service goes by, with their ports.

    Raises:
        InvalidHeader: it is not the URL of an upload here.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    match = _UPLOAD_PATH.match(parts.path)
    is_own = not parts.netloc or (parts.netloc.lower() in hosts and parts.scheme in ("http", "https", ""))
    if match is None or not is_own or parts.query or parts.fragment or (parts.scheme and not parts.netloc):
        raise InvalidHeader("Upload-Concat names a URL that is no upload of this service.", field="Upload-Concat")
    return match[1]


def parse_append(fields: Fields) -> Appending:
    """What a PATCH wants to append.

    Raises:
        InvalidHeader: a field is malformed, or the offset is missing.
    """
    if "Upload-Offset" not in fields:
        raise InvalidHeader("Send Upload-Offset.", field="Upload-Offset")
    return Appending(
        offset=_number(fields, "Upload-Offset"),
        length=_number(fields, "Upload-Length") if "Upload-Length" in fields else None,
        checksum=parse_checksum(fields),
    )


def parse_checksum(fields: Fields) -> dict[str, bytes]:
    """The digest of ``Upload-Checksum`` by the name of its algorithm; empty without the field.

    Raises:
        InvalidHeader: the algorithm is not known, or the digest is none of it.
    """
    value = fields.get("Upload-Checksum")
    if value is None:
        return {}
    algorithm, _, encoded = value.partition(" ")
    if algorithm not in CHECKSUM_BYTES:
        known = list(CHECKSUM_BYTES)
        raise InvalidHeader("The algorithm of Upload-Checksum is not known.", field="Upload-Checksum", algorithms=known)
    try:
        digest = b64decode(encoded.strip().encode("ascii"), validate=True)
    except (Error, ValueError):
        digest = b""
    if len(digest) != CHECKSUM_BYTES[algorithm]:
        raise InvalidHeader("Upload-Checksum has no digest of the right length.", field="Upload-Checksum")
    return {algorithm: digest}


def _number(fields: Fields, name: str) -> int:
    value = fields[name]
    if not _NUMBER.match(value):
        raise InvalidHeader(f"{name} is not a decimal number.", field=name)
    return int(value)


def options_fields(max_bytes: int) -> dict[str, str]:
    """What OPTIONS tells of the server."""
    return {
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Max-Size": str(max_bytes),
        "Tus-Checksum-Algorithm": ",".join(CHECKSUM_BYTES),
    }


def offset_fields(offset: int, expires_at: int | None) -> dict[str, str]:
    """The offset after an append, and the end of an upload that is not finished (microseconds)."""
    fields = {"Upload-Offset": str(offset)}
    if expires_at is not None:
        # An HTTP date has no fractions: cut off, so that the upload lives at least as long as was said.
        fields["Upload-Expires"] = formatdate(expires_at // MICROSECONDS, usegmt=True)
    return fields


def state_fields(
    *, offset: int, length: int | None, metadata: str | None, concat: str | None, expires_at: int | None
) -> dict[str, str]:
    """What HEAD tells of an upload."""
    fields = {**offset_fields(offset, expires_at), "Cache-Control": "no-store"}
    fields |= {"Upload-Length": str(length)} if length is not None else {"Upload-Defer-Length": "1"}
    if metadata is not None:
        fields["Upload-Metadata"] = metadata
    if concat is not None:
        fields["Upload-Concat"] = concat
    return fields
