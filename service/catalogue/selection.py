"""Which tracks of a user: conditions as SQL, and the way to few of them.

Where the full-text index leaves at most `FEW`, those are looked up, tested and sorted. Where the index of one column
leaves few, they are tested and sorted by what it has of them. Else a page is found by walking along the order it is
asked in: of many tracks that fulfil the conditions, fifty are soon met. What is walked past is tested without a look at
its row.
"""

import math
import sqlite3
from collections.abc import Sequence
from typing import Any, Self

from service.catalogue import search

FEW = 1_500
"""So many rows are looked up and sorted in the time in which fifty of as many among a million are met by walking.

It is more where many of those walked past are looked up in vain.
"""

MANY = 50_000
"""So many are looked up rather than all others walked past."""

NARROW = 15_000
"""So many entries of the index of one column are read before others are walked past."""

Condition = tuple[str, str, Any]
"""Column, operator, value. Besides columns there are ``words`` (folded words that words of the track begin with),
``label:NAME``, ``has_cover`` (0 or 1), and ``same_as`` (the id of another track).
"""

INDEXED = ("created_at", "title", "artist", "album", "genre", "sort_year", "duration", "size", "bitrate")
"""Columns with an index ``tracks_by_…`` that begins with whose track it is and whether it is in the trash."""

COVERED = frozenset({"created_at", "track_id", "sort_year", "duration", "size", "bitrate"})
"""Columns that each of these indexes has."""

LISTED = "json_each(:numbers) CROSS JOIN tracks ON number = value"
"""The tracks of these numbers, as SQL."""

_SAMPLE = 64
_VAIN_WORDS = (1, 1, 0.4, 0.15, 0.05)  # the part of all rows that has the bits of a word of so many letters
_SIDES = {">": ">", ">=": ">", "<": "<", "<=": "<"}
_NUMBERS = COVERED - {"track_id"}
_SELECTIVE = ("title", "album", "duration", "size", "artist", "sort_year", "genre", "bitrate")  # mostly
_COLUMNS = frozenset({*INDEXED, *search.TEXTS, *search.FACTS, "sha256"}) - {"has_cover"}
_OWN = "user_id = :user AND is_trashed = :is_trashed"
_BY_TEXT = "SELECT rowid AS hit FROM searched WHERE searched MATCH :{0}"
_ENTRIES = f"SELECT count(*) FROM (SELECT 1 FROM tracks INDEXED BY tracks_by_{{0}} WHERE {_OWN} AND {{1}} LIMIT :limit)"
_ANALYSING = f"SELECT number AS hit FROM tracks INDEXED BY tracks_analysing WHERE {_OWN} AND state = 'analysing'"
_BY_SHA256 = "SELECT number AS hit FROM tracks INDEXED BY tracks_by_sha256 WHERE user_id = :user AND sha256 = :{0}"
_OTHER = "(SELECT {1} FROM tracks WHERE track_id = :{0} AND user_id = :user)"
_SAME = f"""
    tracks.track_id <> :{{0}} AND (
        sha256 = {_OTHER.format("{0}", "sha256")}
        OR frames_sha256 = {_OTHER.format("{0}", "frames_sha256")}
        OR sound_id = {_OTHER.format("{0}", "sound_id")})
"""
_BY_SAME = " UNION ".join(
    f"SELECT number AS hit FROM tracks INDEXED BY tracks_by_{index} WHERE user_id = :user"
    f" AND {column} = {_OTHER.format('{0}', column)}"
    for index, column in (("sha256", "sha256"), ("frames", "frames_sha256"), ("sound", "sound_id"))
)


def column_of(name: str) -> str:
    """The column that a sort or a comparison of that name is of. Where no year is known, the year's has -1."""
    return "sort_year" if name == "year" else name


