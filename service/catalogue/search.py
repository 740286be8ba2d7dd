"""By what a track is found: its words and its marks, which the columns ``words`` and ``marks`` of its row hold.

A **word** is a run of letters and digits of its title, artist, album, album artist, file name or a label, folded: no
case, no diacritics. A **mark** stands for something that is equal or is not, "its genre is jazz", as a hash. Both are
terms of the full-text index ``searched``, which answers "few tracks or many?" for any combination of them at some
thirty million postings a second, and for few which ones. Every term is its owner's, so nobody pays for the tracks of
others: a mark's hash is of the owner too, and in the index words have the owner's mark in front.

Marks have three characters. The index has the beginnings of terms that are longer, words with that mark, so that
marks, of which a track has as many as words, cost no more than themselves.

For many it is faster to walk along the order that is asked for and to test each row. So that this needs no look at the
row, the indexes have two small Bloom filters at their end, ``word_bits`` and ``mark_bits``: a row without all bits of a
term does not have it, and one with them is looked at.

Triggers note in ``unsearched`` every track that came, changed or went, and `refresh` brings the index up to date at the
end of every transaction: no code path can forget it, and what is committed is found.
"""

import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from zlib import crc32

import orjson

TEXTS = ("title", "artist", "album", "album_artist", "genre", "composer", "filename")
"""What can be asked to be equal and is text; all but the file name without regard to ASCII case."""

FACTS = ("year", "mode", "channels", "sample_rate", "metadata", "has_cover")
"""What else can be asked to be equal. Numbers and words of the service's own."""

MARKED = frozenset({*TEXTS, *FACTS})

UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(TEXTS, ""),
    "year": None,
    "metadata": "pending",
    "labels": "{}",
    "cover": None,
    "trashed_at": None,
}
"""What a new row has where nothing is known yet."""

_WORDY = ("title", "artist", "album", "album_artist", "filename")
_READ = (*TEXTS, *FACTS[:-1], "labels", "cover", "trashed_at", "user_id")
_LONGEST = 6
_PREFIXES = (2, 3, 4)
_BATCH = 2000
_KNOWN_LETTERS = 4096

_BITS = {
    fact: bit
    for bit, fact in enumerate(
        (name, value)
        for name, values in {
            "mode": ("cbr", "vbr", "abr"),
            "channels": (1, 2),
            "sample_rate": (44_100, 48_000),
            "metadata": ("available", "pending", "unavailable"),
            "has_cover": (0, 1),
        }.items()
        for value in values
    )
}

# Letters that have no decomposition although people leave their strokes out.
_STROKES = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "\u0131": "i"}
)
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

