"""What every test may ask for: the real app on a fresh data directory."""

import dataclasses
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from service.app import build_app
from service.catalogue.database import Database
from service.catalogue.migrations import migrate
from service.settings import Settings
from tests import corpus

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of the corpus lie, made once for all tests and workers of a run."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "corpus"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def path_of(corpus_dir: Path) -> Callable[[str], Path]:
    """A function that gives the file of a name in the corpus."""
    return lambda name: corpus.make(corpus_dir, name)


@pytest.fixture(scope="session")
def content_of(path_of: Callable[[str], Path]) -> Callable[[str], bytes]:
    """A function that gives the bytes of that file."""
    return lambda name: path_of(name).read_bytes()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty catalogue of the newest schema. To migrate one anew takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "catalogue.db"
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        return connection.serialize()


@pytest.fixture
def path(tmp_path: Path, template: bytes) -> Path:
    """Where that catalogue lies for one test."""
    path = tmp_path / "catalogue.db"
    path.write_bytes(template)
    return path


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(path)
    yield opened
    await opened.close()


@pytest.fixture
def write(database: Database) -> Callable[..., Awaitable[Any]]:
    """A function that runs a write function of the catalogue with these arguments."""
    return lambda work, *arguments, **named: database.write(lambda connection: work(connection, *arguments, **named))


@pytest.fixture
def settings(tmp_path: Path, template: bytes) -> Settings:
    """Of a service that has an empty catalogue."""
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "catalogue.db").write_bytes(template)
    return Settings(
        data_dir=tmp_path / "data",
        admin_password=PASSWORD,
        argon2_memory_kib=8192,
        free_space_reserve_bytes=0,
        login_attempts_per_minute=1000,
        analyse_processes=0,
    )


@pytest.fixture
def change_settings(settings):
    """A function giving the test's settings with some values changed."""
    return lambda **changes: dataclasses.replace(settings, **changes)


@pytest.fixture
def make_client(aiohttp_client):
    """A function that starts the app with given settings as the server does, and gives a client of it."""

    async def make(settings: Settings):
        return await aiohttp_client(build_app(settings), server_kwargs={"auto_decompress": False})

    return make


@pytest.fixture
async def client(make_client, settings):
    return await make_client(settings)


@pytest.fixture
async def token(client) -> str:
    answer = await client.post("/login", json={"username": "admin", "password": PASSWORD})
    assert answer.status == 200, await answer.text()
    return (await answer.json())["token"]


@pytest.fixture
def auth(token) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
