"""Brings the database to the newest schema, with Alembic, which is imported only when a step is pending."""

import sqlite3
import subprocess
import sys
from pathlib import Path

from service.catalogue.database import APPLICATION_ID
from service.packed import packed


class ForeignDatabase(Exception):
    """The file belongs to another application, or to a newer release of this one."""


def directory() -> Path:
    """Where the migrations lie: in the wheel, or at the top of a checkout."""
    return packed("migrations")


def newest() -> str:
    """The revision this release needs."""
    return max(path.name.split("_")[0] for path in (directory() / "versions").glob("[0-9]*.py"))


def current(path: Path) -> str | None:
    """The revision of the database at `path`, None when there is none yet.

    Raises:
        ForeignDatabase: when it is not ours.
    """
    if not path.exists():
        return None
    connection = sqlite3.connect(path)
    try:
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not tables:
            return None
        if application_id != APPLICATION_ID or "alembic_version" not in tables:
            raise ForeignDatabase(f"{path} is not a yarrr database; nothing was changed.")
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise ForeignDatabase(f"{path} cannot be read as a database ({error}); nothing was changed.") from None
    finally:
        connection.close()
    return row[0] if row else None


def migrate(path: Path) -> tuple[str | None, str]:
    """Apply every pending step in one transaction; the revisions before and after.

    Raises:
        ForeignDatabase: when the file is not ours or newer than this release.
    """
    before, after = _pending(path)
    if before == after:
        return before, after
    from alembic import command
    from alembic.config import Config

    if before is None:
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.close()
        path.chmod(0o600)
    config = Config()
    config.set_main_option("script_location", str(directory()).replace("%", "%%"))
    config.attributes["path"] = str(path)  # not as a URL: a path may have a question mark
    command.upgrade(config, "head")
    return before, after


def migrate_apart(path: Path) -> None:
    """The same in a process of its own, with which the 25 MB go that Alembic leaves in memory.

    Raises:
        ForeignDatabase: when the file is not ours or newer than this release.
        subprocess.CalledProcessError: a step failed; what it says is on standard error.
    """
    before, after = _pending(path)
    if before != after:
        command = [sys.executable, "-P", "-m", "service.catalogue.migrations", str(path)]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True)  # noqa: S603


def _pending(path: Path) -> tuple[str | None, str]:
    before, after = current(path), newest()
    if before is not None and before > after:
        raise ForeignDatabase(f"{path} has schema {before}, newer than this release knows ({after}).")
    return before, after


if __name__ == "__main__":
    migrate(Path(sys.argv[1]))
