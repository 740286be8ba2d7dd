"""The queue of later work."""

import pytest

from service.catalogue import jobs
from tests.rows import add_track, take_job

pytestmark = pytest.mark.usefixtures("users")


@pytest.fixture
async def tracks(write):
    return [(await write(add_track, number))["track_id"] for number in range(3)]


async def test_what_is_due_first_comes_first(write, tracks):
    await write(jobs.queue, "measure", tracks[:1], now=1)
    await write(jobs.queue, "describe", tracks[1:2], now=3)
    await write(jobs.queue, "describe", tracks[2:], now=2)
    taken = [await write(take_job, "describe", now=5) for _ in range(3)]
    assert [job and job.track_id for job in taken] == [tracks[2], tracks[1], None]
    assert (await write(take_job, "measure", now=5)).track_id == tracks[0]


async def test_a_job_is_not_taken_before_it_is_due(write, database, tracks):
    assert await jobs.next_due_at(database, "measure") is None
    await write(jobs.queue, "measure", tracks[:1], now=10)
    assert await write(take_job, "measure", now=9) is None
    assert await jobs.next_due_at(database, "measure") == 10
    job = await write(take_job, "measure", now=10)
    assert await jobs.next_due_at(database, "measure") is None
    await write(jobs.postpone, job, due_at=20, problem="later")
    assert await write(take_job, "measure", now=19) is None
    assert (await write(take_job, "measure", now=20)).attempts == 2


async def test_a_job_that_is_done_leaves_nothing(write, database, tracks):
    await write(jobs.queue, "describe", tracks[:1], now=0)
    await write(jobs.done, await write(take_job, "describe", now=0))
    assert await jobs.counts(database) == {}


async def test_a_job_queued_again_while_it_runs_runs_again(write, database, tracks):
    await write(jobs.queue, "describe", tracks[:1], now=0)
    job = await write(take_job, "describe", now=0)
    await write(jobs.queue, "describe", tracks[:1], now=1)
    await write(jobs.done, job)
    await write(jobs.fail, job, problem="of the first run")
    assert await jobs.counts(database) == {("describe", "waiting"): 1}
    assert (await write(take_job, "describe", now=1)).attempts == 1


async def test_who_ran_a_job_before_it_was_queued_again_does_not_end_it(write, database, tracks):
    await write(jobs.queue, "measure", tracks[:1], now=0)
    first = await write(take_job, "measure", now=0)
    await write(jobs.queue, "measure", tracks[:1], now=1)
    second = await write(take_job, "measure", now=1)
    await write(jobs.done, first)
    assert not await write(jobs.fail, first, problem="of the first run")
    await write(jobs.postpone, first, due_at=9, problem="of the first run")
    await write(jobs.put_back, first)
    assert await jobs.counts(database) == {("measure", "running"): 1}
    await write(jobs.done, second)
    assert await jobs.counts(database) == {}


async def test_a_track_that_is_looked_at_again_is_not_ready_meanwhile(write, database, tracks):
    await write(jobs.queue_again, tracks[:1], now=7)
    rows = await database.read("SELECT state, revision, updated_at FROM tracks ORDER BY track_id")
    assert [tuple(row)[:2] for row in rows] == [("analysing", 1), ("ready", 0), ("ready", 0)]
    assert rows[0]["updated_at"] == 7


async def test_what_waits_for_a_time_that_will_not_come_is_brought_forward(write, tracks):
    await write(jobs.queue, "describe", tracks[:1], now=5)
    await write(jobs.queue, "describe", tracks[1:2], now=1)
    await write(jobs.bring_forward, now=2)
    assert [job.track_id for job in await write(jobs.take, "describe", now=2, limit=9, most_bytes=1 << 40)] == [
        tracks[1],
        tracks[0],
    ]


async def test_a_failed_job_stays_with_its_reason_until_it_is_queued_again(write, database, tracks):
    await write(jobs.queue, "describe", tracks[:1], now=0)
    await write(jobs.fail, await write(take_job, "describe", now=0), problem="too much")
    (row,) = await jobs.list_jobs(database, 10)
    assert (row["state"], row["problem"], row["filename"]) == ("failed", "too much", "song 0.mp3")
    assert await write(take_job, "describe", now=9) is None
    assert await write(jobs.queue_some, after="", limit=10, now=9) == tracks
    assert (await write(take_job, "describe", now=9)).track_id == tracks[0]


async def test_a_crash_of_the_process_counts_as_an_attempt_and_a_shutdown_does_not(write, tracks):
    await write(jobs.queue, "describe", tracks[:1], now=0)
    await write(jobs.put_back, await write(take_job, "describe", now=0))
    await write(take_job, "describe", now=0)
    assert await write(jobs.put_all_back) == 1
    assert (await write(take_job, "describe", now=0)).attempts == 2


async def test_jobs_go_with_their_track(write, database, tracks):
    await write(jobs.queue, "describe", tracks, now=0)
    await write(lambda connection: connection.execute("DELETE FROM tracks WHERE track_id = ?", (tracks[0],)))
    assert await jobs.counts(database) == {("describe", "waiting"): 2}


async def test_the_newest_can_be_taken_first(write, tracks):
    for moment, track_id in enumerate(tracks):
        await write(jobs.queue, "describe", [track_id], now=moment)
    assert (await write(take_job, "describe", now=1, newest=True)).track_id == tracks[1], "of what is due"
    assert (await write(take_job, "describe", now=9, newest=True)).track_id == tracks[2]
    assert (await write(take_job, "describe", now=9, newest=True)).track_id == tracks[0]


async def test_waiting_for_the_machine_is_no_attempt(write, tracks):
    await write(jobs.queue, "describe", tracks[:1], now=0)
    job = await write(take_job, "describe", now=0)
    await write(jobs.postpone, job, due_at=5, problem="full", is_counted=False)
    assert (await write(take_job, "describe", now=5)).attempts == 1


async def test_all_tracks_are_queued_in_steps(write, database, tracks):
    assert await write(jobs.queue_some, after="", limit=2, now=0) == tracks[:2]
    assert await write(jobs.queue_some, after=tracks[1], limit=2, now=0) == tracks[2:]
    assert await write(jobs.queue_some, after=tracks[2], limit=2, now=0) == []
    assert await jobs.counts(database) == {("describe", "waiting"): 3}


async def test_many_are_taken_together_until_their_files_are_many_bytes(write, tracks):
    await write(jobs.queue, "describe", tracks, now=1)
    taken = await write(jobs.take, "describe", now=9, limit=2, most_bytes=1 << 40)
    assert [job.track_id for job in taken] == tracks[:2]
    for job in taken:
        await write(jobs.put_back, job)
    assert len(await write(jobs.take, "describe", now=9, limit=9, most_bytes=taken[0].size + taken[1].size)) == 2
    assert len(await write(jobs.take, "describe", now=9, most_bytes=0)) == 1, "the first is never too large"


async def test_what_was_tried_before_is_taken_alone(write, tracks):
    await write(jobs.queue, "describe", tracks, now=1)
    assert len(await write(jobs.take, "describe", now=9, limit=2, most_bytes=1 << 40)) == 2
    await write(jobs.put_all_back)
    taken = [await write(jobs.take, "describe", now=9, limit=9, most_bytes=1 << 40) for _ in range(3)]
    assert [[(job.track_id, job.attempts) for job in each] for each in taken] == [
        [(tracks[0], 2)],
        [(tracks[1], 2)],
        [(tracks[2], 1)],
    ]
