"""Uploads: one big file, and many small ones from 1, 8 and 64 clients; raw PUT, multipart, tus.

Every shot has a server of its own, started for it, warmed up and wiped after it, so that no side pays for what another
left behind (dirty pages, later work).
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import content
from bench.client import Load, Outcome, send, send_with_curl
from bench.content import Content
from bench.machine import MB, durable_write_mb_s, sha256_mb_s
from bench.ours import Ours
from bench.paths import CONTENT
from bench.peers.cheat_sheet import CheatSheet
from bench.peers.fastapi import FastApi
from bench.peers.nginx import Nginx
from bench.peers.tus_node import TusNode
from bench.row import Row, Run, Shot, Side, Target
from bench.server import Request, Server

SMALL = {"5m": (5 << 20, 2_000), "100k": (100 << 10, 30_000)}
CLIENTS = (1, 8, 64)
WARM_UP = Load(clients=4, count=40, seconds=5)


@dataclass(frozen=True)
class Door:
    """One way into one server."""

    label: str
    server: Callable[[], Server]
    request: Callable[[Any, int], Request]  # the server, the content's size
    is_repeatable: bool = True  # the same request may be sent again


def rows(run: Run) -> list[Row]:
    ours = partial(Ours, run.settings)
    put = [
        Door("ours", ours, lambda s, _: s.put()),
        Door("nginx", Nginx, lambda s, _: s.put()),
        Door("fastapi raw, sync", FastApi, lambda s, _: s.put_sync()),
        Door("fastapi raw, aiofiles", FastApi, lambda s, _: s.put_aiofiles()),
    ]
    form = [
        Door("ours", ours, lambda s, _: s.form()),
        Door("fastapi UploadFile", FastApi, lambda s, _: s.form()),
        Door("cheat sheet", CheatSheet, lambda s, _: s.form()),
    ]
    tus = [Door("ours", ours, lambda s, size: s.tus_create(size), is_repeatable=False)]
    if TusNode.is_available():
        tus.append(Door("@tus/server", TusNode, lambda s, size: s.tus_create(size), is_repeatable=False))
    nginx_big = {"nginx": Target(0.5, 0.7), "SHA-256 alone": Target(0.5, 0.9)}
    upload_file_big = {"fastapi UploadFile": Target(2, 3)}
    return [
        _big(run, "put-1g", "PUT, one big file", put, nginx_big),
        _big(run, "put-1g-curl", "PUT, one big file, curl", put, nginx_big, by_curl=True),
        _big(run, "form-1g", "multipart, one big file", form, upload_file_big),
        _big(run, "form-1g-curl", "multipart, one big file, curl", form, upload_file_big, by_curl=True),
        _big(run, "tus-1g", "tus PATCH, one big file", tus, {"@tus/server": Target(2, 2.5)}),
        *(_small(run, "put", "PUT", put, size, clients) for size in SMALL for clients in CLIENTS),
        *(_small(run, "form", "multipart", form, size, clients) for size in SMALL for clients in CLIENTS),
    ]


_SMALL_TARGETS = {
    ("put", "5m", 8): {"nginx": Target(0.4, 0.5)},
    ("form", "5m", 8): {"fastapi UploadFile": Target(2, 2.5)},
    ("put", "100k", 8): {"nginx": Target(0.3, 0.5)},
    ("form", "100k", 8): {"fastapi UploadFile": Target(1.3, 2)},
}


def _small(run: Run, name: str, title: str, doors: list[Door], size: str, clients: int) -> Row:
    length, count = SMALL[size]

    @contextmanager
    def sides() -> Iterator[list[Side]]:
        what = content.make(run.kind, length)
        load = Load(clients, count, run.seconds)
        yield [Side(door.label, partial(_shoot_small, run, door, what, load)) for door in doors]

    targets = _SMALL_TARGETS.get((name, size, clients), {})
    clients_text = f"{clients} client{'s' * (clients > 1)}"
    return Row(f"{name}-{size}-c{clients}", f"{title}, {_size(length)}, {clients_text}", "files/s", sides, targets)


def _big(run: Run, name: str, title: str, doors: list[Door], targets: dict[str, Target], by_curl: bool = False) -> Row:
    @contextmanager
    def sides() -> Iterator[list[Side]]:
        what = content.make(run.kind, run.big)
        yield [
            *(Side(door.label, partial(_shoot_big, run, door, what, by_curl)) for door in doors),
            Side("SHA-256 alone", lambda: Shot(sha256_mb_s(run.big))),
            Side("write + fdatasync alone", lambda: Shot(durable_write_mb_s(run.big))),
        ]

    return Row(name, f"{title}, {_size(run.big)}", "MB/s", sides, targets)


def _shoot_big(run: Run, door: Door, what: Content, by_curl: bool) -> Shot:
    if by_curl:
        path = what.write_unique(CONTENT / "for-curl.mp3", random.randbytes(8).hex().encode())
        facts = _shoot(run, door, lambda server: send_with_curl(server, door.request(server, what.size), path))
        path.unlink()
    else:
        facts = _shoot(run, door, lambda server: send(server, door.request(server, what.size), Load(), what))
    return Shot(what.size / MB / facts["seconds"], facts)


def _shoot_small(run: Run, door: Door, what: Content, load: Load) -> Shot:
    facts = _shoot(run, door, lambda server: send(server, door.request(server, what.size), load, what))
    return Shot(facts["requests"] / facts["seconds"], facts)


def _shoot(run: Run, door: Door, work: Callable[[Server], Outcome]) -> dict[str, Any]:
    with door.server() as server:
        small = content.make(run.kind, 100 << 10)
        warm_up = WARM_UP if door.is_repeatable else Load()
        send(server, door.request(server, small.size), warm_up, small)
        server.settle()
        os.sync()  # nothing of before is still to be written
        cpu_before = server.cpu_s()
        outcome = work(server)
        facts = {**outcome.facts(), "server_cpu_s": round(server.cpu_s() - cpu_before, 2)}
        if isinstance(server, Ours):
            facts["max_lag_s"] = server.max_lag_s()
    return facts


def _size(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size >> 10} KiB"
