"""The queue of later work: a table, so that nothing is lost in a crash.

A job that is done has no row. One that failed for good keeps it, with the reason, until somebody queues it again.
"""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate
from secrets import randbits

import orjson

from service.catalogue.database import Database

KINDS = ("describe", "measure")
"""To read what a file says, which is short and waited for; to decode it, which is not."""

STATES = ("waiting", "running", "failed")
MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work on one track. ``attempts`` counts this one, too.

    A job that is queued again while it runs may be taken by somebody else, and what becomes of it is theirs to say:
    ``run`` tells the one from the other.
    """

    job_id: int
    run: int
    kind: str
    attempts: int
    track_id: str
    user_id: str
    key: str
    size: int
    duration: float

    @property
    def is_last_attempt(self) -> bool:
        return self.attempts >= MAX_ATTEMPTS


def queue(connection: sqlite3.Connection, kind: str, track_ids: Collection[str], *, now: int) -> None:
    """Let each track be looked at (again); a job that failed or runs begins anew."""
    connection.executemany(
        """
        INSERT INTO jobs (kind, track_id, state, due_at, created_at) VALUES (?1, ?2, 'waiting', ?3, ?3)
        ON CONFLICT (track_id, kind) DO UPDATE
        SET state = 'waiting', attempts = 0, problem = NULL, due_at = excluded.due_at
        """,
        [(kind, track_id, now) for track_id in track_ids],
    )


def queue_again(connection: sqlite3.Connection, track_ids: Collection[str], *, now: int) -> None:
    """Let each track be described and measured anew; those that were ready are not until then."""
    connection.executemany(
        """
        UPDATE tracks SET state = 'analysing', revision = revision + 1, updated_at = ?
        WHERE track_id = ? AND state = 'ready'
        """,
        [(now, track_id) for track_id in track_ids],
    )
    queue(connection, "describe", track_ids, now=now)


def queue_some(connection: sqlite3.Connection, *, after: str, limit: int, now: int) -> list[str]:
    """Let so many tracks be described and measured again, those behind that id; their ids.

    All at once would keep the uploads of a running service from being committed.
    """
    rows = connection.execute(
        "SELECT track_id FROM tracks WHERE track_id > ? ORDER BY track_id LIMIT ?", (after, limit)
    )
    track_ids = [row[0] for row in rows]
    queue_again(connection, track_ids, now=now)
    return track_ids


def take(
    connection: sqlite3.Connection, kind: str, *, now: int, newest: bool = False, limit: int = 1, most_bytes: int = 0
) -> list[Job]:
    """Jobs of that kind that are due for the longest time, or the shortest, which run from now on.

    At most `limit`, and behind the first no more than make `most_bytes` of files together. One that was tried before
    is taken alone: should the process die again, no other is thought to be the reason.
    """
    order = "DESC" if newest else "ASC"
    rows = connection.execute(
        f"""
        SELECT job_id, ?, kind, attempts + 1, track_id, user_id, key, size, duration
        FROM jobs INDEXED BY jobs_waiting JOIN tracks USING (track_id)
        WHERE jobs.state = 'waiting' AND kind = ? AND due_at <= ?
        ORDER BY due_at {order}, job_id {order} LIMIT ?
        """,
        (randbits(63), kind, now, limit),
    ).fetchall()
    found = [Job(*row) for row in rows]
    jobs = found[:1] if found and found[0].attempts > 1 else [job for job in found if job.attempts == 1]
    sums = accumulate(job.size for job in jobs)
    jobs = [job for number, (job, size) in enumerate(zip(jobs, sums, strict=True)) if number == 0 or size <= most_bytes]
    if jobs:
        connection.execute(
            """
            UPDATE jobs SET state = 'running', run = ?, attempts = attempts + 1
            WHERE job_id IN (SELECT value FROM json_each(?))
            """,
            (jobs[0].run, orjson.dumps([job.job_id for job in jobs]).decode()),
        )
    return jobs


def done(connection: sqlite3.Connection, job: Job) -> None:
    """The job ended well, unless it was queued again meanwhile."""
    connection.execute("DELETE FROM jobs WHERE job_id = ? AND state = 'running' AND run = ?", (job.job_id, job.run))


def postpone(connection: sqlite3.Connection, job: Job, *, due_at: int, problem: str, is_counted: bool = True) -> None:
    """The job shall be tried again, not before that moment."""
    connection.execute(
        """
        UPDATE jobs SET state = 'waiting', due_at = ?, problem = ?, attempts = attempts - ?
        WHERE job_id = ? AND state = 'running' AND run = ?
        """,
        (due_at, problem, 0 if is_counted else 1, job.job_id, job.run),
    )


def fail(connection: sqlite3.Connection, job: Job, *, problem: str) -> bool:
    """The job will not be tried again by itself; False when it was queued again meanwhile, and will be."""
    failed = connection.execute(
        "UPDATE jobs SET state = 'failed', problem = ? WHERE job_id = ? AND state = 'running' AND run = ?",
        (problem, job.job_id, job.run),
    )
    return failed.rowcount == 1


def put_back(connection: sqlite3.Connection, job: Job) -> None:
    """The job was not its own reason to end; the attempt does not count, unless another one has begun."""
    connection.execute(
        """
        UPDATE jobs SET state = 'waiting', attempts = attempts - 1
        WHERE job_id = ? AND state = 'running' AND run = ?
        """,
        (job.job_id, job.run),
    )


def list_problems(connection: sqlite3.Connection, track_id: str) -> dict[str, str]:
    """Why jobs of the track failed, by kind."""
    rows = connection.execute(
        "SELECT kind, problem FROM jobs WHERE track_id = ? AND state = 'failed'", (track_id,)
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def put_all_back(connection: sqlite3.Connection) -> int:
    """What ran when the process died waits again, and its attempt counts: it may have been the reason. How many."""
    return connection.execute("UPDATE jobs SET state = 'waiting' WHERE state = 'running'").rowcount


def bring_forward(connection: sqlite3.Connection, *, now: int) -> None:
    """Let all that waits be due: the clock was set back, and what it said before would keep jobs waiting as long."""
    connection.execute("UPDATE jobs SET due_at = ?1 WHERE state = 'waiting' AND due_at > ?1", (now,))


async def next_due_at(database: Database, kind: str) -> int | None:
    """When the next job of that kind is due; None when none waits."""
    row = await database.find("SELECT min(due_at) FROM jobs WHERE state = 'waiting' AND kind = ?", (kind,))
    return row[0] if row else None


async def counts(database: Database) -> dict[tuple[str, str], int]:
    """How many jobs there are by (kind, state), from the index that each state has."""
    each = "SELECT kind, '{0}', count(*) FROM jobs INDEXED BY jobs_{0} WHERE state = '{0}' GROUP BY kind"
    rows = await database.read(" UNION ALL ".join(each.format(state) for state in STATES))
    return {(row[0], row[1]): row[2] for row in rows}


async def list_jobs(database: Database, limit: int) -> list[sqlite3.Row]:
    """What waits, runs or failed: what runs first, then by when it is due."""
    return await database.read(
        """
        SELECT kind, jobs.state, attempts, problem, due_at, jobs.created_at, track_id, filename, name AS user
        FROM jobs JOIN tracks USING (track_id) JOIN users USING (user_id)
        ORDER BY jobs.state = 'running' DESC, jobs.state = 'failed', due_at, job_id LIMIT ?
        """,
        (limit,),
    )
