"""kill -9 under load takes nothing that was acknowledged: the machinery in tests/crash, the why in docs/durability.md.

``YARRR_TEST_CRASH_CYCLES`` sets how often the service is killed, ``YARRR_TEST_CRASH_SEED`` repeats the choices of an
earlier run (not its timing).
"""

import os
import secrets
import sys

import pytest

from tests.crash.runner import SETTINGS, Runner

CYCLES = int(os.environ.get("YARRR_TEST_CRASH_CYCLES", "40"))
SEED = os.environ.get("YARRR_TEST_CRASH_SEED") or secrets.token_hex(4)
MAX_START_S = 2.0

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
    summary = make_runner().run(CYCLES)
    with capsys.disabled():
        print(f"\n{summary}")
    assert not summary.findings, f"{summary}\n{summary.findings}"
    assert not summary.ledger.wrong, f"{summary}\n{summary.ledger.wrong[:5]}"
    assert summary.slowest_start_s < MAX_START_S, summary
    # It worked on a real load, and the crashes hit it.
    assert summary.crashes == CYCLES
    assert len(summary.ledger.receipts) >= 4 * CYCLES, summary
    assert summary.ledger.interrupted >= 2 * CYCLES, summary
    assert {each.client for each in summary.ledger.receipts} == {
        "put", "chunked put", "raw post", "form", "form of two"
    }, summary  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "kind"),
    [("receipt-before-commit", "lost"), ("row-before-file", "rows_without_file"), ("no-recovery", "orphans")],
)
def test_the_crash_test_sees_a_service_that_breaks_its_promise(make_runner, broken, kind):
    summary = make_runner(broken=broken).run(8, until=lambda findings: bool(getattr(findings, kind)))
    assert getattr(summary.findings, kind), f"{summary}\n{summary.findings}"
