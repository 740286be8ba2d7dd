"""Uploads while jobs run: what one client waits for a receipt, with an hour of audio being decoded and without."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from bench import analyse, content
from bench.client import ClientFailed, Load, send, send_with_curl
from bench.ours import Ours
from bench.paths import CONTENT
from bench.row import Row, Run, Shot, Side, Target
from bench.uploads import SMALL, WARM_UP

SECONDS = 3600
WAIT_S = 30
QUEUED = "yarrr_queued_jobs"
DECODING = 'yarrr_queued_jobs{kind="measure",state="running"}'


def rows(run: Run) -> list[Row]:
    title = "PUT by one client while an hour is decoded"
    return [
        Row(
            f"beside-{size}",
            f"{title}, {size}",
            "ms",
            partial(_sides, run, SMALL[size][0]),
            {"ours, nothing decoded": Target(1.2, 1.05)},
            is_cost=True,
            also=("p99_ms",),
        )
        for size in SMALL
    ]


@contextmanager
def _sides(run: Run, size: int) -> Iterator[list[Side]]:
    yield [
        Side("ours", partial(_shoot, run, size, is_decoding=True)),
        Side("ours, nothing decoded", partial(_shoot, run, size, is_decoding=False)),
    ]


def _shoot(run: Run, size: int, *, is_decoding: bool) -> Shot:
    what, small = content.make(run.kind, size), content.make(run.kind, SMALL["100k"][0])
    with Ours(run.settings) as server:
        send(server, server.put(), WARM_UP, small)
        _wait_until(lambda: not server.metric(QUEUED), "the jobs of the warm-up do not end")
        server.settle()
        if is_decoding:
            _begin_to_decode(server)
        outcome = send(server, server.put(), Load(clients=1, count=SMALL["100k"][1], seconds=run.seconds), what)
        if is_decoding and not server.metric(DECODING):
            raise ClientFailed("the hour had been decoded before the shot ended")
    return Shot(outcome.p50_ms, outcome.facts())


def _begin_to_decode(server: Ours) -> None:
    hour = content.make(analyse.KIND, SECONDS * analyse.BYTES_PER_SECOND)
    path = hour.write_unique(CONTENT / "beside.mp3", random.randbytes(8).hex().encode())
    send_with_curl(server, server.put(), path)
    path.unlink()
    _wait_until(lambda: bool(server.metric(DECODING)), "the hour is not being decoded")


def _wait_until(is_so: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise ClientFailed(problem)
        time.sleep(0.05)
