"""Search, filters and sorts: 50 of a user's 1,000,000 tracks over HTTP, one request at a time, in milliseconds.

Each side is a kind of question, asked of the first page and of pages at three and nine tenths of the whole.
"""

import http.client
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlencode

from multidict import MultiDict

from bench import library, seed
from bench.client import ClientFailed
from bench.ours import Ours
from bench.row import Row, Run, Shot, Side, Target
from service.catalogue.listing import ordered
from service.catalogue.selection import column_of
from service.views.listing import RULES
from service.web.paging import Sort, cursor, page_url, read_query

TRACKS = 1_000_000
OTHERS = 100_000  # of a second user
DEPTHS = (0.0, 0.3, 0.9)
REPEATS = 5
SORTS = ("-created_at", "title", "artist", "genre", "-year", "-size", "duration")
SEVERAL = ("artist,title", "genre,title", "-year,artist,-created_at")

Query = dict[str, str]


def rows(run: Run) -> list[Row]:
    limit = Target(10, 5)
    labels = ("no filter", "one filter", "two filters", "words", "words and a filter")
    targets = {f"{label}, {kind}": limit for label in labels for kind in ("median", "99 of 100")}
    return [Row("search", "search among 1,000,000", "ms", partial(_sides, run), targets, is_absolute=True)]


@contextmanager
def _sides(run: Run) -> Iterator[list[Side]]:
    server = Ours(run.settings, "ours-search")
    server.wipe()
    server.start()
    server.stop()
    database = seed.find_database(server.data)
    with closing(sqlite3.connect(database)) as connection:
        user_id = str(connection.execute("SELECT user_id FROM users").fetchone()[0])
        connection.execute(
            "INSERT INTO users (user_id, name, password_hash, created_at, updated_at) VALUES ('other', 'o', '', 0, 0)"
        )
        connection.commit()
    library.fill(database, {user_id: TRACKS, "other": OTHERS})
    asked = _questions(database, user_id)
    with server:
        server.settle()
        yield [
            *(
                side
                for label, questions in asked.items()
                for side in _measured(server, label, _urls(database, user_id, questions, SORTS))
            ),
            *_measured(server, "no filter, several sorts", _urls(database, user_id, [{}], SEVERAL)),
            *_measured(server, "one filter, several sorts", _urls(database, user_id, asked["one filter"], SEVERAL)),
            *_measured(server, "facets of all", ["/tracks/facets", "/tracks/facets?by=artist&limit=500"]),
            *_measured(server, "facets of some", [f"/tracks/facets?{urlencode(each)}" for each in asked["one filter"]]),
        ]


def _questions(database: Path, user_id: str) -> dict[str, list[Query]]:
    """By kind. Values are the commonest and ever rarer ones."""
    with closing(sqlite3.connect(database)) as connection:

        def values(name: str, *ranks: int) -> list[Query]:
            sql = "SELECT value FROM facets WHERE user_id = ? AND name = ? ORDER BY tracks DESC LIMIT 1 OFFSET ?"
            return [{name: str(connection.execute(sql, (user_id, name, rank)).fetchone()[0])} for rank in ranks]

        one = [
            *values("artist", 0, 20, 200, 2_000),
            *values("album", 0, 1_000),
            *values("genre", 0, 10, 60, 150),
            *values("year", 0, 30, 70),
            {"label[mood]": "calm"},
            {"channels": "1"},
            {"mode": "abr"},
            {"has_cover": "false"},
            {"bitrate[gte]": "256000"},
            {"duration[lt]": "60"},
            {"duration[gt]": "1500"},
            {"year[lt]": "1960"},
            {"created[lt]": "2014-06-01"},
            {"created[gt]": "2023-11-01"},
        ]
    words = [{"q": text} for text in ("love", "mo", "motor", "z", "the love", "blue time", "klas", "zebra", "xyzzy")]
    genre, rarer = [each for each in one if "genre" in each][:2]
    both = [
        {**genre, "year": "1990"},
        {**rarer, "channels": "1"},
        {"mode": "abr", "channels": "1"},
        {**rarer, "mode": "vbr"},
    ]
    mixed = [{**each, **condition} for each, condition in product(words[:5], (genre, rarer, {"year": "1990"}))]
    return {"no filter": [{}], "one filter": one, "two filters": both, "words": words, "words and a filter": mixed}


def _urls(database: Path, user_id: str, questions: list[Query], sorts: tuple[str, ...]) -> list[str]:
    """Of each question by each sort the first page, and the ones whose cursors are that deep in the whole library."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        urls = []
        for question, sort, depth in product(questions, sorts, DEPTHS):
            asked = MultiDict({**question, "sort": sort})
            query = read_query(asked, RULES, user_id)
            position = _position(connection, user_id, query.sort, depth) if depth else None
            urls.append(page_url("/tracks", asked, cursor(query, position, is_backwards=False) if position else None))
    return urls


def _position(connection: sqlite3.Connection, user_id: str, sort: Sort, depth: float) -> tuple[Any, ...]:
    columns = ", ".join(column_of(name) for name, _ in ordered(sort))
    order = f"{column_of(sort[0][0])} {'DESC' if sort[0][1] else 'ASC'}"
    sql = f"SELECT {columns} FROM tracks WHERE user_id = ? AND is_trashed = 0 ORDER BY {order} LIMIT 1 OFFSET ?"
    row: tuple[Any, ...] = connection.execute(sql, (user_id, int(TRACKS * depth))).fetchone()
    return row


def _measured(server: Ours, label: str, urls: list[str]) -> list[Side]:
    """Two sides of one measurement, which the first takes. Of each page the fastest answer counts."""
    times: list[float] = []

    def middle() -> Shot:
        slowest = {}
        for url in urls:
            taken = sorted(_ask(server, url) for _ in range(REPEATS))
            times.append(taken[0])
            slowest[url] = taken
        worst = sorted(slowest, key=lambda url: -slowest[url][0])[:5]
        return Shot(
            median(times), {"urls": len(urls), "slowest": {url: [round(t, 2) for t in slowest[url]] for url in worst}}
        )

    return [
        Side(f"{label}, median", middle),
        Side(f"{label}, 99 of 100", lambda: Shot(quantiles(times, n=100)[98], {"most": max(times)})),
    ]


def _ask(server: Ours, url: str) -> float:
    connection = _connections.setdefault(server.port, http.client.HTTPConnection("127.0.0.1", server.port, timeout=60))
    began = time.perf_counter()
    connection.request("GET", url, headers=server.identity)
    answer = connection.getresponse()
    body = answer.read()
    taken = (time.perf_counter() - began) * 1000
    if answer.status != http.client.OK:
        raise ClientFailed(f"GET {url}: {answer.status} {body[:300]!r}")
    return taken


_connections: dict[int, http.client.HTTPConnection] = {}
