"""Times as the catalogue stores them: integers, microseconds since 1970 UTC."""

import time
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
DAY = 86_400 * SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """This moment, in microseconds."""
    return time.time_ns() // 1_000


def to_datetime(microseconds: int) -> datetime:
    """The same moment, timezone-aware."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_datetime(moment: datetime) -> int:
    """The same moment in microseconds; `moment` is timezone-aware."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
