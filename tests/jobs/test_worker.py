"""The process that looks into files, and what becomes of it."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from service.jobs import worker as worker_module
from service.jobs.worker import Died, Gone, Limits, OverLimit, TooSlow, Unreadable, Worker

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
    with pytest.raises(Gone, match="No such file"):
        await worker.ask("measure", tmp_path / "nothing", PLENTY)
    process_id = worker.process_id
    assert (await worker.ask("scan", path_of("cbr128"), PLENTY)).pieces == []
    assert worker.process_id == process_id


async def test_what_takes_too_long_is_killed(worker, fifo, path_of):
    began = time.monotonic()
    with pytest.raises(TooSlow, match="longer than"):
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


def playing(script, tmp_path, monkeypatch):
    """Have workers start a process that a file has taken hold of."""
    program = tmp_path / "taken"
    ready = "import os, sys, time\nos.write(1, b'\\n')\nsys.stdin.readline()"
    program.write_text(f"#!{sys.executable}\n{ready}\n{script}\ntime.sleep(60)\n")
    program.chmod(0o700)
    monkeypatch.setattr(worker_module.sys, "executable", str(program))


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage",
        b"[]",
        b"{}",
        b'{"result": {}}',
        b'{"result": {}, "sizes": 7}',
        b'{"result": {}, "sizes": ["../x"]}',
        b'{"result": {}, "sizes": [-1]}',
        b'{"result": {}, "sizes": [99999999999]}',
        b'{"result": "' + b"x" * (5 << 20),
    ],
)
async def test_whatever_the_process_answers_is_no_harm(worker, tmp_path, monkeypatch, answer):
    (tmp_path / "answer").write_bytes(answer + b"\n")
    playing(f"os.write(1, open({str(tmp_path / 'answer')!r}, 'rb').read())", tmp_path, monkeypatch)
    with pytest.raises(Died, match="nonsense"):
        await worker.ask("scan", Path("x"), PLENTY)
    assert worker.process_id is None


async def test_words_of_the_process_are_one_short_line(worker, tmp_path, monkeypatch):
    (tmp_path / "answer").write_bytes(b'{"sizes": [], "reason": "a\\n' + b"x" * 100_000 + b'"}\n')
    playing(f"os.write(1, open({str(tmp_path / 'answer')!r}, 'rb').read())", tmp_path, monkeypatch)
    with pytest.raises(Unreadable) as caught:
        await worker.ask("scan", Path("x"), PLENTY)
    assert str(caught.value).startswith("a x")
    assert len(str(caught.value)) == worker_module.MAX_REASON


async def test_a_process_that_ends_itself_is_asked_no_more(worker, path_of, monkeypatch):
    script = "from service.jobs import child\ndef scan(*_): raise MemoryError\nchild.TASKS['scan'] = scan\n"
    script += "child.main()"
    monkeypatch.setattr(worker_module, "PROGRAM", ("-c", script))
    for _ in range(10):
        with pytest.raises(Unreadable, match="memory"):  # and not Died, of the one before
            await worker.ask("scan", path_of("cbr128"), PLENTY)
        assert worker.process_id is None


async def test_a_disk_that_fails_is_not_the_file_and_its_path_is_told_nobody(worker, tmp_path):
    with pytest.raises(Died, match=r"^The file cannot be read: Is a directory\.$"):
        await worker.ask("scan", tmp_path, PLENTY)
    with pytest.raises(Gone, match=r"^No such file\.$"):
        await worker.ask("scan", tmp_path / "gone", PLENTY)


async def test_a_signal_without_a_name_is_a_death_as_any(worker, fifo):
    asking = asyncio.create_task(worker.ask("scan", fifo, PLENTY))
    process_id = await until_it_runs(worker)
    await asyncio.sleep(0.2)
    os.kill(process_id, 40)
    with pytest.raises(Died, match="signal 40"):
        await asking


async def test_the_process_has_its_pipes_and_nothing_of_the_service(worker, path_of, tmp_path):
    with (tmp_path / "held").open("wb") as held:
        os.set_inheritable(held.fileno(), True)
        await worker.ask("scan", path_of("cbr128"), PLENTY)
        links = {int(each.name): str(each.readlink()) for each in Path(f"/proc/{worker.process_id}/fd").iterdir()}
    assert links.pop(2) == links.pop(1) == os.devnull, "what libraries print goes nowhere"
    assert {link.partition(":")[0] for link in links.values()} <= {"pipe", "socket"}
    assert len(links) == 2


async def test_the_process_dies_with_the_service(fifo):
    """Whoever has started it may be killed at any moment, in the middle of a task too."""
    script = f"""
import asyncio
from pathlib import Path
from service.jobs.worker import Limits, Worker

async def main():
    worker = Worker()
    task = asyncio.create_task(worker.ask("scan", Path({str(fifo)!r}), Limits(60, 60)))
    while worker.process_id is None:
        await asyncio.sleep(0.01)
    await asyncio.sleep(1)
    print(worker.process_id, flush=True)
    await task

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    process_id = int(await parent.stdout.readline())
    assert Path(f"/proc/{process_id}/fd").exists()
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(5):
        while Path(f"/proc/{process_id}").exists() and "(zombie)" not in Path(f"/proc/{process_id}/status").read_text():
            await asyncio.sleep(0.01)


async def test_a_process_that_is_paused_stands_still_and_that_time_does_not_count(worker, fifo):
    task = asyncio.create_task(worker.ask("scan", fifo, Limits(cpu_s=30, wall_s=0.6)))
    process_id = await until_it_runs(worker)
    with worker.paused():
        await asyncio.sleep(0.9)
        assert state_of(process_id) == "T"
        assert not task.done()
    assert state_of(process_id) != "T"
    with pytest.raises(TooSlow):
        await asyncio.wait_for(task, 5)


async def test_a_process_that_was_ended_while_it_was_paused_is_no_harm(worker, path_of):
    await worker.ask("scan", path_of("cbr128"), PLENTY)
    with worker.paused():
        await worker.close()
    with worker.paused():
        asking = asyncio.create_task(worker.ask("scan", path_of("cbr128"), Limits(cpu_s=5, wall_s=5)))
        await until_it_runs(worker)
        await asyncio.sleep(0.5)
        assert state_of(worker.process_id) == "T", "one that began meanwhile stands still, too"
        assert not asking.done()
    assert (await asking).result


async def test_time_begins_when_a_pause_ends(worker, path_of, fifo):
    await worker.ask("scan", path_of("cbr128"), PLENTY)
    with worker.paused():
        asking = asyncio.create_task(worker.ask("scan", fifo, Limits(cpu_s=5, wall_s=0.5)))
        await asyncio.sleep(0.8)
        assert not asking.done()
    with pytest.raises(TooSlow):
        await asyncio.wait_for(asking, 5)


async def test_pausing_while_a_process_is_found_out_is_no_harm(worker, tmp_path, monkeypatch):
    """Its task is over, the cause of its death is not known yet."""
    playing("print('garbage', flush=True)", tmp_path, monkeypatch)
    asking = asyncio.create_task(worker.ask("scan", tmp_path / "x", PLENTY))
    while not asking.done():
        with worker.paused():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
    with pytest.raises(Died, match="nonsense"):
        await asking


def state_of(process_id):
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
