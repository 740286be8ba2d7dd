"""Items of RFC 9651 as the upload fields use them. A field that is something else counts as not sent."""

from collections.abc import Mapping
from typing import Any, cast

import http_sf

Fields = Mapping[str, str]


def boolean(fields: Fields, name: str) -> bool | None:
    """``?1`` or ``?0``; parameters are ignored. None without the field, or when it is anything else."""
    value = _item(fields, name)
    return value if isinstance(value, bool) else None


def count(fields: Fields, name: str) -> int | None:
    """A non-negative integer of at most 15 digits; None without the field, or when it is anything else."""
    value = _item(fields, name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _item(fields: Fields, name: str) -> Any:
    try:
        value, _parameters = cast(tuple[Any, Any], http_sf.parse(fields[name].encode("ascii"), tltype="item"))
    except (KeyError, ValueError):
        return None
    return value


def from_boolean(value: bool) -> str:
    """``?1`` or ``?0``"""
    return "?1" if value else "?0"


def from_counts(members: Mapping[str, int]) -> str:
    """A dictionary of integers: ``max-size=5, max-age=60``."""
    return ", ".join(f"{key}={value}" for key, value in members.items())
