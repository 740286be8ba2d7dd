"""``yarrr upload``: a client of any service of ours."""

import sys
from typing import Any

import click

MAX_TOKEN = 4096


@click.command()
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
