"""The process that looks into files, and what becomes of it."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from service.jobs import worker as worker_module
from service.jobs.worker import Died, Limits, OverLimit, Unreadable, Worker

PLENTY = Limits(cpu_s=30, wall_s=30)


@pytest.fixture
async def worker():
    worker = Worker()
    yield worker
    await worker.close()


@pytest.fixture
def fifo(tmp_path):
    """A file that whoever opens it waits for, for ever."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


async def until_it_runs(worker):
    while worker.process_id is None:
        await asyncio.sleep(0.01)
    return worker.process_id


async def test_one_process_does_many_tasks(worker, path_of):
    found = [(await worker.ask("scan", path_of(name), PLENTY)).result for name in ("cbr128", "vbr")]
    process_id = worker.process_id
    assert found[0]["frames_sha256"] != found[1]["frames_sha256"]
    assert found[0]["audio_end"] > found[0]["audio_start"] >= 0
    await worker.ask("scan", path_of("cbr128"), PLENTY)
    assert worker.process_id == process_id


async def test_what_cannot_be_read_is_said_and_the_process_goes_on(worker, tmp_path, path_of):
    (tmp_path / "text").write_bytes(b"not an mp3 at all" * 100)
    with pytest.raises(Unreadable):
        await worker.ask("measure", tmp_path / "text", PLENTY)
    with pytest.raises(Unreadable, match="No such file"):
        await worker.ask("measure", tmp_path / "nothing", PLENTY)
    process_id = worker.process_id
    assert (await worker.ask("scan", path_of("cbr128"), PLENTY)).pieces == []
    assert worker.process_id == process_id


async def test_what_takes_too_long_is_killed(worker, fifo, path_of):
    began = time.monotonic()
    with pytest.raises(OverLimit, match="longer than"):
        await worker.ask("scan", fifo, Limits(cpu_s=5, wall_s=1))
    assert time.monotonic() - began < 5
    assert worker.process_id is None
    assert (await worker.ask("scan", path_of("cbr128"), PLENTY)).result


async def test_what_takes_too_much_cpu_is_killed_by_the_kernel(worker, content_of, tmp_path):
    long = tmp_path / "long.mp3"
    long.write_bytes(content_of("cbr128") * 300)
    with pytest.raises(OverLimit, match="CPU"):
        await worker.ask("measure", long, Limits(cpu_s=0.5, wall_s=60))


async def test_a_process_killed_by_somebody_else_is_told_from_one_over_its_limits(worker, fifo):
    asking = asyncio.create_task(worker.ask("scan", fifo, PLENTY))
    process_id = await until_it_runs(worker)
    await asyncio.sleep(0.2)
    os.kill(process_id, signal.SIGKILL)
    with pytest.raises(Died, match="SIGKILL"):
        await asking
    assert worker.process_id is None


async def test_a_task_nobody_waits_for_any_more_ends_with_its_process(worker, fifo):
    asking = asyncio.create_task(worker.ask("scan", fifo, PLENTY))
    process_id = await until_it_runs(worker)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(process_id, 0)


async def test_a_process_is_relieved_after_many_tasks(worker, path_of, monkeypatch):
    monkeypatch.setattr(worker_module, "TASKS_PER_PROCESS", 2)
    await worker.ask("scan", path_of("cbr128"), PLENTY)
    assert worker.process_id is not None
    await worker.ask("scan", path_of("cbr128"), PLENTY)
    assert worker.process_id is None


async def test_the_process_has_little_memory_and_writes_no_file(worker, path_of):
    await worker.ask("scan", path_of("cbr128"), PLENTY)
    text = Path(f"/proc/{worker.process_id}/limits").read_text()
    found = {line[:25].strip(): line[26:].split()[0] for line in text.splitlines()[1:]}
    assert int(found["Max address space"]) == 512 << 20
    assert int(found["Max file size"]) == 0
    assert int(found["Max core file size"]) == 0
    assert os.getpriority(os.PRIO_PROCESS, worker.process_id) >= 10


async def test_the_process_sees_nothing_of_the_service_s_environment(worker, path_of, monkeypatch):
    monkeypatch.setenv("YARRR_ADMIN_PASSWORD", "secret of the service")
    await worker.ask("scan", path_of("cbr128"), PLENTY)
    assert "secret" not in Path(f"/proc/{worker.process_id}/environ").read_text()
