"""What commands share: the settings, the catalogue, and how a list is printed."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from service.catalogue.database import Database
    from service.settings import Settings

T = TypeVar("T")

USAGE = 2


class BadSettings(click.ClickException):
    """Settings that cannot be used are wrong usage."""

    exit_code = USAGE


as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


def read_settings() -> "Settings":
    """The settings.

    Raises:
        BadSettings: with every value that cannot be used.
    """
    from service.settings import Settings, SettingsError

    try:
        return Settings.from_environment()
    except SettingsError as error:
        lines = [f"{name}: {' '.join(texts)}" for name, texts in sorted(error.errors.items())]
        raise BadSettings("These settings cannot be used:\n  " + "\n  ".join(lines)) from None


def work(change: "Callable[[Database, Settings], Awaitable[T]]", *, create: bool = False) -> T:
    """Run `change` on the catalogue; with `create` the database is made when there is none."""
    settings = read_settings()

    async def run() -> T:
        async with open_catalogue(settings, create=create) as database:
            return await change(database, settings)

    return asyncio.run(run())


@asynccontextmanager
async def open_catalogue(settings: "Settings", *, create: bool) -> AsyncIterator["Database"]:
    from service.catalogue import migrations
    from service.catalogue.database import Database

    path = settings.data_dir / "catalogue.db"
    schema, newest = migrations.current(path), migrations.newest()
    if schema is None and create:
        migrate_locked(settings)
    elif schema is None:
        raise click.ClickException(f"There is no database at {path} yet; add a user or start the service first.")
    elif schema != newest:
        raise click.ClickException(f"{path} has schema {schema}, this release needs {newest}; run `yarrr migrate`.")
    database = await Database.open(path, durable=settings.durability == "full", checkpoint=False)
    try:
        yield database
    finally:
        await database.close()


async def open_alone(settings: "Settings") -> "Database":
    """The catalogue, for who holds the data directory."""
    from service.catalogue.database import Database

    return await Database.open(settings.data_dir / "catalogue.db", durable=settings.durability == "full")


def migrate_locked(settings: "Settings") -> None:
    from service.catalogue import migrations
    from service.server import locked

    with locked(settings):  # never under a running service
        migrations.migrate(settings.data_dir / "catalogue.db")


def show(found: list[dict[str, Any]], is_json: bool) -> None:
    """Print a list, for people or as a JSON array."""
    if is_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("None.", err=True)
        return
    rows = [list(found[0]), *([_cell(value) for value in each.values()] for each in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo(_line(row, widths))


def _line(row: Iterable[str], widths: Iterable[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(value: Any) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ",".join(value) if isinstance(value, list) else str(value)
    return "".join(character if character.isprintable() else "?" for character in text)
