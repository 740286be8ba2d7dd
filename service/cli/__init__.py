"""The command line: ``yarrr serve``, and what is done from the machine itself; a module for each kind of command.

Commands work beside a running service: SQLite takes one writer at a time, and the service notices what they changed
within seconds. Imports are inside the commands, so that ``yarrr --help`` answers at once.
"""

import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from service.cli import jobs, serve, token, upkeep, upload, user

logger = logging.getLogger(__name__)

FAILURE = 1
INTERRUPTED = 130


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


for command in (
    serve.serve,
    serve.migrate,
    serve.list_settings,
    upload.upload,
    jobs.list_queue,
    jobs.analyse,
    upkeep.backup,
    upkeep.fsck,
    user.user,
    token.token,
):
    yarrr.add_command(command)
