"""The listing: 50 of 100,000 tracks at 16 connections, the first page and random pages, from one database file."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from bench import seed
from bench.client import ClientFailed, Load, send
from bench.ours import Ours
from bench.peers.fastapi import FastApi
from bench.row import Row, Run, Shot, Side, Target
from bench.server import Request, Server

TRACKS = 100_000
CLIENTS = 16
WALK = 300  # pages that are walked to collect cursors
FIRST = "/tracks?limit=50"


def rows(run: Run) -> list[Row]:
    target = {"fastapi + sqlite3": Target(1.5, 3)}
    few = {"ours, 1,000 tracks": Target(0.9, 1)}
    return [
        Row("list-first", "listing, first 50 of 100,000", "answers/s", partial(_sides, run, 1), target),
        Row("list-pages", "listing, random 50 of 100,000", "answers/s", partial(_sides, run, WALK), target),
        Row("list-growth", "listing, first 50 of 100,000 or 1,000", "answers/s", partial(_growth, run), few),
    ]


@contextmanager
def _sides(run: Run, pages: int) -> Iterator[list[Side]]:
    with _seeded(run, TRACKS) as ours:
        database = seed.find_database(ours.data)
        with FastApi(database) as fastapi:
            if _ids(ours, FIRST, ours.identity) != _ids(fastapi, FIRST, {}):
                raise ClientFailed("ours and FastAPI list different tracks")
            yield [
                Side("ours", _shooter(run, ours, ours.page(), _walk(ours, pages, ours.identity))),
                Side("fastapi + sqlite3", _shooter(run, fastapi, fastapi.page(), _walk(fastapi, pages, {}))),
            ]


@contextmanager
def _growth(run: Run) -> Iterator[list[Side]]:
    with _seeded(run, TRACKS) as many, _seeded(run, 1_000, "ours-few") as few:
        yield [
            Side("ours", _shooter(run, many, many.page(), [FIRST])),
            Side("ours, 1,000 tracks", _shooter(run, few, few.page(), [FIRST])),
        ]


@contextmanager
def _seeded(run: Run, tracks: int, name: str = Ours.name) -> Iterator[Ours]:
    """Starts once for the migrations and the first user, fills the catalogue, starts again."""
    server = Ours(run.settings, name)
    server.wipe()
    server.start()
    server.stop()
    seed.fill(seed.find_database(server.data), tracks)
    with server:
        server.settle()
        yield server


def _shooter(run: Run, server: Server, request: Request, pages: list[str]) -> Any:
    random.Random(5).shuffle(pages)

    def shoot() -> Shot:
        send(server, request, Load(CLIENTS, 200, 1), values=pages)
        cpu_before = server.cpu_s()
        outcome = send(server, request, Load(CLIENTS, 1_000_000, run.seconds), values=pages)
        facts = {**outcome.facts(), "server_cpu_s": round(server.cpu_s() - cpu_before, 2)}
        facts["mean_bytes"] = outcome.bytes_received // outcome.requests
        if isinstance(server, Ours):
            facts["max_lag_s"] = server.max_lag_s()
        return Shot(outcome.requests / outcome.seconds, facts)

    return shoot


def _page(server: Server, path: str, headers: dict[str, str]) -> dict[str, Any]:
    status, answer = server.get(path, headers)
    if status != 200:
        raise ClientFailed(f"{server.name}: GET {path}: {status} {answer[:500]!r}")
    page: dict[str, Any] = json.loads(answer)
    return page


def _ids(server: Server, path: str, headers: dict[str, str]) -> list[str]:
    return [item["id"] for item in _page(server, path, headers)["items"]]


def _walk(server: Server, pages: int, headers: dict[str, str]) -> list[str]:
    paths = [FIRST]
    while len(paths) < pages:
        following = _page(server, paths[-1], headers)["next"]
        paths.append(following if following.startswith("/") else f"{FIRST}&cursor={following}")
    return paths
