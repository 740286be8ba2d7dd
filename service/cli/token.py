"""Commands about API tokens."""

import json
from typing import TYPE_CHECKING, Any

import click

from service.accounts.permissions import SCOPES
from service.cli.tools import as_json, show, work

if TYPE_CHECKING:
    from service.catalogue.database import Database
    from service.settings import Settings

MAX_DAYS = 36_525


@click.group()
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
