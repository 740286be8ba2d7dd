"""A database of its own for each test."""

import sqlite3

import pytest

from tests.rows import add_user


@pytest.fixture
async def users(write):
    """The users u1 and u2."""
    for user_id in ("u1", "u2"):
        await write(add_user, user_id)


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
