"""Jobs from their table to their end: real tracks, real processes."""

import asyncio
import errno
import os
import signal
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import orjson
import pytest

from service.catalogue import analyses, clock, jobs, tracks
from service.errors import DatabaseFull, Overloaded, StorageFailed
from service.jobs import analyse as analyse_module
from service.jobs import runner as runner_module
from service.jobs.analyse import Analyst
from service.jobs.runner import Runner
from service.jobs.worker import Answer, Died, Limits, OverLimit, Unreadable, Worker
from service.metrics import Metrics
from service.storage.covers import LocalCovers
from tests.rows import take_job

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
    assert set(open_jobs(place)) == {("describe", "failed"), ("measure", "failed")}
    assert "No such file" in place.rows("jobs")[0]["problem"]


async def test_a_missing_blob_takes_nothing_that_was_known(place, running, track, content_of):
    row = await place.upload(content_of("id3v23"))
    async with running() as runner:
        before = await until(lambda: (found := track(row["track_id"]))["state"] == "ready" and found)
        place.blobs.delete(row["key"])
        await place.database.write(partial(jobs.queue_again, track_ids=[row["track_id"]], now=clock.now()))
        runner.wake()
        await until(lambda: open_jobs(place) == [("describe", "failed"), ("measure", "failed")])
    after = track(row["track_id"])
    for name in ("title", "metadata", "tags", "frames_sha256", "audio_start", "state"):
        assert after[name] == before[name]
    assert await analyses.find(place.database, place.user_id, row["track_id"])


async def test_what_kills_its_process_thrice_has_failed(place, running, covers, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "BACKOFF_S", (0, 0))

    class Killed(Answering):
        async def ask(self, task, path, limits, data=b""):
            if task == "describe":
                raise Died("killed")
            return await super().ask(task, path, limits, data)

    monkeypatch.setattr(runner_module, "Worker", Killed)
    row = await place.upload(song)
    async with running() as runner:
        ready = await until(lambda: (found := track(row["track_id"]))["state"] == "ready" and found)
        counted = runner._metrics.jobs.labels("describe", "failed")._value.get()
    assert (ready["metadata"], ready["metadata_reason"]) == ("unavailable", "killed")
    assert ready["frames_sha256"], "what was found out before stays"
    assert open_jobs(place) == [("describe", "failed")]
    assert counted == 1


async def test_a_clock_that_was_set_back_keeps_nothing_waiting(place, running, track, song, monkeypatch):
    now = clock.now
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: now() + 3600 * clock.SECOND)
        row = await place.upload(song)
    async with running():
        await until(lambda: track(row["track_id"])["state"] == "ready")


async def test_the_command_does_what_another_one_queues_meanwhile(place, covers, track, song):
    row = await place.upload(song)

    class Queueing(Analyst):
        is_first = True

        async def measure(self, job, worker):
            if self.is_first:
                self.is_first = False
                queue = partial(jobs.queue_again, track_ids=[job.track_id], now=clock.now())
                await place.database.write(queue)
            return await super().measure(job, worker)

    await Runner(place.database, Queueing(place.database, place.blobs, covers), Metrics(), processes=1).run_all()
    assert open_jobs(place) == []
    assert track(row["track_id"])["state"] == "ready"


async def test_jobs_a_crash_left_running_run_again(place, running, track, song):
    row = await place.upload(song)
    assert await place.database.write(lambda connection: take_job(connection, "describe", now=clock.now()))
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


async def test_what_nobody_thought_of_ends_no_lane(place, running, covers, track, song, monkeypatch, caplog):
    monkeypatch.setattr(runner_module, "BACKOFF_S", (0, 0))
    row = await place.upload(song)
    async with running(Failing(place, covers, KeyError("surprise"))):
        await until(lambda: track(row["track_id"])["metadata"] == "available")
    assert "surprise" in caplog.text


async def test_a_job_whose_end_could_not_be_noted_runs_again_without_a_restart(
    place, running, covers, track, song, monkeypatch
):
    monkeypatch.setattr(runner_module, "FAILURE_PAUSE_S", 0.05)
    monkeypatch.setattr(runner_module, "BACKOFF_S", (0, 0))
    row = await place.upload(song)
    postpone, failures = jobs.postpone, [1, 1]

    def failing(*arguments, **named):
        if failures:
            failures.pop()
            raise StorageFailed("no disk")
        return postpone(*arguments, **named)

    monkeypatch.setattr(jobs, "postpone", failing)
    async with running(Failing(place, covers, StorageFailed("no disk"), StorageFailed("no disk"))):
        await until(lambda: track(row["track_id"])["metadata"] == "available")
    assert not failures


