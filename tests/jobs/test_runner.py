"""Jobs from their table to their end: real tracks, real processes."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import orjson
import pytest

from service.catalogue import analyses, clock, jobs
from service.jobs import runner as runner_module
from service.jobs.analyse import Analyst
from service.jobs.runner import Runner
from service.jobs.worker import Died, OverLimit, Unreadable, Worker
from service.metrics import Metrics
from service.storage.covers import LocalCovers

SECONDS = 20


@pytest.fixture
def song(content_of):
    return content_of("cbr128")


@pytest.fixture
def covers(place):
    return LocalCovers(place.directory / "covers")


@pytest.fixture
def running(place, covers):
    """A function giving a context with a runner at work, whose analyst may be another one."""

    @asynccontextmanager
    async def running(analyst=None, **options):
        analyst = analyst or Analyst(place.database, place.blobs, covers)
        runner = Runner(place.database, analyst, Metrics(), processes=1, **options)
        await runner.start()
        try:
            yield runner
        finally:
            await runner.close()

    return running


@pytest.fixture
def track(place):
    """A function that gives the row of a track."""

    def find(track_id):
        return next(row for row in place.rows("tracks") if row["track_id"] == track_id)

    return find


async def until(condition, seconds=SECONDS):
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(0.02)
    return found


def open_jobs(place):
    return [(row["kind"], row["state"]) for row in place.rows("jobs")]


async def test_a_track_is_described_and_measured(place, running, track, content_of):
    async with running() as runner:
        row = await place.upload(content_of("id3v23"))
        runner.wake()
        ready = await until(lambda: (found := track(row["track_id"]))["state"] == "ready" and found)
    assert (ready["metadata"], ready["title"], ready["revision"]) == ("available", "Sea Song", 3)
    assert orjson.loads(ready["tags"])["sources"] == ["id3v2.3"]
    assert (ready["version"], len(ready["frames_sha256"]), place.rows("jobs")) == (1, 32, [])
    assert 0 < ready["audio_start"] < ready["audio_end"] == ready["size"]
    analysis = await analyses.find(place.database, place.user_id, row["track_id"])
    report = orjson.loads(analysis["report"])
    assert report["duration"] == pytest.approx(ready["duration"], abs=0.03)
    assert len(analysis["peaks"]) > 200
    assert report["loudness_lufs"] < 0


async def test_who_keeps_tracks_hears_of_every_change(place, running, song):
    heard = []
    async with running(changed=lambda *who: heard.append(who)) as runner:
        row = await place.upload(song)
        runner.wake()
        await until(lambda: len(heard) == 2)
    assert set(heard) == {(place.user_id, row["track_id"])}


class Failing(Analyst):
    """Fails at describing as it is told to."""

    def __init__(self, place, covers, *errors):
        super().__init__(place.database, place.blobs, covers)
        self.errors = list(errors)

    async def describe(self, job, worker):
        if self.errors:
            raise self.errors.pop(0)
        await super().describe(job, worker)


async def test_what_fails_is_tried_again_later(place, running, covers, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "BACKOFF_S", (1, 0))
    row = await place.upload(song)
    began = clock.now()
    async with running(Failing(place, covers, Died("killed"), OSError(5, "disk"))) as runner:
        await until(lambda: place.rows("jobs")[0]["problem"] == "killed")
        assert (await runner_state(runner, "describe", "waiting")) == 1
        await until(lambda: track(row["track_id"])["metadata"] == "available")
    assert clock.now() - began > clock.SECOND


async def runner_state(runner, kind, state):
    await runner.note_queue()
    return runner._metrics.queued_jobs.labels(kind, state)._value.get()


async def test_what_fails_thrice_is_given_up_and_the_track_stays(place, running, covers, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "BACKOFF_S", (0, 0))
    row = await place.upload(song)
    async with running(Failing(place, covers, *[Died("killed again")] * 3)):
        ready = await until(lambda: (found := track(row["track_id"]))["state"] == "ready" and found)
    assert (ready["metadata"], ready["metadata_reason"]) == ("unavailable", "killed again")
    assert open_jobs(place) == [("describe", "failed")]
    assert await analyses.find(place.database, place.user_id, row["track_id"])  # its sound can be known all the same


@pytest.mark.parametrize("error", [OverLimit("too long"), Unreadable("broken")])
async def test_what_would_fail_again_is_not_tried_again(place, running, covers, track, song, error):
    row = await place.upload(song)
    async with running(Failing(place, covers, error)):
        ready = await until(lambda: (found := track(row["track_id"]))["metadata"] == "unavailable" and found)
    assert ready["metadata_reason"] == str(error)


async def test_a_missing_blob_is_no_reason_to_try_again(place, running, track, song):
    row = await place.upload(song)
    place.blobs.delete(row["key"])
    async with running():
        await until(lambda: track(row["track_id"])["state"] == "ready")
    assert set(open_jobs(place)) == {("measure", "failed")}
    assert "No such file" in place.rows("jobs")[0]["problem"]


async def test_jobs_a_crash_left_running_run_again(place, running, track, song):
    row = await place.upload(song)
    assert await place.database.write(lambda connection: jobs.take(connection, "describe", now=clock.now()))
    async with running():
        await until(lambda: track(row["track_id"])["state"] == "ready")


async def test_a_job_that_does_not_end_at_shutdown_is_put_back(place, running, covers, song, monkeypatch):
    monkeypatch.setattr(runner_module, "DRAIN_S", 0.2)

    class Endless(Analyst):
        async def describe(self, job, worker):
            await asyncio.sleep(3600)

    await place.upload(song)
    async with running(Endless(place.database, place.blobs, covers)):
        await until(lambda: open_jobs(place) == [("describe", "running")])
    (row,) = place.rows("jobs")
    assert (row["state"], row["attempts"]) == ("waiting", 0)


async def test_a_job_that_ends_soon_at_shutdown_is_waited_for(place, running, track, song):
    row = await place.upload(song)
    async with running():
        await until(lambda: ("describe", "running") in open_jobs(place))
    assert track(row["track_id"])["metadata"] == "available"


async def test_a_killed_process_costs_one_attempt(place, running, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "BACKOFF_S", (0, 0))
    row = await place.upload(song)
    workers = []
    monkeypatch.setattr(runner_module, "Worker", lambda: workers.append(Worker()) or workers[-1])
    async with running():
        process_id = await until(lambda: next((each.process_id for each in workers if each.process_id), None))
        os.kill(process_id, signal.SIGKILL)
        await until(lambda: track(row["track_id"])["state"] == "ready")
    assert track(row["track_id"])["metadata"] == "available"


async def test_everything_that_waits_can_be_done_at_once(place, covers, track, song):
    row = await place.upload(song)
    analyst = Analyst(place.database, place.blobs, covers)
    await Runner(place.database, analyst, Metrics(), processes=1).run_all()
    assert (track(row["track_id"])["state"], place.rows("jobs")) == ("ready", [])


async def test_a_track_that_was_purged_meanwhile_is_no_error(place, covers, song):
    row = await place.upload(song)

    class Slow(Analyst):
        async def describe(self, job, worker):
            await place.database.write(lambda c: c.execute("UPDATE uploads SET track_id = NULL"))
            await place.database.write(lambda c: c.execute("DELETE FROM tracks WHERE track_id = ?", (job.track_id,)))
            await super().describe(job, worker)

    await Runner(place.database, Slow(place.database, place.blobs, covers), Metrics(), processes=1).run_all()
    assert row["track_id"]
    assert place.rows("jobs") == place.rows("tracks") == []
