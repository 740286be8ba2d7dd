"""Downloads of one big file, whole and in ranges, against nginx; both servers stay up and the file is in memory."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from bench import content
from bench.client import ClientFailed, Load, send, send_with_curl
from bench.machine import MB
from bench.ours import Ours
from bench.paths import CONTENT
from bench.peers.nginx import Nginx
from bench.row import Row, Run, Shot, Side, Target
from bench.server import Request, Server

MANY = 1_000_000


def rows(run: Run) -> list[Row]:
    return [
        Row("get-1g", "download, one big file", "MB/s", partial(_whole, run), {"nginx": Target(0.9, 1)}),
        _ranges(run, "get-1m-c8", 1 << 20, "ranges of 1 MiB, 8 clients", Target(0.6, 0.8)),
        _ranges(run, "get-64k-c8", 64 << 10, "ranges of 64 KiB, 8 clients", Target(0.4, 0.5)),
        _ranges(run, "get-64k-c1", 64 << 10, "ranges of 64 KiB, 1 client", None, clients=1),
    ]


def _ranges(run: Run, name: str, length: int, title: str, target: Target | None, clients: int = 8) -> Row:
    @contextmanager
    def sides() -> Iterator[list[Side]]:
        chance = random.Random(3)
        starts = [chance.randrange(run.big - length) for _ in range(4_000)]
        values = [f"{start}-{start + length - 1}" for start in starts]
        load = Load(clients, MANY, run.seconds, expect_bytes=length)

        def shoot(server: Server, request: Request) -> Shot:
            return _shoot(server, request, load, values)

        with _both(run) as (ours, ours_path, nginx, nginx_path):
            yield [
                Side("ours", partial(shoot, ours, ours.ranges(ours_path))),
                Side("nginx", partial(shoot, nginx, nginx.ranges(nginx_path))),
            ]

    return Row(name, f"download, {title}", "answers/s", sides, {"nginx": target} if target else {})


@contextmanager
def _whole(run: Run) -> Iterator[list[Side]]:
    load = Load(1, 3, expect_bytes=run.big)

    def shoot(server: Server, request: Request) -> Shot:
        shot = _shoot(server, request, load, [])
        return Shot(shot.value * run.big / MB, shot.facts)

    with _both(run) as (ours, ours_path, nginx, nginx_path):
        yield [
            Side("ours", partial(shoot, ours, ours.download(ours_path))),
            Side("nginx", partial(shoot, nginx, nginx.download(nginx_path))),
        ]


def _shoot(server: Server, request: Request, load: Load, values: list[str]) -> Shot:
    send(server, request, Load(load.clients, min(load.count, 200), 0.5), values=values)
    cpu_before = server.cpu_s()
    outcome = send(server, request, load, values=values)
    facts = {**outcome.facts(), "server_cpu_s": round(server.cpu_s() - cpu_before, 2)}
    if isinstance(server, Ours):
        facts["max_lag_s"] = server.max_lag_s()
    return Shot(outcome.requests / outcome.seconds, facts)


@contextmanager
def _both(run: Run) -> Iterator[tuple[Ours, str, Nginx, str]]:
    """Both servers with the same file, and its path at each; they must agree about some bytes of it."""
    what = content.make(run.kind, run.big)
    with Ours(run.settings) as ours, Nginx() as nginx:
        file = what.write_unique(CONTENT / "download.mp3", b"download")
        send_with_curl(ours, ours.put(), file)
        file.rename(nginx.data / "files" / "big.mp3")
        status, page = ours.get("/tracks?limit=1", ours.identity)
        if status != 200:
            raise ClientFailed(f"ours: GET /tracks: {status} {page[:500]!r}")
        track = json.loads(page)["items"][0]
        ours_path, nginx_path = f"/tracks/{track['id']}/audio", "/big.mp3"
        _agree(
            lambda part: ours.get(ours_path, {**ours.identity, "Range": part}),
            lambda part: nginx.get(nginx_path, {"Range": part}),
        )
        ours.settle()
        yield ours, ours_path, nginx, nginx_path


def _agree(ours: Callable[[str], tuple[int, bytes]], nginx: Callable[[str], tuple[int, bytes]]) -> None:
    for part in ("bytes=0-9999", "bytes=100000-365535", "bytes=-1000"):
        if ours(part) != nginx(part):
            raise ClientFailed(f"ours and nginx send different bytes for Range: {part}")