class Selection:
    """Conditions on the tracks of one user; those in the trash only when ``state`` asks for them.

    ``parameters`` are those of all SQL that comes from here. ``fixed`` are the columns with an index, but for the time,
    that have one value.
    """

    def __init__(self, user_id: str, conditions: tuple[Condition, ...]) -> None:
        self.user_id = user_id
        self.conditions = conditions
        self.fixed = {column_of(column) for column, operator, _ in conditions if operator == "="} & {*INDEXED[1:]}
        is_trashed = ("state", "=", "trashed") in conditions
        self.parameters: dict[str, Any] = {"user": user_id, "is_trashed": int(is_trashed)}
        self._tests: list[str] = []  # with a look at the row
        self._compared: dict[str, list[str]] = {}  # of columns with an index
        self._bounds: dict[tuple[str, str], tuple[float, str]] = {}
        self._words: list[str] = []
        self._facts: list[tuple[str, Any]] = []
        self._sources: list[str] = []
        for number, (column, operator, value) in enumerate(conditions):
            self._add(f"c{number}", column, operator, value)
        for (column, side), (value, _) in self._bounds.items():
            self.parameters[_bound_name(column, side)] = value
        self._bits = self._add_bits()
        self._add_match(is_trashed)

    def narrowed(self, *conditions: Condition) -> Self:
        """The same with more conditions."""
        return type(self)(self.user_id, (*self.conditions, *conditions))

    @property
    def where(self) -> str:
        """What holds for every track, as SQL over ``tracks``."""
        return self.where_beside("", "")

    def where_beside(self, column: str, side: str) -> str:
        """The same without the bound of that column on that side."""
        compared = [test for each in INDEXED for test in self._tests_of(each, "" if each != column else side)]
        return " AND ".join([_OWN, *self._bits, *compared, *self._tests])

    def bound(self, column: str, side: str) -> tuple[float, str] | None:
        """The value that no number of that column is beyond, on the side ``<`` or ``>``, and the operator."""
        return self._bounds.get((column, side))

    @property
    def where_indexed(self) -> str:
        """The same, for a look at each of very many: as far as may be without a look at its row."""
        return f"{_OWN} AND number IN ({self.by_text})" if self.by_text else self.where

    @property
    def by_text(self) -> str | None:
        """SQL of ``hit``, the numbers of exactly these tracks, from the full-text index; None where it cannot tell."""
        has_all = all(
            column == "words"
            or column.startswith("label:")
            or (operator == "=" and column in search.MARKED)
            or (column, value) == ("state", "trashed")
            for column, operator, value in self.conditions
        )
        return _BY_TEXT.format("match") if has_all and "match" in self.parameters else None

    @property
    def most_fixed(self) -> str | None:
        """Which of the fixed columns has the fewest tracks of one value, most likely."""
        return min(self.fixed, key=_SELECTIVE.index, default=None)

    def bearable(self, walked: str | None) -> int:
        """`FEW`, and what more there may be because tests without a look at the row tell less, or nothing is walked."""
        vain = 1.0 if self._words or self._facts else 0.0
        for word in self._words:
            vain *= _VAIN_WORDS[min(len(word), 4)]
        for name, _ in self._facts:
            vain *= 0.0 if name == "year" else 0.3 if name in search.FACTS else 0.1
        return int(FEW * math.sqrt(1 + 15 * vain)) * (1 if walked else 2)

    def has_ranges_beside(self, walked: str) -> bool:
        """Whether numbers of other columns than that are bounded."""
        return any(column != walked for column, _ in self._bounds)

    def few(self, connection: sqlite3.Connection, walked: str | None = None, limit: int | None = None) -> str | None:
        """At most `limit` numbers, else some `FEW`, with those of all these tracks among them, as JSON.

        None where there are more, or where walking along `walked` seems to be faster.
        """
        best, least = None, (self.bearable(walked) if limit is None else limit) + 1
        sources = [*self._sources]
        if "match" in self.parameters and (limit is not None or not self._seems_common(connection, walked, least)):
            sources.append(_BY_TEXT.format("guess" if limit is None else "match"))
        for source in sources:
            numbers, found = connection.execute(
                f"SELECT json_group_array(hit), count(*) FROM (SELECT hit FROM ({source}) LIMIT {least})",
                self.parameters,
            ).fetchone()
            if found < least:
                best, least = numbers, found
        return best

    def others(self, connection: sqlite3.Connection, limit: int) -> str | None:
        """The numbers of all tracks that these are not, as JSON; None where they are many, or the index cannot tell."""
        if not self.by_text or self.parameters["is_trashed"] or self._last_of_sample(connection) > 2 * _SAMPLE:
            return None
        numbers, found = connection.execute(
            f"SELECT json_group_array(hit), count(*) FROM ({_BY_TEXT.format('others')} LIMIT :limit + 1)",
            {**self.parameters, "limit": limit},
        ).fetchone()
        return numbers if found <= limit else None

    def _seems_common(self, connection: sqlite3.Connection, walked: str | None, few: int) -> bool:
        """Whether the first hits come as densely as if there were more than that: a guess at the faster way."""
        last = self._last_of_sample(connection)
        if last == math.inf:
            return False
        if walked in self.fixed:  # only what has that value is walked past
            return True
        end = connection.execute("SELECT max(number) FROM tracks").fetchone()[0]
        return bool(_SAMPLE * end > few * last)

    def _last_of_sample(self, connection: sqlite3.Connection) -> float:
        """The number of the last of the first few that the full-text index has."""
        last, found = connection.execute(
            f"SELECT max(hit), count(*) FROM (SELECT hit FROM ({_BY_TEXT.format('guess')}) LIMIT {_SAMPLE})",
            self.parameters,
        ).fetchone()
        return last if found == _SAMPLE else math.inf

    def narrow(self, connection: sqlite3.Connection, order: Sequence[str], entries: int, rows: int) -> str | None:
        """The column whose index leaves the fewest tracks to be tested and sorted in that order.

        None where those are more than `entries`, or those of them to be looked up more than `rows`.
        """
        best = None
        looks = bool(self._tests) or not COVERED.issuperset(order)
        if looks and len(self.conditions) == 1:
            entries = min(entries, rows)
        ranges = {column for column, _ in self._bounds}
        for column in sorted(INDEXED, key=lambda column: column not in ranges):
            tests = self._tests_of(column)
            if not tests or column == order[0]:
                continue
            found = self._entries(connection, column, tests, entries)
            if found > entries:
                continue
            if looks and found > rows:
                others = [*self._bits, *(test for each in _NUMBERS - {column} for test in self._tests_of(each))]
                if self._entries(connection, column, [*tests, *others], rows) > rows:
                    continue
            best, entries = column, found
        return best

    def _entries(self, connection: sqlite3.Connection, column: str, tests: list[str], limit: int) -> int:
        """How many entries the index of a column has where these hold, at most one more than `limit`."""
        sql = _ENTRIES.format(column, " AND ".join(tests))
        found: int = connection.execute(sql, {**self.parameters, "limit": limit + 1}).fetchone()[0]
        return found

    def tracks(self, connection: sqlite3.Connection) -> tuple[str, dict[str, Any]]:
        """What all of them can be selected from with `where`: SQL with the columns of ``tracks``, its parameters."""
        if (some := self.some(connection, MANY)) is not None:
            return some
        column = self.most_fixed or min((column for column, _ in self._bounds), default="created_at")
        return f"tracks INDEXED BY tracks_by_{column}", self.parameters

    def some(self, connection: sqlite3.Connection, limit: int) -> tuple[str, dict[str, Any]] | None:
        """The same, where it selects from at most `limit` of the tracks; else None."""
        best = None
        for column in INDEXED:
            if tests := self._tests_of(column):
                found = self._entries(connection, column, tests, limit)
                if found <= limit:
                    best, limit = column, found
        if (numbers := self.few(connection, limit=limit)) is not None:
            return LISTED, {**self.parameters, "numbers": numbers}
        return (f"tracks INDEXED BY tracks_by_{best}", self.parameters) if best is not None else None

    def _add(self, name: str, column: str, operator: str, value: Any) -> None:
        self.parameters[name] = value
        if column == "words":
            self._add_words(name, value)
        elif column == "state":
            self._add_state(name, value)
        elif column == "same_as":
            self._tests.append(_SAME.format(name))
            self._sources.append(_BY_SAME.format(name))
        elif column.startswith("label:"):
            self.parameters[f"{name}_path"] = f'$."{column.removeprefix("label:")}"'
            self._tests.append(f"json_extract(labels, :{name}_path) = :{name}")
        elif column == "has_cover":
            self._tests.append(f"(cover IS NOT NULL) = :{name}")
        else:
            self._compare(name, column, operator, value)
        if operator == "=" and (column in search.MARKED or column.startswith("label:")):
            self._facts.append((column, value))
        if (column, operator) == ("sort_year", "=") and value >= 0:
            self._facts.append(("year", value))

    def _add_words(self, name: str, words: tuple[str, ...]) -> None:
        del self.parameters[name]
        for number, word in enumerate(words):
            self._tests.append(f"instr(words, :{name}_{number})")
            self.parameters[f"{name}_{number}"] = f" {word}"
        self._words += words

    def _add_state(self, name: str, state: str) -> None:
        if state != "trashed":
            self._tests.append(f"state = :{name}")
        if state == "analysing":
            self._sources.append(_ANALYSING)

    def _compare(self, name: str, column: str, operator: str, value: Any) -> None:
        assert column in _COLUMNS
        assert operator == "=" or operator in _SIDES
        compared = column_of(column)
        if compared in _NUMBERS and operator != "=":
            self._bind(compared, operator, value)
            if column == "year" and _SIDES[operator] == "<":
                self._bind(compared, ">=", 0)
        elif compared == "created_at":  # all indexes have it, and go on in its order
            self._bind(compared, ">=", value)
            self._bind(compared, "<=", value)
        elif compared in INDEXED:
            # What is fixed is walked along by that, which SQLite would not see beside another comparison.
            plus = "+" if compared in self.fixed and operator != "=" else ""
            self._compared.setdefault(compared, []).append(f"{plus}{compared} {operator} :{name}")
        else:
            self._tests.append(f"{compared} {operator} :{name}")
            if column == "sha256":
                self._sources.append(_BY_SHA256.format(name))

    def _bind(self, column: str, operator: str, value: float) -> None:
        """Keep the narrowest bound of each side: of two SQLite would start a walk at any."""
        side = _SIDES[operator]
        there, before = self._bounds.get((column, side), (value, side + "="))
        if there == value:
            self._bounds[column, side] = value, min(before, operator)
        elif (value < there) == (side == "<"):
            self._bounds[column, side] = value, operator

    def _tests_of(self, column: str, beside: str = "") -> list[str]:
        plus = "+" if column in self.fixed else ""
        bounds = [
            f"{plus}{column} {self._bounds[column, side][1]} :{_bound_name(column, side)}"
            for side in "<>"
            if (column, side) in self._bounds and side != beside
        ]
        return [*self._compared.get(column, ()), *bounds]

    def _add_match(self, is_trashed: bool) -> None:
        if self._words or self._facts:
            owner = search.owner_mark(self.user_id, is_trashed=is_trashed)
            self.parameters["match"] = search.match(owner, self._words, self._facts)
            self.parameters["others"] = search.unlike(owner, self.parameters["match"])
            self.parameters["guess"] = search.match(owner, search.shortened(self._words), self._facts)

    def _add_bits(self) -> list[str]:
        tests = []
        for name, bits in (("word_bits", search.word_bits(self._words)), ("mark_bits", search.mark_bits(self._facts))):
            if bits:
                tests.append(f"{name} & :{name} = :{name}")
                self.parameters[name] = bits
        return tests


def _bound_name(column: str, side: str) -> str:
    return f"{column}_{'to' if side == '<' else 'from'}"
