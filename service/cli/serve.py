"""Commands that run the service or say how it would run."""

from typing import Any

import click

from service.cli.tools import as_json, migrate_locked, read_settings, show


@click.command()
@click.option("--host", help="Address to listen on, instead of YARRR_HOST.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of YARRR_PORT.")
def serve(host: str | None, port: int | None) -> None:
    """Run the service until SIGTERM or Ctrl-C."""
    from dataclasses import replace

    settings = read_settings()
    changes: dict[str, Any] = {"host": host, "port": port}
    settings = replace(settings, **{name: value for name, value in changes.items() if value is not None})
    from service.server import run

    run(settings)


@click.command()
def migrate() -> None:
    """Bring the database to the schema this release needs. `serve` does the same at its start."""
    from service.catalogue import migrations

    settings = read_settings()
    path = settings.data_dir / "catalogue.db"
    before, after = migrations.current(path), migrations.newest()
    if before == after:
        click.echo(f"{path} has schema {after}; there is nothing to do.")
        return
    migrate_locked(settings)
    click.echo(f"{path}: created with schema {after}." if before is None else f"{path}: schema {before} -> {after}.")


@click.command("settings")
@as_json
def list_settings(is_json: bool) -> None:
    """List every setting: its value, its default, what it is for. Secrets are masked."""
    from dataclasses import fields

    settings = read_settings()
    found = []
    for each in fields(settings):
        value = getattr(settings, each.name)
        found.append(
            {
                "name": f"YARRR_{each.name.upper()}",
                "value": "********" if each.metadata["secret"] and value else plain(value),
                "default": plain(each.default),
                "help": each.metadata["help"],
            }
        )
    show(found, is_json)


def plain(value: Any) -> Any:
    """A setting's value as JSON has it."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
