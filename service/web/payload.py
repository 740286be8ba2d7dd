"""Small bodies: a JSON document or a form through one marshmallow schema, and JSON answers."""

import asyncio
import zlib
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from marshmallow import Schema, ValidationError

from service.errors import BodyTimeout, Invalid, MalformedBody, TooLarge, UnsupportedMediaType
from service.keys import SETTINGS
from service.web.body import RequestBody, refuse_content_encoding

NO_STORE = {"Cache-Control": "no-store"}
"""For answers about the moment, or with secrets."""

FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


async def load(
    request: web.Request, schema: Schema, *, types: tuple[str, ...] = ("application/json",)
) -> dict[str, Any]:
    """Read the body and validate it. `types` are the media types this resource takes.

    Raises:
        UnsupportedMediaType: another Content-Type.
        MalformedBody: the body cannot be parsed.
        BodyTimeout: so small a body was not there within the time that is else one pause of a long one.
        Invalid: the schema refuses it; ``errors`` has a JSON pointer for each field.
    """
    content_type = request.content_type
    if content_type not in types:
        raise UnsupportedMediaType(f"Send {' or '.join(types)}.", accepted=list(types))
    try:
        async with asyncio.timeout(request.app[SETTINGS].body_idle_timeout_s):
            data = await (_form(request) if content_type in FORM_TYPES else _json(request))
    except TimeoutError:
        raise BodyTimeout("The body took too long to come.") from None
    try:
        return dict(schema.load(data))
    except ValidationError as error:
        raise Invalid(errors=pointers(error.messages)) from None


async def load_bytes(request: web.Request, max_bytes: int, *, types: tuple[str, ...], within_s: float) -> bytes:
    """The body as it is, if it is of one of these media types and comes within so many seconds.

    Raises:
        UnsupportedMediaType: another Content-Type.
        TooLarge: it has more than `max_bytes`.
        BodyTimeout, ClientGone: the network failed.
    """
    if request.content_type not in types:
        raise UnsupportedMediaType(f"Send {' or '.join(types)}.", accepted=list(types))
    refuse_content_encoding(request)
    content = RequestBody(request, request.app[SETTINGS].body_idle_timeout_s)
    data = bytearray()
    if (request.content_length or 0) > max_bytes:
        raise TooLarge("The body is too large.", limit_bytes=max_bytes)
    try:
        async with asyncio.timeout(within_s):
            while chunk := await content.read():
                data += chunk
                if len(data) > max_bytes:
                    raise TooLarge("The body is too large.", limit_bytes=max_bytes)
    except TimeoutError:
        raise BodyTimeout("The body took too long to come.") from None
    return bytes(data)


async def _json(request: web.Request) -> Any:
    body = await request.read()
    try:
        return orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise MalformedBody(f"Not JSON: {error}.") from None


async def _form(request: web.Request) -> dict[str, Any]:
    try:
        form = await request.post()
    except web.HTTPException:
        raise
    except (HttpProcessingError, ValueError, LookupError, AssertionError, RuntimeError, zlib.error) as error:
        raise MalformedBody(f"Not a form: {error}.") from None
    fields: dict[str, Any] = {}
    for name, value in form.items():
        if not isinstance(value, str):
            raise Invalid(errors=[{"pointer": f"/{name}", "detail": "Must be text, not a file."}])
        if name in fields:
            raise Invalid(errors=[{"pointer": f"/{name}", "detail": "Was sent more than once."}])
        fields[name] = value
    return fields


def pointers(messages: Any, prefix: str = "") -> list[dict[str, str]]:
    """marshmallow's nested messages as a flat list of ``{"pointer", "detail"}`` (RFC 6901)."""
    if isinstance(messages, Mapping):
        found = []
        for key, value in messages.items():
            name = "" if key == "_schema" else "/" + str(key).replace("~", "~0").replace("/", "~1")
            found += pointers(value, prefix + name)
        return found
    texts = messages if isinstance(messages, list) else [messages]
    return [{"pointer": prefix, "detail": str(text)} for text in texts]


def json_response(
    data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    """`data` as JSON."""
    return web.Response(status=status, body=orjson.dumps(data), content_type=content_type, headers=headers)
