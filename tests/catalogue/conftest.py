"""A migrated database of its own for each test."""

import pytest

from service.catalogue.database import Database
from service.catalogue.migrations import migrate


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "catalogue.db"
    migrate(path)
    return path


@pytest.fixture
async def database(path):
    opened = await Database.open(path)
    yield opened
    await opened.close()
