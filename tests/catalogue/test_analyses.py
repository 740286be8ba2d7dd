"""What decoding found, and who may sound the same."""

import pytest

from service.catalogue import analyses
from service.catalogue.analyses import Analysis
from tests.rows import add_track

pytestmark = pytest.mark.usefixtures("users")


@pytest.fixture
def add(database):
    """A function that adds a track that was decoded; its id."""

    async def add(number, *, fingerprint=b"print", **changes):
        def write(connection):
            row = add_track(connection, number, **changes)
            found = Analysis(
                report={}, sample_rate=44_100, samples_per_point=2048, peaks=b"pp", fingerprint=fingerprint
            )
            analyses.save(connection, row["track_id"], found, now=1)
            return row["track_id"]

        return await database.write(write)

    return add


async def test_those_that_last_most_alike_come_first_and_no_others(database, add):
    asked = await add(1, duration=60.0)
    near, nearer = await add(2, duration=62.0), await add(3, duration=60.5)
    await add(4, duration=64.0)
    await add(5, duration=60.0, user_id="u2")
    await add(6, duration=60.0, trashed_at=1, state="trashed")
    await add(7, duration=60.0, fingerprint=None)

    async def found(limit):
        rows = await analyses.of_like_duration(database, "u1", asked, duration=60.0, tolerance=3.0, limit=limit)
        return [row["track_id"] for row in rows]

    assert await found(10) == [nearer, near]
    assert await found(2) == [nearer], "the limit counts what is looked at"