# Scripts that put no blanks between words: each character is one.
_IDEOGRAPHS = re.compile(
    "[\u2e80-\u2fdf\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)


class _Folded(dict[int, str]):
    """What a character is folded to, found out when it is met."""

    def __missing__(self, codepoint: int) -> str:
        character = chr(codepoint)
        plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
        folded = plain.translate(_STROKES)
        kept = "".join(each if each.isalnum() else " " for each in folded if not unicodedata.combining(each))
        kept = _IDEOGRAPHS.sub(r" \g<0> ", kept)
        if len(self) < _KNOWN_LETTERS:
            self[codepoint] = kept
        return kept


_FOLDED = _Folded()


def fold(text: str) -> list[str]:
    """The words of a text, in order, each once."""
    return list(dict.fromkeys(text.translate(_FOLDED).split()))


@lru_cache(maxsize=256)
def owner_mark(user_id: str, *, is_trashed: bool) -> str:
    """What terms of a user's tracks are told from those of others by, of those in the trash or of the others."""
    return _hashed(f"{user_id}\0{is_trashed}")


@lru_cache(maxsize=1024)
def mark(owner: str, name: str, value: Any) -> str:
    """The term of a fact such as ``("genre", "Jazz")`` or ``("label:mood", "calm")`` of tracks with that owner's mark.

    60 bits: two facts of all users' tracks do not meet by chance.
    """
    return _hashed(f"{owner}\0{_fact(name, value)}")


def _fact(name: str, value: Any) -> str:
    return f"{name}\0{value.translate(_ASCII_LOWER) if name in TEXTS and name != 'filename' else value}"


def _hashed(text: str) -> str:
    digest = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return "".join(chr(0x10000 + (digest >> shift & 0xFFFFF)) for shift in (0, 20, 40))


def word_bits(words: Iterable[str]) -> int:
    """The Bloom filter of words, and of those that begin so: one bit for each prefix of 2, 3 and 4 characters."""
    bits = 0
    for word in words:
        for length in _PREFIXES:
            if len(word) >= length:
                bits |= 1 << (crc32(word[:length].encode()) >> 26)
    return _signed(bits)


def mark_bits(facts: Iterable[tuple[str, Any]]) -> int:
    """The Bloom filter of what is equal: one bit of the lower 16 for each of `FACTS`, else three of the upper 48.

    What a third of all tracks may have is told by a bit of its own. Nothing for an empty text, which would be told by
    every second row, nor for the year, which the indexes have.
    """
    bits = 0
    for name, value in facts:
        if (bit := _BITS.get((name, value))) is not None:
            bits |= 1 << bit
            continue
        digest = crc32(_fact(name, value).encode("utf-8", "surrogatepass"))
        if name in FACTS:
            bits |= 1 << len(_BITS) + digest % (16 - len(_BITS)) if name != "year" else 0
        elif value != "":
            bits |= 1 << (16 + digest % 48) | 1 << (16 + digest // 48 % 48) | 1 << (16 + digest // 2304 % 48)
    return _signed(bits)


def match(owner: str, words: Iterable[str], facts: Iterable[tuple[str, Any]]) -> str:
    """The full-text query of the tracks with that owner's mark, these facts, and words that begin like these.

    Every term is quoted, so nothing that a user wrote is syntax.
    """
    marks = (f'"{mark(owner, *fact)}"' for fact in facts)
    return " AND ".join([*marks, *(f'"{owner}{word}"*' for word in words)])


def unlike(owner: str, query: str) -> str:
    """The full-text query of the tracks with that owner's mark that another does not find."""
    return f'"{owner}" NOT ({query})'


def shortened(words: Iterable[str]) -> list[str]:
    """Beginnings of words that the index has: of longer ones it gathers all tracks before it gives the first."""
    return [word[:_LONGEST] for word in words]


def indexed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of `row` that it is found by: ``words``, ``marks`` and their bits."""
    return _indexed(tuple(row[name] for name in _READ))


def changed(row: sqlite3.Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a row that is about to have other `values`; nothing where it is found by none of them.

    Written together with them they spare a second change of all indexes.
    """
    return indexed({**dict(row), **values}) if values.keys() & set(_READ) else {}


@lru_cache(maxsize=64)  # what is inserted is asked for again at the end of its transaction
def _indexed(values: tuple[Any, ...]) -> dict[str, Any]:
    row = dict(zip(_READ, values, strict=True))
    labels = orjson.loads(row["labels"])
    texts = [*(row[name] for name in _WORDY), *labels.values()]
    words = dict.fromkeys(word for text in texts for word in fold(text))
    facts = [
        *((name, row[name]) for name in (*TEXTS, *FACTS[:-1]) if row[name] is not None),
        ("has_cover", int(row["cover"] is not None)),
        *((f"label:{name}", text) for name, text in labels.items()),
    ]
    owner = owner_mark(row["user_id"], is_trashed=row["trashed_at"] is not None)
    return {
        "words": "".join(f" {word}" for word in words),
        "marks": " ".join([owner, *dict.fromkeys(mark(owner, *fact) for fact in facts)]),
        "word_bits": word_bits(words),
        "mark_bits": mark_bits(facts),
    }


def refresh(connection: sqlite3.Connection) -> int:
    """Bring the full-text index up to date with tracks that changed, at most `_BATCH`; how many there were."""
    changed = connection.execute(_CHANGED).fetchall()
    if not changed:
        return 0
    old, new, rewritten = [], [], []
    for number, old_words, old_marks, words, marks, *values in map(tuple, changed):
        is_indexed, is_there = old_marks != "", marks is not None
        if is_there:
            columns = indexed(dict(zip(_READ, values, strict=True)))
            if (words, marks) != (columns["words"], columns["marks"]):
                rewritten.append({**columns, "number": number})
            words, marks = columns["words"], columns["marks"]
        if (words, marks) != (old_words, old_marks):
            old += [number] if is_indexed else []
            new += [number] if is_there else []
    connection.executemany(_REWRITE, rewritten)
    # One statement for all: what goes on between statements costs more than most of them.
    for sql, numbers in ((_LEAVE, old), (_ENTER, new)):
        if numbers:
            connection.execute(sql, (orjson.dumps(numbers).decode(),))
    connection.execute("DELETE FROM unsearched WHERE number BETWEEN ? AND ?", (changed[0][0], changed[-1][0]))
    return len(changed)


_CHANGED = f"""
    SELECT unsearched.number, unsearched.words, unsearched.marks, tracks.words, tracks.marks, {", ".join(_READ)}
    FROM unsearched LEFT JOIN tracks USING (number) ORDER BY number LIMIT {_BATCH}
"""
_REWRITE = """
    UPDATE tracks SET words = :words, marks = :marks, word_bits = :word_bits, mark_bits = :mark_bits
    WHERE number = :number
"""
_OWNED = "replace(words, ' ', ' ' || substr(marks, 1, 3))"  # words, each with the owner's mark in front
_LEAVE = f"""
    INSERT INTO searched (searched, rowid, words, marks)
    SELECT 'delete', number, {_OWNED}, marks FROM json_each(?) CROSS JOIN unsearched ON number = value
"""
_ENTER = f"""
    INSERT INTO searched (rowid, words, marks)
    SELECT number, {_OWNED}, marks FROM json_each(?) CROSS JOIN tracks ON number = value
"""


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits
