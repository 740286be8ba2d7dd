"""Pages: templates with everything escaped, and words for sizes, durations and times."""

from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web
from markupsafe import Markup, escape

from service.keys import IDENTITY, PAGES

PACKAGE = Path(__file__).parent.parent
TEMPLATES = PACKAGE / "templates"
STATIC = PACKAGE / "static"

UNITS = ("B", "kB", "MB", "GB", "TB")


def environment() -> jinja2.Environment:
    """The templates: all output escaped, a name that is not passed is an error."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(size=size, duration=duration, spoken_duration=spoken_duration, moment=moment, prose=prose)
    pages.globals["static"] = static_url
    return pages


def render(request: web.Request, name: str, *, status: int = 200, **context: Any) -> web.Response:
    """The page `name`. Templates also get ``identity`` (whom `identify` found, or None), ``path`` and ``query``."""
    template = request.app[PAGES].get_template(name)
    text = template.render(identity=request.get(IDENTITY), path=request.path, query=request.query, **context)
    headers = {"Cache-Control": "private, no-store", "Vary": "Accept, Cookie"}
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


@cache
def static_files() -> dict[str, str]:
    """Every static file and the version of its content: ``{"yarrr.css": "3f0c…"}``.

    Only what is listed here is served, so no path and no link leads out of the package.
    """
    return {
        path.relative_to(STATIC).as_posix(): sha256(path.read_bytes()).hexdigest()[:16]
        for path in sorted(STATIC.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def static_url(name: str) -> str:
    """The address of a static file with its version, which may be cached for ever."""
    return f"/static/{name}?v={static_files()[name]}"


def size(count: float) -> str:
    """Bytes in decimal units: ``4.2 MB``."""
    unit = 0
    while count >= 999.5 and unit < len(UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.1f} {UNITS[unit]}" if unit and count < 99.95 else f"{count:.0f} {UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds as a clock shows them: ``3:07``, ``1:02:33``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spoken_duration(seconds: float) -> str:
    """Seconds as an HTML duration, which screen readers speak: ``PT3M7S``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "PT" + (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + f"{rest}S"


def moment(time: str) -> str:
    """An RFC 3339 time in words, UTC; the page's script turns it into the reader's own time zone."""
    parsed = datetime.fromisoformat(time).astimezone(UTC)
    return f"{parsed.day} {parsed:%b %Y, %H:%M} UTC"


def prose(text: str) -> Markup:
    """Escaped text in which `` `words` `` between backticks are code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )
