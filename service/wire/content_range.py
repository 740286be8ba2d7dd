"""``Content-Range`` of a request: a part of a file sent by PUT (RFC 9110 sections 14.4 and 14.5)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from service.errors import InvalidHeader

FIELD = "Content-Range"

_RANGE = re.compile(r"bytes ([0-9]{1,15})-([0-9]{1,15})/(?:([0-9]{1,15})|\*)\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Bytes `start` to `end`, both inclusive, of a file of `total` bytes; None when the client does not know."""

    start: int
    end: int
    total: int | None

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file, as ``curl -C -`` sends it."""
        return self.start == 0 and self.is_last is True

    @property
    def is_last(self) -> bool | None:
        """Whether the file ends with it; None when nobody can tell."""
        return None if self.total is None else self.end + 1 == self.total


def parse(fields: Mapping[str, str], content_length: int | None) -> ContentRange | None:
    """The range, or None without the field.

    Raises:
        InvalidHeader: it is none, or the body has another size than it.
    """
    value = fields.get(FIELD)
    if value is None:
        return None
    match = _RANGE.match(value)
    if match is None:
        raise InvalidHeader("Content-Range is not `bytes START-END/TOTAL`, or `/*`.", field=FIELD)
    start, end = int(match[1]), int(match[2])
    total = int(match[3]) if match[3] is not None else None
    if end < start or (total is not None and end >= total):
        raise InvalidHeader("Content-Range ends before it starts, or behind the end of the file.", field=FIELD)
    if content_length != end - start + 1:
        raise InvalidHeader("Content-Length is not the size of the Content-Range.", field=FIELD)
    return ContentRange(start, end, total)
