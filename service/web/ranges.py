"""Byte ranges of a download (RFC 9110 section 14).

One range is answered; several ranges, another unit and what is malformed are ignored, as section 14.2 allows, and the
whole is sent: a client that gets more than it asked for can go on, one that gets 416 for a good wish cannot.
"""

import re
from dataclasses import dataclass

# Forty digits are more than any size; a range that long is beyond the end, not malformed.
_RANGE = re.compile(r"bytes=(?:([0-9]{1,40})-([0-9]{0,40})|-([0-9]{1,40}))", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of a content: ``count`` of them from ``start`` on."""

    start: int
    count: int

    def content_range(self, size: int) -> str:
        """The field ``Content-Range`` of a 206 (section 14.4)."""
        return f"bytes {self.start}-{self.start + self.count - 1}/{size}"


class Unsatisfiable(ValueError):
    """A well-formed range of which no byte exists: 416 with ``Content-Range: bytes */size``."""


def parse_range(field: str, size: int) -> Span | None:
    """The bytes that a Range field asks of a content of `size` bytes; None when the field is to be ignored.

    Raises:
        Unsatisfiable: the range lies wholly behind the end, or is a suffix of no bytes.
    """
    match = _RANGE.fullmatch(field)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        count = min(int(suffix), size)
        if int(suffix) == 0:
            raise Unsatisfiable(field)
        return Span(size - count, count) if count else None
    start = int(first)
    end = int(last) if last else max(start, size - 1)
    if end < start:
        return None
    if start >= size:
        raise Unsatisfiable(field)
    return Span(start, min(end, size - 1) - start + 1)
