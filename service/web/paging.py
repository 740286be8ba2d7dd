"""Listings on the wire: the query of a page, its cursor, and the links to the pages around it.

    GET /tracks?artist=Nina&duration[gte]=60&sort=-created_at,title&limit=50&fields=id,title&count=exact&cursor=…

A cursor is a position between two rows, not a number of rows, so rows that come and go elsewhere move nothing. It is
opaque, and good only for the listing that gave it: the same user, filters and sort.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Any, NoReturn
from urllib.parse import urlencode

import orjson
from multidict import MultiMapping

from service.errors import InvalidQuery

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
MAX_CURSOR = 8192
OPERATORS = {"": "=", "[gt]": ">", "[gte]": ">=", "[lt]": "<", "[lte]": "<="}

_DIGEST = 8
_INTEGERS = range(-(1 << 63), 1 << 63)
_CONTROLS = ("cursor", "limit", "sort", "fields", "count")

Position = tuple[str | int | float, ...]
Sort = tuple[tuple[str, bool], ...]
Condition = tuple[str, str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """A query parameter: the column and operator it stands for, how its text is read (ValueError says why not).

    A text that is read as None filters nothing.
    """

    column: str
    operator: str
    read: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Rules:
    """What one listing can do. ``sorts`` are columns, ``default_sort`` as the parameter has it.

    ``families`` are filters of many names, ``label[mood]``: the filter of what is in the brackets, or None.
    ``ordered`` makes of a sort all that a position has a value of.
    """

    filters: Mapping[str, Filter]
    sorts: tuple[str, ...]
    fields: tuple[str, ...]
    default_sort: str
    families: Mapping[str, Callable[[str], Filter | None]] = field(default_factory=dict)
    ordered: Callable[[Sort], Sort] = lambda sort: (*sort, ("id", sort[-1][1]))

    @property
    def parameters(self) -> list[str]:
        return [*self.filters, *self.families, *_CONTROLS]

    def find(self, name: str) -> Filter | None:
        """The filter that the parameter `name` is."""
        family, bracket, rest = name.partition("[")
        if bracket and rest.endswith("]") and family in self.families:
            return self.families[family](rest[:-1])
        return self.filters.get(name)


@dataclass(frozen=True, slots=True)
class Query:
    """A page that is asked for. ``sort`` has (column, is_descending), ``position`` is the row next to the page."""

    conditions: tuple[Condition, ...]
    sort: Sort
    fields: tuple[str, ...]
    limit: int
    is_counted: bool
    position: Position | None
    is_backwards: bool
    binding: bytes


def read_conditions(
    query: MultiMapping[str], rules: Rules, controls: Collection[str]
) -> tuple[list[Condition], dict[str, str]]:
    """The filters among the parameters, in a definite order, and the `controls` among them.

    Raises:
        InvalidQuery: one is unknown, was sent twice, or has a value that cannot be; ``allowed`` lists what can.
    """
    given: dict[str, str] = {}
    conditions = []
    for name, value in query.items():
        if name in given:
            _refuse(name, "Was sent more than once.")
        given[name] = value
        if (each := rules.find(name)) is not None:
            if (wanted := _read(name, value, each.read)) is not None:
                conditions.append((each.column, each.operator, wanted))
        elif name not in controls:
            allowed = [*rules.filters, *rules.families, *controls]
            raise InvalidQuery(f"There is no parameter {name[:64]!r}.", parameter=name[:64], allowed=allowed)
    conditions.sort(key=lambda condition: condition[:2])
    return conditions, {name: given[name] for name in controls if name in given}


def read_query(query: MultiMapping[str], rules: Rules, user_id: str) -> Query:
    """What the parameters ask for.

    Raises:
        InvalidQuery: one is unknown, was sent twice, or has a value that cannot be; ``allowed`` lists what can.
    """
    conditions, given = read_conditions(query, rules, _CONTROLS)
    sort = _read_sort(given.get("sort", rules.default_sort), rules.sorts)
    binding = _binding(user_id, conditions, sort)
    position, is_backwards = None, False
    if "cursor" in given:
        position, is_backwards = _read_cursor(given["cursor"], binding, len(rules.ordered(sort)))
    return Query(
        conditions=tuple(conditions),
        sort=sort,
        fields=_read_fields(given["fields"], rules.fields) if "fields" in given else rules.fields,
        limit=read_limit(given["limit"]) if "limit" in given else DEFAULT_LIMIT,
        is_counted="count" in given and _read_count(given["count"]),
        position=position,
        is_backwards=is_backwards,
        binding=binding,
    )


def cursor(query: Query, position: Position, *, is_backwards: bool) -> str:
    """The cursor of the page behind `position`, or before it."""
    payload = orjson.dumps(["<" if is_backwards else ">", *position])
    return _encode(_seal(query.binding, payload) + payload)


def page_url(path: str, query: MultiMapping[str], page_cursor: str | None) -> str:
    """The relative URL of another page of the same listing; the first one without a cursor."""
    parameters = [(name, value) for name, value in query.items() if name != "cursor"]
    if page_cursor is not None:
        parameters.append(("cursor", page_cursor))
    return f"{path}?{urlencode(parameters)}" if parameters else path


def link_field(links: Mapping[str, str | None]) -> str:
    """The field ``Link`` (RFC 8288) of relation names and URLs."""
    return ", ".join(f'<{url}>; rel="{relation}"' for relation, url in links.items() if url is not None)


def _refuse(parameter: str, detail: str, **facts: Any) -> NoReturn:
    raise InvalidQuery(f"{parameter[:64]}: {detail}", parameter=parameter[:64], **facts) from None


def _read(name: str, value: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(value)
    except ValueError as error:
        _refuse(name, str(error))


def _read_sort(text: str, allowed: tuple[str, ...]) -> Sort:
    keys: dict[str, bool] = {}
    for part in text.split(","):
        column = part.removeprefix("-")
        if column not in allowed or column in keys:
            _refuse("sort", "Name each column once, `-` in front for descending.", allowed=list(allowed))
        keys[column] = part.startswith("-")
    return tuple(keys.items())


def _read_fields(text: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    names = set(text.split(","))
    if not names <= set(allowed):
        _refuse("fields", "Name members of an item.", allowed=list(allowed))
    return tuple(each for each in allowed if each in names)


def read_limit(text: str) -> int:
    """How many are asked for.

    Raises:
        InvalidQuery: not a number from 1 to `MAX_LIMIT`.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        _refuse("limit", f"A number from 1 to {MAX_LIMIT}.", allowed=[1, MAX_LIMIT])
    return int(text)


