"""Power loss takes nothing that was acknowledged, and `relaxed` does give that up: see docs/durability.md."""

import os
import secrets
import sys
import time

import pytest

from tests.crash import disk
from tests.crash.runner import SETTINGS, Runner

ROUNDS = int(os.environ.get("YARRR_TEST_POWER_ROUNDS", "8"))
SEED = os.environ.get("YARRR_TEST_CRASH_SEED") or secrets.token_hex(4)
DISK_BYTES = max(256, 8 * ROUNDS) << 20
MAX_FILE_BYTES = 512 << 10
DARK_S = 0.05  # the process sees its disk fail before it ends; what it says then is checked for its status only

WHY_NOT = disk.why_not()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("power"),
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]


@pytest.fixture
def make_runner(make_server, tmp_path):
    """A function that gives a runner whose crashes are power losses."""
    with disk.power_disk(tmp_path, DISK_BYTES) as power:
        servers = []

        def make(*, broken: str | None = None, **settings) -> Runner:
            variant = (sys.executable, "-m", "tests.crash.broken", broken) if broken else ()
            command = (*power.command, *variant)
            server = make_server(start=False, data_dir=power.path / "data", command=command, **{**SETTINGS, **settings})
            servers.append(server)

            def crash() -> float:
                moment = time.monotonic()
                power.fail()
                time.sleep(DARK_S)
                server.kill()
                return moment

            return Runner(
                server,
                tmp_path / "scratch",
                seed=SEED,
                max_bytes=MAX_FILE_BYTES,
                crash=crash,
                repair=power.repair,
            )

        yield make
        for server in servers:
            server.kill()


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_power_loss_under_load_loses_nothing_and_leaves_nothing(make_runner, capsys):
    summary = make_runner().run(ROUNDS)
    with capsys.disabled():
        print(f"\n{summary}")
    assert not summary.findings, f"{summary}\n{summary.findings}"
    assert not summary.ledger.wrong, f"{summary}\n{summary.ledger.wrong[:5]}"
    assert len(summary.ledger.receipts) >= 4 * ROUNDS, summary
    assert summary.ledger.interrupted + sum(summary.ledger.refused.values()) >= 2 * ROUNDS, summary


def test_relaxed_durability_gives_power_loss_up(make_runner):
    summary = make_runner(durability="relaxed").run(5)
    assert summary.findings.lost, summary


def test_the_test_sees_bytes_that_were_not_flushed(make_runner):
    summary = make_runner(broken="no-flush").run(
        12, until=lambda findings: bool(findings.lost and findings.rows_without_file)
    )
    assert summary.findings.lost, summary
    assert summary.findings.rows_without_file, summary
