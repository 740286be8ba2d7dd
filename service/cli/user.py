"""Commands about users."""

import re
import sys
from typing import TYPE_CHECKING, Any

import click

from service.cli.tools import as_json, read_settings, show, work

if TYPE_CHECKING:
    from service.catalogue.database import Database
    from service.catalogue.users import User
    from service.settings import Settings

USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)


@click.group()
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
