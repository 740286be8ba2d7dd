"""The schema: made, kept, and never forced on a file that is not ours."""

import sqlite3
from functools import partial

import pytest
from alembic import command

from service.catalogue import migrations
from service.catalogue.database import APPLICATION_ID
from service.catalogue.migrations import ForeignDatabase, current, migrate, migrate_apart, newest


def execute(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_new_database_gets_the_newest_schema(tmp_path):
    path = tmp_path / "catalogue.db"
    assert current(path) is None
    assert migrate(path) == (None, newest())
    assert current(path) == newest()
    assert migrate(path) == (newest(), newest())
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_file_says_whose_it_is(tmp_path):
    path = tmp_path / "catalogue.db"
    migrate(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


def test_a_path_with_odd_characters(tmp_path):
    directory = tmp_path / "100% \u00fcber & co?"
    directory.mkdir()
    migrate(directory / "catalogue.db")
    assert current(directory / "catalogue.db") == newest()


@pytest.mark.parametrize("application_id", [0, 1, APPLICATION_ID])
def test_another_applications_database_is_left_alone(tmp_path, application_id):
    path = tmp_path / "catalogue.db"
    execute(path, "CREATE TABLE places (url TEXT)", f"PRAGMA application_id = {application_id}")
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase):
        migrate(path)
    assert path.read_bytes() == before


def test_a_newer_release_s_database_is_left_alone(tmp_path):
    path = tmp_path / "catalogue.db"
    migrate(path)
    execute(path, "UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase, match="newer"):
        migrate(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_left_alone(tmp_path, content):
    path = tmp_path / "catalogue.db"
    path.write_bytes(content)
    with pytest.raises(ForeignDatabase):
        migrate(path)
    assert path.read_bytes() == content


def test_an_empty_file_is_a_new_database(tmp_path):
    path = tmp_path / "catalogue.db"
    path.touch()
    assert migrate(path) == (None, newest())


def test_a_migration_that_fails_leaves_nothing_half_done(tmp_path, monkeypatch):
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    source = migrations.directory()
    (tmp_path / "migrations" / "env.py").write_text((source / "env.py").read_text())
    first = next((source / "versions").glob("0001*.py")).read_text()
    (versions / "0001_first.py").write_text(first.replace("def upgrade():", "def upgrade():\n    1 / 0\n", 1))
    monkeypatch.setattr(migrations, "directory", lambda: tmp_path / "migrations")
    path = tmp_path / "catalogue.db"
    with pytest.raises(ZeroDivisionError):
        migrate(path)
    assert current(path) is None
    (versions / "0001_first.py").write_text(
        first.replace("for statement", "op.execute('CREATE TABLE t (x)')\n    for statement")
    )
    assert migrate(path) == (None, "0001")
    (versions / "0002_second.py").write_text(
        "from alembic import op\nrevision, down_revision = '0002', '0001'\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE half (x)')\n    op.execute('DROP TABLE t')\n    raise ValueError\n"
    )
    with pytest.raises(ValueError):
        migrate(path)
    assert current(path) == "0001"
    connection = sqlite3.connect(path)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    assert "t" in tables
    assert "half" not in tables


def test_words_of_the_first_schema_are_kept_and_old_tracks_get_their_jobs(tmp_path, monkeypatch):
    path = tmp_path / "catalogue.db"
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "newest", lambda: "0001")
        patched.setattr("alembic.command.upgrade", partial(_upgrade_to, "0001"))
        migrate(path)
    execute(
        path,
        "INSERT INTO users (user_id, name, password_hash, created_at, updated_at) VALUES ('u', 'u', 'h', 0, 0)",
        "INSERT INTO blobs VALUES ('k', x'00', 1, 'ready', 0)",
        """
        INSERT INTO tracks (track_id, user_id, key, sha256, size, filename, title, title_given, duration, bitrate, mode,
                            channels, sample_rate, audio, state, created_at, updated_at)
        VALUES ('t', 'u', 'k', x'00', 1, 'a.mp3', 'Mine', 'Mine', 1.0, 1, 'cbr', 2, 44100, '{}', 'ready', 5, 5)
        """,
    )
    assert migrate(path) == ("0001", newest())
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT title, given, tags, metadata FROM tracks").fetchall() == [
        ("Mine", '{"title":"Mine"}', "{}", "pending")
    ]
    assert connection.execute("SELECT kind, track_id, state FROM jobs").fetchall() == [("describe", "t", "waiting")]
    connection.close()


_upgrade = command.upgrade


def _upgrade_to(revision, config, _head):
    _upgrade(config, revision)


def test_a_service_gets_the_same_schema_from_a_process_of_its_own(tmp_path):
    path = tmp_path / "100% & co?.db"
    migrate_apart(path)
    assert current(path) == newest()
    migrate(tmp_path / "other.db")
    assert path.read_bytes()[100:] == (tmp_path / "other.db").read_bytes()[100:]
    migrate_apart(path)


def test_what_is_not_ours_is_told_without_a_process(tmp_path, monkeypatch):
    path = tmp_path / "catalogue.db"
    execute(path, "CREATE TABLE places (url TEXT)")
    monkeypatch.setattr(migrations, "subprocess", None)
    with pytest.raises(ForeignDatabase):
        migrate_apart(path)