async def test_lanes_that_put_back_at_once_what_could_not_be_noted_forget_none_of_it(place, covers, song):
    for number in range(3):
        await place.upload(song + bytes(number))
    taken = await place.database.write(
        partial(jobs.take, kind="describe", now=clock.now(), limit=3, most_bytes=1 << 30)
    )
    runner = Runner(place.database, Analyst(place.database, place.blobs, covers), Metrics(), processes=1)
    runner._unsettled += taken
    await asyncio.gather(*(runner._put_unsettled_back() for _ in range(2)))
    assert open_jobs(place) == [("describe", "waiting")] * 3
    assert {row["attempts"] for row in place.rows("jobs")} == {0}


async def test_a_job_that_runs_again_is_not_put_back_by_who_had_it_before(place, song):
    await place.upload(song)
    take = partial(jobs.take, kind="describe", now=clock.now())
    (first,) = await place.database.write(take)
    await place.database.write(partial(jobs.postpone, job=first, due_at=0, problem="-"))
    await place.database.write(take)
    await place.database.write(partial(jobs.put_back, job=first))
    assert open_jobs(place) == [("describe", "running")]


async def test_a_lane_lives_on_when_the_queue_cannot_be_read(place, running, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "FAILURE_PAUSE_S", 0.05)
    next_due_at, failures = jobs.next_due_at, [RuntimeError("surprise")] * 4

    async def failing(*arguments):
        if failures:
            raise failures.pop()
        return await next_due_at(*arguments)

    monkeypatch.setattr(jobs, "next_due_at", failing)
    row = await place.upload(song)
    async with running():
        await until(lambda: track(row["track_id"])["state"] == "ready")


async def test_a_full_disk_is_waited_for_and_counts_as_no_attempt(place, running, covers, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "NO_ROOM_PAUSE_S", 0)
    row = await place.upload(song)
    full = [OSError(errno.ENOSPC, "No space left on device", "/secret/place") for _ in range(7)]
    async with running(Failing(place, covers, *full)):
        await until(lambda: place.rows("jobs")[0]["problem"])
        assert place.rows("jobs")[0]["problem"] == "The disk failed: No space left on device."
        await until(lambda: track(row["track_id"])["metadata"] == "available")


async def test_a_full_database_is_waited_for_and_counts_as_no_attempt(place, running, covers, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "NO_ROOM_PAUSE_S", 0)
    monkeypatch.setattr(runner_module, "BACKOFF_S", (0, 0))
    monkeypatch.setattr(runner_module, "FAILURE_PAUSE_S", 0)
    row = await place.upload(song)
    async with running(Failing(place, covers, *(DatabaseFull("full") for _ in range(7)))):
        await until(lambda: track(row["track_id"])["metadata"] != "pending")
    assert track(row["track_id"])["metadata"] == "available"


async def test_a_track_that_ends_the_service_each_time_is_let_go(place, running, track, song):
    row = await place.upload(song)
    for _ in range(jobs.MAX_ATTEMPTS):
        assert await place.database.write(lambda connection: take_job(connection, "describe", now=clock.now()))
        await place.database.write(jobs.put_all_back)
    async with running():
        await until(lambda: track(row["track_id"])["metadata"] == "unavailable")
    assert "ended each time" in track(row["track_id"])["metadata_reason"]


async def test_the_command_does_also_what_a_crash_has_left(place, covers, track, song):
    row = await place.upload(song)
    await place.database.write(lambda connection: take_job(connection, "describe", now=clock.now()))
    await Runner(place.database, Analyst(place.database, place.blobs, covers), Metrics(), processes=1).run_all()
    assert track(row["track_id"])["state"] == "ready"


async def test_the_command_waits_for_another_try(place, covers, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "BACKOFF_S", (0.3, 0))
    row = await place.upload(song)
    await Runner(place.database, Failing(place, covers, Died("killed")), Metrics(), processes=1).run_all()
    assert (track(row["track_id"])["metadata"], place.rows("jobs")) == ("available", [])


