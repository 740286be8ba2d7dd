"""kill -9 under load takes nothing that was acknowledged: the machinery in tests/crash, the why in docs/durability.md.

``YARRR_TEST_CRASH_CYCLES`` sets how often the service is killed, ``YARRR_TEST_CRASH_SEED`` repeats the choices of an
earlier run (not its timing).
"""

import itertools
import os
import random
import secrets
import signal
import sys
import time

import pytest

from service.upkeep import fsck
from service.uploads.at_once import MOST_BYTES
from tests.crash.check import DataDirectory
from tests.crash.clients import Connection, Content, Contents, Interrupted, Ledger
from tests.crash.runner import SETTINGS, Runner
from tests.e2e.conftest import Server

CYCLES = int(os.environ.get("YARRR_TEST_CRASH_CYCLES", "40"))
SEED = os.environ.get("YARRR_TEST_CRASH_SEED") or secrets.token_hex(4)
MAX_START_S = 2.0
EVERY = 1 if CYCLES >= 200 else 4
LONG = pytest.mark.skipif(CYCLES < 200, reason="only in the long run, make crash-long")

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("crash")]


@pytest.fixture
def make_runner(make_server, tmp_path):
    """A function that gives a runner for a server of its own; `broken` names a variant of tests.crash.broken."""

    def make(*, broken: str | None = None, **options) -> Runner:
        command = (sys.executable, "-m", "tests.crash.broken", broken) if broken else ()
        server = make_server(start=False, command=command, **SETTINGS)
        return Runner(server, tmp_path / "scratch", seed=SEED, **options)

    return make


@pytest.mark.timeout(60 + 15 * CYCLES)
def test_kill_9_under_load_loses_nothing_and_leaves_nothing(make_runner, capsys):
    runner = make_runner()
    summary = runner.run(CYCLES)
    with capsys.disabled():
        print(f"\n{summary}")
    assert not summary.findings, f"{summary}\n{summary.findings}"
    assert not summary.ledger.wrong, f"{summary}\n{summary.ledger.wrong[:5]}"
    assert summary.most_starts_s < MAX_START_S, summary
    # It worked on a real load, and the crashes hit it.
    assert summary.crashes == CYCLES
    assert len(summary.ledger.receipts) >= 4 * CYCLES, summary
    assert summary.ledger.interrupted >= 2 * CYCLES, summary
    assert {each.client for each in summary.ledger.receipts} == {
        "put", "chunked put", "raw post", "form", "form of two", "tus", "draft"
    }, summary  # fmt: skip
    assert list(fsck.check(runner.data_dir)) == []


@pytest.mark.parametrize(
    ("broken", "kind"),
    [("receipt-before-commit", "lost"), ("row-before-file", "rows_without_file"), ("no-recovery", "orphans")],
)
def test_the_crash_test_sees_a_service_that_breaks_its_promise(make_runner, broken, kind):
    runner = make_runner(broken=broken)
    summary = runner.run(8, until=lambda findings: bool(getattr(findings, kind)))
    assert getattr(summary.findings, kind), f"{summary}\n{summary.findings}"
    if kind == "rows_without_file":
        assert any(fault.endswith("has no file") for fault in fsck.check(runner.data_dir))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("is_known", [False, pytest.param(True, marks=LONG)], ids=["new bytes", "known bytes"])
@pytest.mark.parametrize("is_at_once", [True, False], ids=["at once", "with a row of its own"])
def test_every_point_of_an_upload_is_a_good_one_to_die(make_server, tmp_path, is_at_once, is_known, capsys):
    server = make_server(start=False, **SETTINGS)
    data = DataDirectory(server.data_dir, tmp_path / "scratch")
    contents, ledger, rng = Contents(SEED, max_bytes=300_000), Ledger(), random.Random(SEED)

    def next_content() -> Content:
        return next(each for each in iter(lambda: contents.next(rng), None) if is_at_once == (each.size <= MOST_BYTES))

    known = next_content()
    first = rng.randint(1, EVERY)
    for point in itertools.count(first, EVERY):
        server.command = (sys.executable, "-m", "tests.crash.points", str(point))
        server.start()
        assert not (findings := data.check_running(ledger.receipts)), f"{where(server)}\n{findings}"
        connection = Connection(server.port, server.token)
        content = known if is_known else next_content()
        if is_known and point == first:
            put(connection, content, ledger)
        server.signal(signal.SIGUSR1)
        time.sleep(0.02)  # until the signal is handled
        is_alive = put(connection, content, ledger)
        connection.close()
        server.kill()
        assert not (findings := data.check_stopped(ledger.receipts)), f"{where(server)}\n{findings}"
        if is_alive:
            break
    with capsys.disabled():
        print(f"\nkilled at one in {EVERY} of {point} points of an upload")
    assert point > 20
    assert len(ledger.receipts) == 1 + is_known


def put(connection: Connection, content: Content, ledger: Ledger) -> bool:
    """Upload; whether there is a receipt."""
    headers = {"Content-Length": str(content.size)}
    try:
        answer = connection.request("PUT", "/spool/song.mp3", headers, [content.data])
    except Interrupted:
        return False
    assert answer.status == 201, answer
    ledger.acknowledge("put", answer.headers["location"].removeprefix("/tracks/"), content, answer.json())
    return True


def where(server: Server) -> str:
    """The point at which the server has died."""
    return next((line for line in reversed(server.log.splitlines()) if line.startswith("dead at")), "alive")
