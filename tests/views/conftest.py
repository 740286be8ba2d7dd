"""The administrator, and tracks without an upload."""

import pytest

from service.keys import DATABASE
from tests.rows import add_track


@pytest.fixture
async def user_id(client, auth):
    return (await (await client.get("/me", headers=auth)).json())["id"]


@pytest.fixture
def add(client, user_id):
    """A function that adds a track of the administrator, or of another user; its row."""

    async def add(number, owner=user_id, **changes):
        return await client.app[DATABASE].write(lambda connection: add_track(connection, number, owner, **changes))

    return add
