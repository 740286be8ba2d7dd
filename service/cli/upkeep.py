"""Commands about a whole data directory."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import click

from service.cli.tools import as_json, read_settings

MAX_SHOWN = 20
directory = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("target", type=directory, metavar="DIRECTORY")
@as_json
def backup(target: Path, is_json: bool) -> int:
    """Copy all tracks and accounts to DIRECTORY, beside a running service or without one.

    DIRECTORY is a data directory then: YARRR_DATA_DIR=DIRECTORY serves it. Made again, a backup copies only what is
    new, and removes what is over. Unfinished uploads are not in it. Every byte that is copied is checked; exit code 1
    when some are not what the catalogue says.
    """
    from service.server import AlreadyRunning, locked
    from service.upkeep.backup import NoPlace, back_up, prepare

    settings = read_settings()
    if not (settings.data_dir / "catalogue.db").exists():
        raise click.ClickException(f"There is no catalogue in {settings.data_dir}.")
    try:
        prepare(settings.data_dir, target)
        with locked(replace(settings, data_dir=target)):
            result = back_up(settings.data_dir, target)
    except NoPlace as error:
        raise click.ClickException(str(error)) from None
    except AlreadyRunning:
        raise click.ClickException(f"{target} is in use: by another backup, or a service.") from None
    _tell(result.faults)
    if is_json:
        click.echo(json.dumps(asdict(result)))
    else:
        size = f"{result.copied_bytes / 1e6:,.1f} MB"
        news = f"{result.copied} copied now ({size}), {result.removed} removed"
        click.echo(f"{target}: {result.blobs} files; {news}.")
    return int(bool(result.faults))


@click.command()
@click.argument("data_dir", type=directory, metavar="[DIRECTORY]", required=False)
@click.option("--quick", "is_quick", is_flag=True, help="Compare sizes; hash nothing.")
def fsck(data_dir: Path | None, is_quick: bool) -> int:
    """Check a data directory: rows, files, digests, accounts. Changes nothing, and works beside a running service.

    DIRECTORY is YARRR_DATA_DIR unless named, for example a backup. Exit code 1 when something is wrong.
    """
    from service.catalogue import migrations
    from service.upkeep.fsck import check

    data_dir = data_dir or read_settings().data_dir
    path = data_dir / "catalogue.db"
    schema, newest = migrations.current(path), migrations.newest()
    if schema != newest:
        raise click.ClickException(f"{path} has schema {schema}, this release checks {newest}.")
    count = 0
    for fault in check(data_dir, is_quick=is_quick):
        count += 1
        click.echo(fault)
    click.echo(f"{data_dir}: {count or 'no'} fault{'s' if count != 1 else ''}.", err=True)
    return int(count > 0)


def _tell(faults: list[str]) -> None:
    for fault in faults[:MAX_SHOWN]:
        click.echo(f"Error: {fault}", err=True)
    if len(faults) > MAX_SHOWN:
        click.echo(f"Error: and {len(faults) - MAX_SHOWN} more; `yarrr fsck` lists them.", err=True)
