"""Commands about the jobs that analyse tracks."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from service.cli.tools import as_json, open_alone, show, work

if TYPE_CHECKING:
    from service.catalogue.database import Database
    from service.settings import Settings

MAX_SHOWN = 1000
BATCH = 1000


@click.command("jobs")
@as_json
@click.option("--limit", type=click.IntRange(1, 100_000), default=MAX_SHOWN, show_default=True, help="At most so many.")
def list_queue(is_json: bool, limit: int) -> None:
    """List the jobs that run, wait or have failed."""
    from service.catalogue import jobs
    from service.schemas.jobs import JobSchema

    found = work(lambda database, _: jobs.list_jobs(database, limit))
    show(JobSchema(many=True).dump([dict(row) for row in found]), is_json)


@click.command()
@click.argument("track_ids", nargs=-1, metavar="TRACK...")
@click.option("--all", "is_all", is_flag=True, help="Every track there is.")
def analyse(track_ids: tuple[str, ...], is_all: bool) -> None:
    """Look at each TRACK again: its tags, its cover, its sound.

    A service that runs does it within moments; without one it is done here.
    """
    if is_all == bool(track_ids):
        raise click.UsageError("Name tracks by their ids, or all of them with --all; not both.")

    async def queue(database: "Database", settings: "Settings") -> tuple[int, bool]:
        from service.catalogue import clock, jobs, tracks

        async def queue_all() -> int:
            count, after = 0, ""
            while found := await database.write(partial(jobs.queue_some, after=after, limit=BATCH, now=clock.now())):
                count, after = count + len(found), found[-1]
            return count

        def write(connection: Any) -> int:
            for track_id in track_ids:
                tracks.get_row(connection, track_id)
            jobs.queue_again(connection, track_ids, now=clock.now())
            return len(track_ids)

        count = await (queue_all() if is_all else database.write(write))
        return count, await _analyse_here(settings)

    count, is_done = work(queue)
    click.echo(f"{'Analysed' if is_done else 'Queued'} {count} tracks.")


async def _analyse_here(settings: "Settings") -> bool:
    """Do the jobs unless a service runs that does them."""
    from service.jobs.analyse import Analyst
    from service.jobs.runner import Runner
    from service.metrics import Metrics
    from service.server import AlreadyRunning, locked
    from service.storage.covers import LocalCovers
    from service.storage.local import LocalBlobs

    try:
        with locked(settings):
            database = await open_alone(settings)  # nobody else folds its log meanwhile
            try:
                blobs = LocalBlobs(settings.data_dir / "blobs", durable=False)
                analyst = Analyst(database, blobs, LocalCovers(settings.data_dir / "covers"))
                await Runner(database, analyst, Metrics(), processes=1).run_all()
            finally:
                await database.close()
    except AlreadyRunning:
        return False
    return True
