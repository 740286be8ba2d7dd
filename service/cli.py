"""The command line: ``yarrr serve``, and what is done to accounts from the machine itself.

Commands work beside a running service: SQLite takes one writer at a time, and the service notices what they changed
within seconds. Imports are inside the commands, so that ``yarrr --help`` answers at once.
"""

import asyncio
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from service.accounts.permissions import SCOPES

if TYPE_CHECKING:
    from service.catalogue.database import Database
    from service.catalogue.users import User
    from service.settings import Settings

T = TypeVar("T")

logger = logging.getLogger(__name__)

FAILURE = 1
USAGE = 2
INTERRUPTED = 130

USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)
MAX_DAYS = 36_525
MAX_TOKEN = 4096


class BadSettings(click.ClickException):
    """Settings that cannot be used are wrong usage."""

    exit_code = USAGE


as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON.")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and end the process: 0, 1 failure, 2 wrong usage or settings, 130 interrupted."""
    try:
        result = yarrr.main(arguments, prog_name="yarrr", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        logger.debug("the command failed", exc_info=True)
        click.echo(f"Error: {explain(error)}", err=True)
        sys.exit(FAILURE)
    sys.exit(result if isinstance(result, int) else 0)


def explain(error: Exception) -> str:
    """What went wrong, in one line."""
    from service.errors import Invalid, YarrrError

    if isinstance(error, Invalid) and error.facts["errors"]:
        return " ".join(f"{each['pointer'].lstrip('/')}: {each['detail']}" for each in error.facts["errors"])
    if isinstance(error, YarrrError) and error.__cause__ is not None:
        return f"{error} ({error.__cause__})"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def tell_version(context: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    """Print the release and leave."""
    from importlib.metadata import PackageNotFoundError, version

    if not is_asked:
        return
    try:
        click.echo(f"yarrr {version('yarrr')}")
    except PackageNotFoundError:
        click.echo("yarrr, from a checkout that is not installed")
    context.exit()


@click.group(name="yarrr", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=tell_version, help="Print the release."
)
def yarrr() -> None:
    """A media upload service for mp3 audio.

    Everything is configured with environment variables; `yarrr settings` lists them.
    """


@yarrr.command()
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


@yarrr.command()
def migrate() -> None:
    """Bring the database to the schema this release needs. `serve` does the same at its start."""
    from service.catalogue import migrations

    settings = read_settings()
    path = settings.data_dir / "catalogue.db"
    before, after = migrations.current(path), migrations.newest()
    if before == after:
        click.echo(f"{path} has schema {after}; there is nothing to do.")
        return
    _migrate(settings)
    click.echo(f"{path}: created with schema {after}." if before is None else f"{path}: schema {before} -> {after}.")


@yarrr.command("settings")
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


@yarrr.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--server", envvar="YARRR_SERVER", show_envvar=True, required=True, metavar="URL", help="The service.")
@click.option("--token", envvar="YARRR_TOKEN", show_envvar=True, help="API token with the scopes upload and read.")
@click.option(
    "--token-file",
    envvar="YARRR_TOKEN_FILE",
    show_envvar=True,
    type=click.File("rb"),
    metavar="PATH",
    help="File that holds the token, out of sight of `ps`; - is standard input.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Files to send at once.")
@click.option(
    "--retries",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Failures in a row without progress after which a file is given up.",
)
@click.option("--quiet", "-q", "is_quiet", is_flag=True, help="Tell of failures only.")
@click.option("--json", "is_json", is_flag=True, help="Print a JSON line for each file.")
@click.option("--state-home", envvar="XDG_STATE_HOME", hidden=True)
@click.option("--no-color", envvar="NO_COLOR", hidden=True)
@click.option("--term", envvar="TERM", hidden=True)
@click.pass_context
def upload(
    context: click.Context,
    /,
    files: tuple[str, ...],
    server: str,
    jobs: int,
    retries: int,
    is_quiet: bool,
    is_json: bool,
    state_home: str | None,
    no_color: str | None,
    term: str | None,
    **_tokens: Any,
) -> int:
    """Upload each FILE, or the mp3 files in it and below it if it is a folder.

    What the server has already is skipped. What broke off goes on where it was, also when the command is run again.

    Exit codes: 0, all files are there; 1, some are not; 2, wrong usage; 130, interrupted.
    """
    from pathlib import Path

    from service.client.progress import Show, is_terminal
    from service.client.upload import Options
    from service.client.upload import upload as upload_files

    options = Options(
        paths=files,
        server=_server_url(server),
        token=_token(context),
        state_dir=(Path(state_home) if state_home else Path.home() / ".local/state") / "yarrr",
        jobs=jobs,
        retries=retries,
    )
    has_bars = is_terminal(sys.stderr) and term != "dumb"
    show_ = Show(is_json=is_json, is_quiet=is_quiet, is_terminal=has_bars, is_coloured=has_bars and not no_color)
    return upload_files(options, show_)


def _server_url(text: str) -> str:
    from urllib.parse import urlsplit

    try:
        url = urlsplit(text)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable or url.username is not None or url.query or url.fragment or not text.isprintable() or " " in text:
        raise click.BadParameter("An address such as https://music.example.org is needed.", param_hint="--server")
    return text.rstrip("/")


def _token(context: click.Context) -> str:
    """The token, from the command line if it is there, else from the environment. No message ever shows it."""
    given = {name for name in ("token", "token_file") if context.params[name] is not None}
    typed = {name for name in given if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    if len(typed) == 2:
        raise click.UsageError("Give --token or --token-file, not both.")
    if not given:
        raise click.UsageError("A token is needed: --token, --token-file or YARRR_TOKEN.")
    name = (typed or given & {"token"} or given).pop()
    value = context.params[name]
    token: str = value if name == "token" else value.read(MAX_TOKEN + 1).decode("latin-1").strip()
    if not token.isascii() or not token.isprintable() or " " in token or not 0 < len(token) <= MAX_TOKEN:
        raise click.BadParameter("This is no token.", param_hint="--" + name.replace("_", "-"))
    return token


@yarrr.group()
def user() -> None:
    """Users: add, list, change the password, disable."""


@user.command("add")
@click.argument("name")
@click.option("--admin", "is_admin", is_flag=True, help="Make the user an administrator.")
@click.option("--quota", "quota_bytes", type=click.IntRange(min=1), metavar="BYTES", help="Own quota in bytes.")
def add_user(name: str, is_admin: bool, quota_bytes: int | None) -> None:
    """Add the user NAME. The password is asked for, or read from standard input."""
    if not USER_NAME.fullmatch(name):
        raise click.BadParameter(
            "A name has 1 to 64 letters, digits or any of . _ @ + -, and begins with a letter or digit.",
            param_hint="NAME",
        )

    async def refuse_taken(database: "Database", _: "Settings") -> None:
        from service.catalogue import users
        from service.errors import Conflict

        if await users.find_for_login(database, name):
            raise Conflict(f"There is a user {name!r} already.")

    async def add(database: "Database", settings: "Settings") -> None:
        from ulid import ULID

        from service.catalogue import clock, users

        password_hash = await hash_password(settings, password)
        user_id, now = str(ULID()), clock.now()
        await database.write(
            lambda connection: users.insert(
                connection, user_id, name, password_hash, now=now, is_admin=is_admin, quota_bytes=quota_bytes
            )
        )

    work(refuse_taken, create=True)
    password = ask_password(name)
    work(add)
    click.echo(f"Added the user {name}.")


@user.command("list")
@as_json
def list_users(is_json: bool) -> None:
    """List all users."""
    from service.catalogue import users
    from service.schemas.accounts import AccountSchema

    found = work(lambda database, _: users.all_users(database))
    show(AccountSchema(many=True).dump(found), is_json)


@user.command("passwd")
@click.argument("name")
def change_password(name: str) -> None:
    """Give the user NAME another password and end all sessions. API tokens stay."""

    async def find(database: "Database", _: "Settings") -> "User":
        from service.catalogue import users

        return await users.get_by_name(database, name)

    async def change(database: "Database", settings: "Settings") -> None:
        from service.catalogue import clock, sessions, users

        password_hash = await hash_password(settings, password)

        def write(connection: Any) -> None:
            users.set_password_hash(connection, found.user_id, password_hash, now=clock.now())
            sessions.end_all(connection, found.user_id)

        await database.write(write)

    found = work(find)
    password = ask_password(found.name)
    work(change)
    click.echo(f"Changed the password of {name} and ended all sessions.")


@user.command()
@click.argument("name")
def disable(name: str) -> None:
    """Lock the user NAME out: sessions end, API tokens do not work. Tracks stay."""
    _switch(name, "disable")
    click.echo(f"Disabled {name}.")


@user.command()
@click.argument("name")
def enable(name: str) -> None:
    """Let the user NAME in again. API tokens work again."""
    _switch(name, "enable")
    click.echo(f"Enabled {name}.")


def _switch(name: str, how: str) -> None:
    async def switch(database: "Database", _: "Settings") -> None:
        from service.catalogue import clock, users

        change = users.disable if how == "disable" else users.enable
        found = await users.get_by_name(database, name)
        await database.write(lambda connection: change(connection, found.user_id, now=clock.now()))

    work(switch)


@yarrr.group()
def token() -> None:
    """API tokens: create, list, revoke."""


@token.command("create")
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="May be repeated.")
@click.option("--expires", "days", type=click.IntRange(1, MAX_DAYS), metavar="DAYS", help="Life; without it, for ever.")
@click.option("--name", "label", default="command line", show_default=True, help="What the token is for.")
@as_json
def create_token(name: str, scopes: tuple[str, ...], days: int | None, label: str, is_json: bool) -> None:
    """Create an API token for the user NAME and print it: this once, and nothing else on standard output."""

    async def create(database: "Database", _: "Settings") -> Any:
        from service.accounts.accounts import make_token
        from service.catalogue import clock, users
        from service.errors import Forbidden

        owner = await users.get_by_name(database, name)
        if "admin" in scopes and not owner.is_admin:
            raise Forbidden(f"{owner.name} is no administrator; the scope admin would be worth nothing.")
        expires_at = clock.now() + days * clock.DAY if days else None
        wanted = tuple(dict.fromkeys(scopes))
        return await database.write(lambda connection: make_token(connection, owner.user_id, label, wanted, expires_at))

    from service.schemas.accounts import TokenSchema

    made, text = work(create)
    if is_json:
        click.echo(json.dumps({**TokenSchema().dump(made), "token": text}, indent=2))
        return
    click.echo(text)
    click.echo(f"Token {made.token_id} of {name}; it is not shown again.", err=True)


@token.command("list")
@click.argument("name")
@as_json
def list_tokens(name: str, is_json: bool) -> None:
    """List the API tokens of the user NAME."""

    async def find(database: "Database", _: "Settings") -> Any:
        from service.catalogue import tokens, users

        return await tokens.all_of_user(database, (await users.get_by_name(database, name)).user_id)

    from service.schemas.accounts import TokenSchema

    show(TokenSchema(many=True).dump(work(find)), is_json)


@token.command("revoke")
@click.argument("token_id")
def revoke_token(token_id: str) -> None:
    """End the API token TOKEN_ID: an id from `token list`, or the whole token."""
    from service.accounts.tokens import parse

    wanted = parse(token_id) or token_id

    async def revoke(database: "Database", _: "Settings") -> None:
        from service.catalogue import tokens
        from service.errors import NotFound

        if not await database.write(lambda connection: tokens.delete(connection, wanted)):
            raise NotFound("There is no such token.")

    work(revoke)
    click.echo(f"Revoked the token {wanted}.")


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
        async with _catalogue(settings, create=create) as database:
            return await change(database, settings)

    return asyncio.run(run())


@asynccontextmanager
async def _catalogue(settings: "Settings", *, create: bool) -> AsyncIterator["Database"]:
    from service.catalogue import migrations
    from service.catalogue.database import Database

    path = settings.data_dir / "catalogue.db"
    schema, newest = migrations.current(path), migrations.newest()
    if schema is None and create:
        _migrate(settings)
    elif schema is None:
        raise click.ClickException(f"There is no database at {path} yet; add a user or start the service first.")
    elif schema != newest:
        raise click.ClickException(f"{path} has schema {schema}, this release needs {newest}; run `yarrr migrate`.")
    database = await Database.open(path, durable=settings.durability == "full", checkpoint=False)
    try:
        yield database
    finally:
        await database.close()


def _migrate(settings: "Settings") -> None:
    from service.catalogue import migrations
    from service.server import locked

    with locked(settings):  # never under a running service
        migrations.migrate(settings.data_dir / "catalogue.db")


def ask_password(name: str) -> str:
    """A new password for the user `name`; asked for twice on a terminal, else one line of standard input.

    Never called within an event loop, which would keep Ctrl-C from a prompt.

    Raises:
        Invalid: it will not do.
    """
    from service.accounts.passwords import check

    if sys.stdin.isatty():
        password = str(click.prompt("Password", hide_input=True, confirmation_prompt="Once more"))
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    check(password, min_length=read_settings().min_password_length, name=name)
    return password


async def hash_password(settings: "Settings", password: str) -> str:
    """The hash to be stored."""
    from service.accounts.passwords import Passwords

    passwords = Passwords(memory_kib=settings.argon2_memory_kib)
    try:
        return await passwords.hash(password)
    finally:
        await passwords.close()


def plain(value: Any) -> Any:
    """A setting's value as JSON has it."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


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