def _read_count(text: str) -> bool:
    if text not in ("none", "exact"):
        _refuse("count", "`none` or `exact`.", allowed=["none", "exact"])
    return text == "exact"


def _binding(user_id: str, conditions: list[Condition], sort: Sort) -> bytes:
    return blake2s(repr((user_id, conditions, sort)).encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


def _seal(binding: bytes, payload: bytes) -> bytes:
    # It tells a foreign or damaged cursor, not a forged one: a position reveals nothing that the listing does not.
    return blake2s(payload, digest_size=_DIGEST, key=binding).digest()


def _read_cursor(text: str, binding: bytes, length: int) -> tuple[Position, bool]:
    try:
        if len(text) > MAX_CURSOR:
            raise ValueError
        packed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        seal, payload = packed[:_DIGEST], packed[_DIGEST:]
        if seal != _seal(binding, payload) or _encode(packed) != text:
            raise ValueError
        direction, *position = orjson.loads(payload)
        if len(position) != length or direction not in ("<", ">") or not all(map(_is_value, position)):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        _refuse("cursor", "It is damaged, or belongs to another listing.")
    return tuple(position), direction == "<"


def _encode(packed: bytes) -> str:
    return urlsafe_b64encode(packed).rstrip(b"=").decode("ascii")


def _is_value(value: Any) -> bool:
    return type(value) in (str, float) or (type(value) is int and value in _INTEGERS)
