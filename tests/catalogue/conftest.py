"""A migrated database of its own for each test."""

import sqlite3

import pytest

from service.catalogue.database import Database
from service.catalogue.migrations import migrate
from tests.rows import add_user


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


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "catalogue.db"
    migrate(path)
    with sqlite3.connect(path) as connection:
        return connection.serialize()


@pytest.fixture
def fresh(template):
    """A function that gives an empty catalogue with the users u1 and u2."""
    opened = []

    def make() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        opened.append(connection)
        connection.deserialize(template)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        add_user(connection, "u1")
        add_user(connection, "u2")
        return connection

    yield make
    for connection in opened:
        connection.close()