async def test_a_new_track_does_not_wait_behind_a_catalogue_that_is_analysed_anew(place, running, covers, content_of):
    described = []

    class Noting(Analyst):
        async def describe(self, job, worker):
            described.append(job.track_id)
            await self._note(job, tracks.Description({}))

    for number in range(6):
        await place.upload(content_of("cbr128") + bytes([number]) * number)
    new = (await place.upload(content_of("vbr")))["track_id"]
    async with running(Noting(place.database, place.blobs, covers)):
        await until(lambda: len(described) == 7)
    assert new in described[:2]


async def test_blobs_that_were_replaced_are_looked_at_again(place, running, track, song):
    row = await place.upload(song)
    place.blobs.delete(row["key"])
    async with running() as runner:
        await until(lambda: track(row["track_id"])["metadata"] == "unavailable")
        await place.upload(song)
        runner.wake()
        await until(lambda: track(row["track_id"])["metadata"] == "available")


class Answering(Worker):
    """A process that a file has taken hold of."""

    def __init__(self, **answers):
        super().__init__()
        self.answers = answers

    async def ask(self, task, path, limits: Limits, data=b""):
        return self.answers[task] if task in self.answers else await super().ask(task, path, limits, data)


JPEG = b"\xff\xd8\xff"
ABOUT = {"digest": "ab" * 32, "width": 10, "height": 10, "sizes": [64, 128, 256, 512, 1024]}
MEASURED = {"sample_rate": 44100, "samples_per_point": 2048, "duration": 1.0}


@pytest.mark.parametrize(
    "about",
    [
        {"sizes": ["../../../x", 128, 256, 512, 1024]},
        {"digest": ""},
        {"digest": "../.."},
        {"digest": 7},
        {"width": 1 << 70},
        {"height": "10"},
        {"sizes": [64]},
    ],
)
async def test_an_answer_about_a_cover_is_not_believed(place, covers, song, about):
    await place.upload(song)
    job = await place.database.write(lambda connection: take_job(connection, "describe", now=clock.now()))
    worker = Answering(describe=Answer({"tags": {}, "cover": {**ABOUT, **about}}, [JPEG] * 5))
    before = sorted(place.directory.rglob("*.jpg"))
    with pytest.raises(Died, match="nonsense"):
        await Analyst(place.database, place.blobs, covers).describe(job, worker)
    await worker.close()
    assert sorted(place.directory.rglob("*.jpg")) == before == []


@pytest.mark.parametrize(
    "tags",
    [
        [],
        {"year": 1 << 70},
        {"title": 7},
        {"title": "\0" * 600_000},
        {"isrc": 7},
        {"bpm": "fast"},
        {"musicbrainz": ["x"]},
        {"musicbrainz": {"recording": 7}},
        {"replaygain": {"track_gain": "x"}},
    ],
)
async def test_an_answer_about_tags_is_not_believed(place, covers, song, tags):
    await place.upload(song)
    job = await place.database.write(lambda connection: take_job(connection, "describe", now=clock.now()))
    worker = Answering(describe=Answer({"tags": tags, "cover": None}, []))
    with pytest.raises(Died, match="nonsense"):
        await Analyst(place.database, place.blobs, covers).describe(job, worker)
    await worker.close()


@pytest.mark.parametrize(
    ("result", "pieces"),
    [
        (MEASURED, []),
        (MEASURED, [b"p" * 100_000, b""]),
        ({**MEASURED, "sample_rate": 0}, [b"pp", b""]),
        ({**MEASURED, "more": "x" * 100_000}, [b"pp", b""]),
        ({**MEASURED, "loudness_lufs": "loud"}, [b"pp", b""]),
        ({**MEASURED, "silence_start_s": []}, [b"pp", b""]),
    ],
)
async def test_an_answer_about_sound_is_not_believed(place, covers, song, result, pieces):
    await place.upload(song)
    job = await place.database.write(lambda connection: take_job(connection, "describe", now=clock.now()))
    with pytest.raises(Died, match="nonsense"):
        await Analyst(place.database, place.blobs, covers).measure(job, Answering(measure=Answer(result, pieces)))


async def test_a_picture_that_no_track_comes_to_show_is_known_to_the_sweep(place, covers):
    answer = Answer({"cover": ABOUT}, [JPEG] * 5)
    analyst = Analyst(place.database, place.blobs, covers)

    async def refuse(_cover):
        raise Overloaded("another version", retry_after=1)

    with pytest.raises(Overloaded):
        await analyst.render(b"", Answering(render=answer), refuse)
    assert covers.read(b"\xab" * 32, 64) == JPEG
    unshown = tracks.page_unshown_covers(place.database, created_before=clock.now() + 1, after=b"", limit=9)
    assert await unshown == [b"\xab" * 32]


