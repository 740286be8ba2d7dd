"""Which tracks of a user: conditions as SQL, and the way to few of them.

Two ways lead to the tracks that fulfil all conditions. Where the full-text index, or the index of one column, leaves at
most `FEW`, those are looked up, tested and sorted. Else a page is found by walking along the order it is asked in: of
many tracks that fulfil the conditions, fifty are soon met. What is walked past is tested without a look at its row.
"""

import sqlite3
from typing import Any, Self

from service.catalogue import search

FEW = 1_500
"""So many rows are looked up and sorted in the time in which fifty of as many among a million are met by walking."""

MANY = 50_000
"""So many are looked up rather than all others walked past."""

Condition = tuple[str, str, Any]
"""Column, operator, value. Besides columns there are ``words`` (folded words that words of the track begin with),
``label:NAME``, ``has_cover`` (0 or 1), and ``same_as`` (the id of another track).
"""

INDEXED = ("created_at", "title", "artist", "album", "genre", "sort_year", "duration", "size", "bitrate")
"""Columns with an index ``tracks_by_…`` that begins with whose track it is and whether it is in the trash."""

LISTED = "json_each(:numbers) CROSS JOIN tracks ON number = value"
"""The tracks of these numbers, as SQL."""

_SAMPLE = 64
_OPERATORS = frozenset({"=", "<", "<=", ">", ">="})
_COLUMNS = frozenset({*INDEXED, *search.TEXTS, *search.FACTS, "sha256"}) - {"has_cover"}
_OWN = "user_id = :user AND is_trashed = :is_trashed"
_BY_TEXT = "SELECT rowid AS hit FROM searched WHERE searched MATCH :match"
_BY_COLUMN = f"SELECT number AS hit FROM tracks INDEXED BY tracks_by_{{0}} WHERE {_OWN} AND {{1}}"
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
        self._tests: list[str] = []
        self._compared: dict[str, list[str]] = {}
        self._words: list[str] = []
        self._facts: list[tuple[str, Any]] = []
        self._sources: list[tuple[str, str]] = []
        for number, (column, operator, value) in enumerate(conditions):
            self._add(f"c{number}", column, operator, value)
        self._add_sources(is_trashed)
        self._add_bits()

    def narrowed(self, *conditions: Condition) -> Self:
        """The same with more conditions."""
        return type(self)(self.user_id, (*self.conditions, *conditions))

    @property
    def where(self) -> str:
        """What holds for every track, as SQL over ``tracks``."""
        return " AND ".join([_OWN, *self._tests])

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
        return _BY_TEXT if has_all and "match" in self.parameters else None

    def few(self, connection: sqlite3.Connection, walked: str | None = None, limit: int | None = None) -> str | None:
        """At most `limit` numbers with those of all these tracks among them, as JSON; None to walk along `walked`.

        Without a limit it is `FEW`, and some more where there is no column to walk along.
        """
        if walked is not None and {column_of(column) for column, _, _ in self.conditions} <= {walked}:
            return None
        if limit is None and walked in self.fixed:
            limit = min(FEW, _SAMPLE)  # only what has that value is walked past
        best, least = None, (limit if limit is not None else FEW if walked else 4 * FEW) + 1
        for column, source in self._sources:
            if column == "match" and walked is not None and limit is None and self._seems_common(connection):
                continue
            numbers, found = connection.execute(
                f"SELECT json_group_array(hit), count(*) FROM (SELECT hit FROM ({source}) LIMIT {least})",
                self.parameters,
            ).fetchone()
            if found < least:
                best, least = None if column == walked else numbers, found
        return best

    def _seems_common(self, connection: sqlite3.Connection) -> bool:
        """Whether the first hits come as densely as if there were more than `FEW`: a guess at the faster way."""
        last, found = connection.execute(
            f"SELECT max(hit), count(*) FROM (SELECT hit FROM ({_BY_TEXT}) LIMIT {_SAMPLE})", self.parameters
        ).fetchone()
        if found < _SAMPLE:
            return False
        end = connection.execute("SELECT max(number) FROM tracks").fetchone()[0]
        return bool(_SAMPLE * end > FEW * last)

    def tracks(self, connection: sqlite3.Connection) -> tuple[str, dict[str, Any]]:
        """What all of them can be selected from with `where`: SQL with the columns of ``tracks``, its parameters."""
        if (numbers := self.few(connection, limit=MANY)) is not None:
            return LISTED, {**self.parameters, "numbers": numbers}
        return f"tracks INDEXED BY tracks_by_{min(self.fixed, default='created_at')}", self.parameters

    def _add(self, name: str, column: str, operator: str, value: Any) -> None:
        assert operator in _OPERATORS
        self.parameters[name] = value
        if column == "words":
            self._add_words(name, value)
        elif column == "state":
            self._add_state(name, value)
        elif column == "same_as":
            self._tests.append(_SAME.format(name))
            self._sources.append(("same_as", _BY_SAME.format(name)))
        elif column.startswith("label:"):
            self.parameters[f"{name}_path"] = f'$."{column.removeprefix("label:")}"'
            self._tests.append(f"json_extract(labels, :{name}_path) = :{name}")
        elif column == "has_cover":
            self._tests.append(f"(cover IS NOT NULL) = :{name}")
        else:
            self._compare(name, column, operator)
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
            self._sources.append(("state", _ANALYSING))

    def _compare(self, name: str, column: str, operator: str) -> None:
        assert column in _COLUMNS
        compared = column_of(column)
        # What is fixed is walked along by that, which SQLite would not see beside another comparison.
        plus = "+" if compared in self.fixed and operator != "=" else ""
        test = f"{plus}{compared} {operator} :{name}"
        if (compared, operator) == ("created_at", "="):  # all indexes have it, and go on in its order
            test = f"created_at >= :{name} AND created_at <= :{name}"
        if column == "year" and operator.startswith("<"):
            test += " AND sort_year >= 0"
        self._tests.append(test)
        if column == "sha256":
            self._sources.append(("sha256", _BY_SHA256.format(name)))
        if compared in INDEXED:
            self._compared.setdefault(compared, []).append(test)

    def _add_sources(self, is_trashed: bool) -> None:
        # Of a text that is equal the full-text index knows, and no text is compared otherwise but to walk along it.
        for column, tests in self._compared.items():
            if column not in search.TEXTS:
                self._sources.append((column, _BY_COLUMN.format(column, " AND ".join(tests))))
        if self._words or self._facts:
            marks = [search.mark(*fact) for fact in self._facts]
            self.parameters["match"] = search.match(self.user_id, self._words, marks, is_trashed=is_trashed)
            self._sources.insert(0, ("match", _BY_TEXT))

    def _add_bits(self) -> None:
        for name, bits in (("word_bits", search.word_bits(self._words)), ("mark_bits", search.mark_bits(self._facts))):
            if bits:
                self._tests.insert(0, f"{name} & :{name} = :{name}")
                self.parameters[name] = bits
