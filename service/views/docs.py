"""The API's description, and the explorer that shows it and tries it out. Everything comes from the package, no CDN."""

import asyncio
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import orjson
from aiohttp import web

from service.packed import packed
from service.web.pages import render

# Swagger UI sets style attributes, its style sheet has pictures as data: URLs, and an mp3 it got is played as blob:.
EXPLORER_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "object-src 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Document:
    """One form of the description."""

    body: bytes
    content_type: str

    @property
    def etag(self) -> str:
        return sha256(self.body).hexdigest()[:32]


@cache
def as_yaml() -> Document:
    """``openapi.yaml`` as it lies at the top of the project; the media type is RFC 9512's."""
    return Document(packed("openapi.yaml").read_bytes(), "application/yaml")


@cache
def as_json() -> Document:
    """The same in JSON. Parsing takes a good part of a second, so it happens once and not in the event loop."""
    import yaml  # only who asks for this form pays for the import

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Document(orjson.dumps(yaml.load(as_yaml().body, loader)), "application/json")  # noqa: S506 - both are safe


def answer(request: web.Request, document: Document) -> web.Response:
    """The document, or 304 for who has it already."""
    if any(etag.value in (document.etag, "*") for etag in request.if_none_match or ()):
        response = web.Response(status=304)
    else:
        response = web.Response(body=document.body, content_type=document.content_type, charset="utf-8")
        response.enable_compression()
    response.etag = document.etag
    response.headers["Cache-Control"] = "public, no-cache"
    response.headers["Vary"] = "Accept-Encoding"
    return response


class Yaml(web.View):
    """``/openapi.yaml``."""

    async def get(self) -> web.Response:
        return answer(self.request, as_yaml())

    head = get


class Json(web.View):
    """``/openapi.json``."""

    async def get(self) -> web.Response:
        return answer(self.request, await asyncio.to_thread(as_json))

    head = get


class Explorer(web.View):
    """``/docs``: Swagger UI on the description. Requests it sends are the user's own, with the session's cookie."""

    async def get(self) -> web.Response:
        response = render(self.request, "docs.html")
        response.headers["Content-Security-Policy"] = EXPLORER_POLICY
        return response

    head = get