async def test_a_picture_that_was_chosen_is_flushed_before_a_track_has_it(place, covers, monkeypatch):
    steps = []
    monkeypatch.setattr(covers, "flush", lambda digest: steps.append(("flushed", digest)))

    async def commit(cover):
        steps.append(("committed", cover.digest))

    answer = Answer({"cover": ABOUT}, [JPEG] * 5)
    await Analyst(place.database, place.blobs, covers).render(b"", Answering(render=answer), commit)
    assert steps == [("flushed", b"\xab" * 32), ("committed", b"\xab" * 32)]


async def test_copies_that_are_decoded_at_once_know_of_each_other(place, covers, content_of, monkeypatch):
    monkeypatch.setattr(analyse_module, "_most_similar", lambda _print, rows: rows[0]["sound_id"] if rows else None)
    for number in range(3):
        await place.upload(content_of("cbr128") + bytes([number]) * number)
    found = [
        await place.database.write(lambda connection: take_job(connection, "describe", now=clock.now()))
        for _ in range(3)
    ]
    analyst = Analyst(place.database, place.blobs, covers)
    answers = [Answering(measure=Answer(dict(MEASURED), [b"pp", b"print"])) for _ in found]
    await asyncio.gather(*map(analyst.measure, found, answers))
    assert len({row["sound_id"] for row in place.rows("tracks")}) == 1


async def test_few_pictures_are_in_memory_at_once(place, covers):
    runner = Runner(place.database, Analyst(place.database, place.blobs, covers), Metrics(), processes=0)
    most, most_of_one = runner_module.MAX_PICTURES, runner_module.MAX_PICTURES_PER_USER
    for _ in range(2):
        with pytest.raises(Overloaded):
            with_places(runner, map(str, range(most + 1)))
        with_places(runner, map(str, range(most)))
        with pytest.raises(Overloaded):
            with_places(runner, ["one"] * (most_of_one + 1))
        with_places(runner, ["one"] * most_of_one + ["other"] * (most - most_of_one))


def with_places(runner, users):
    with ExitStack() as stack:
        for user_id in users:
            stack.enter_context(runner.place_for_picture(user_id))


async def test_what_a_stop_leaves_of_a_batch_is_put_back_untried(place, running, covers, content_of, monkeypatch):
    began = asyncio.Event()

    class Slow(Analyst):
        async def describe(self, job, worker):
            began.set()
            await asyncio.sleep(0.2)
            await super().describe(job, worker)

    for number in range(8):
        await place.upload(content_of("cbr128") + bytes(number))
    async with running(Slow(place.database, place.blobs, covers)):
        await asyncio.wait_for(began.wait(), SECONDS)
    waiting = [row["attempts"] for row in place.rows("jobs") if row["kind"] == "describe"]
    assert waiting == [0] * (8 - runner_module.PLACES)


async def test_measuring_waits_while_the_service_is_busy_but_not_for_ever(place, running, track, song, monkeypatch):
    row = await place.upload(song)
    monkeypatch.setattr(runner_module, "BUSY", -1.0)  # then it always is
    monkeypatch.setattr(runner_module, "LULL_PATIENCE_S", 1.5)
    async with running():
        await until(lambda: track(row["track_id"])["metadata"] == "available")
        assert track(row["track_id"])["state"] == "analysing"
        await until(lambda: track(row["track_id"])["state"] == "ready")


async def test_a_file_is_decoded_with_pauses_while_the_service_is_busy(place, running, track, song, monkeypatch):
    monkeypatch.setattr(runner_module, "BUSY", -1.0)
    monkeypatch.setattr(runner_module, "LULL_PATIENCE_S", 0.2)
    monkeypatch.setattr(runner_module, "AT_LEAST_S", 0.05)
    pauses = []
    paused = Worker.paused

    def counted(worker):
        pauses.append(worker.process_id)
        return paused(worker)

    monkeypatch.setattr(Worker, "paused", counted)
    row = await place.upload(song)
    async with running():
        await until(lambda: track(row["track_id"])["state"] == "ready")
    assert any(pauses)
