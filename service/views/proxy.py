"""What the API does not own is resent to the front-end server, and its answer streamed back.

The front end is not trusted with more than a page needs: it sees neither our session nor a token, and cannot set
cookies for our origin. Nor is it trusted to behave: what it sends is bounded, checked before it is passed on, and cut
off when it breaks its own framing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

from aiohttp import (
    ClientError,
    ClientPayloadError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    web,
)
from aiohttp_request_id_logging import REQUEST_ID_KEY
from multidict import CIMultiDict, MultiMapping
from yarl import URL

from service.errors import ClientGone, FrontendUnavailable
from service.keys import FRONTEND, SETTINGS
from service.web.forwarded import client_address, is_https
from service.web.identity import PLAIN_COOKIE, SECURE_COOKIE
from service.web.security import PASSED_ON

logger = logging.getLogger(__name__)

REQUEST_HEADERS = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Cache-Control",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Range",
    "User-Agent",
)
"""What the front end learns of a request, beside the cookies that are not ours. Never Authorization."""

RESPONSE_HEADERS = (
    "Accept-Ranges",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Range",
    "Content-Security-Policy",
    "Content-Type",
    "ETag",
    "Expires",
    "Last-Modified",
    "Link",
    "Location",
    "Vary",
)
"""What is passed on of an answer. Never Set-Cookie: cookies of this origin are ours, or a session could be planted."""

DEFAULT_POLICY = "base-uri 'self'; object-src 'none'; frame-ancestors 'none'"
"""For a front end that sends no policy: the least that keeps others from framing a page of this origin."""

FORBIDDEN_IN_HEADERS = frozenset("\0\r\n")
OUR_COOKIES = (SECURE_COOKIE, PLAIN_COOKIE)
PSEUDONYM = "yarrr"

CONNECT_TIMEOUT_S = 5.0
HEADERS_TIMEOUT_S = 30.0  # for all of the answer's head, so that dripping it does not help
IDLE_TIMEOUT_S = 60.0  # between two reads of the body, which may take as long as it likes in all
SEND_TIMEOUT_S = 60.0
MAX_CONNECTIONS = 100
LOOK_EVERY_S = 0.5


async def frontend_session(app: web.Application) -> AsyncIterator[None]:
    """The one client of the front end, open as long as the app runs. It keeps no cookies and unpacks nothing."""
    async with ClientSession(
        connector=TCPConnector(limit=MAX_CONNECTIONS),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        timeout=ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S),
        max_line_size=8190,
        max_field_size=8190,
    ) as session:
        app[FRONTEND] = session
        yield


class Frontend(web.View):
    """``/{path}`` that no other route matches."""

    async def get(self) -> web.StreamResponse:
        request = self.request
        async with while_connected(request):
            async with answer_of_frontend(request) as upstream:
                response = web.StreamResponse(status=upstream.status, headers=passed_on(upstream))
                response[PASSED_ON] = True
                if "Transfer-Encoding" not in upstream.headers:
                    response.content_length = upstream.content_length
                await response.prepare(request)
                with cut_on_failure(request):
                    await copy_body(upstream, response)
            return response

    async def head(self) -> web.StreamResponse:
        return await self.get()


@asynccontextmanager
async def answer_of_frontend(request: web.Request) -> AsyncIterator[ClientResponse]:
    """The head of the front end's answer; its body is there to be read inside the block.

    Raises:
        FrontendUnavailable: it is down, too slow, does not speak HTTP, or is this very service.
    """
    if any(f" {PSEUDONYM}" in value for value in request.headers.getall("Via", [])):
        raise FrontendUnavailable("YARRR_FRONTEND_URL leads back to this service.")
    try:
        async with asyncio.timeout(HEADERS_TIMEOUT_S):
            upstream = await request.app[FRONTEND].request(
                request.method, target(request), headers=resent(request), allow_redirects=False
            )
    except (ClientError, OSError, ValueError) as error:  # asyncio's TimeoutError is an OSError
        logger.warning("the front end did not answer: %s", error or type(error).__name__)
        raise FrontendUnavailable("The front-end server did not answer.") from error
    try:
        yield upstream
    finally:
        upstream.close()  # keeps the connection when the body was read to its end


def target(request: web.Request) -> URL:
    """The address at the front end: its own URL, then path and query exactly as they were sent."""
    return URL(f"{request.app[SETTINGS].frontend_url}{request.rel_url.raw_path_qs}", encoded=True)


def resent(request: web.Request) -> CIMultiDict[str]:
    """The header of the request to the front end."""
    headers = CIMultiDict(_chosen(REQUEST_HEADERS, request.headers))
    headers["Cookie"] = foreign_cookies(request.headers.getall("Cookie", []))
    headers["X-Forwarded-For"] = client_address(request)
    headers["X-Forwarded-Proto"] = "https" if is_https(request) else "http"
    headers["X-Forwarded-Host"] = request.headers.get("Host", "")
    headers["X-Request-ID"] = request.get(REQUEST_ID_KEY, "")
    headers["Via"] = f"1.1 {PSEUDONYM}"
    return CIMultiDict((name, value) for name, value in headers.items() if value and _is_text(value))


def foreign_cookies(fields: Iterable[str]) -> str:
    """The cookies of a request without those that log in here."""
    pairs = [pair.strip() for field in fields for pair in field.split(";")]
    return "; ".join(pair for pair in pairs if pair and pair.partition("=")[0].strip() not in OUR_COOKIES)


def passed_on(upstream: ClientResponse) -> CIMultiDict[str]:
    """The header of our answer.

    Raises:
        FrontendUnavailable: it has a status that is no final one, or a field that would break our own answer apart.
    """
    if not HTTPStatus.OK <= upstream.status <= 599:
        raise FrontendUnavailable("The front-end server sent a status that cannot be passed on.")
    headers = CIMultiDict(_chosen(RESPONSE_HEADERS, upstream.headers))
    if not all(_is_text(value) for value in headers.values()):
        raise FrontendUnavailable("The front-end server sent a header that cannot be passed on.")
    headers.setdefault("Content-Security-Policy", DEFAULT_POLICY)
    return headers


def _chosen(names: Iterable[str], headers: MultiMapping[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        for value in headers.getall(name, []):
            yield name, value


def _is_text(value: str) -> bool:
    """Whether a header field can be written: bytes that are not UTF-8 are surrogates by now and cannot."""
    return not FORBIDDEN_IN_HEADERS.intersection(value) and not any("\ud800" <= each <= "\udfff" for each in value)


async def copy_body(upstream: ClientResponse, response: web.StreamResponse) -> None:
    """Chunk by chunk; the front end is read only as fast as the client takes it.

    Raises:
        FrontendUnavailable: the front end broke off, or broke its own framing.
        ClientGone: the client did, or takes nothing any more.
    """
    while True:
        try:
            chunk = await next_chunk(upstream)
        except (ClientError, OSError, ValueError) as error:
            raise FrontendUnavailable("The front-end server broke off its answer.") from error
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await (response.write(chunk) if chunk else response.write_eof())
        except OSError as error:
            raise ClientGone("The client went away during the answer.") from error
        if not chunk:
            return


async def next_chunk(upstream: ClientResponse) -> bytes:
    """Some bytes of the body; none at its end.

    When the chunked coding breaks within a body, aiohttp 3.14.5 closes the connection, stops its timers and leaves the
    reader waiting for ever. So the connection is looked at from time to time.
    """
    while True:
        try:
            async with asyncio.timeout(LOOK_EVERY_S) as moment:
                return await upstream.content.readany()
        except TimeoutError:
            if not moment.expired():
                raise
        connection = upstream.connection
        if connection is not None and connection.transport is None and not upstream.content.is_eof():
            raise ClientPayloadError("The connection was closed within the body.")


@contextmanager
def cut_on_failure(request: web.Request) -> Iterator[None]:
    """Drop the connection when the block fails: the answer has begun, and a short one must not look complete."""
    try:
        yield
    except BaseException:
        if request.transport is not None:
            request.transport.abort()
        raise


@asynccontextmanager
async def while_connected(request: web.Request) -> AsyncIterator[None]:
    """Give the block up soon after the client has gone; aiohttp by itself tells only those who write.

    Raises:
        ClientGone: it has.
    """
    loop = asyncio.get_running_loop()

    def look() -> None:
        if request.transport is None or request.transport.is_closing():
            deadline.reschedule(loop.time())
        else:
            timers[0] = loop.call_later(LOOK_EVERY_S, look)

    timers = [loop.call_later(LOOK_EVERY_S, look)]
    try:
        async with asyncio.timeout(None) as deadline:
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        raise ClientGone("The client left before the front end had answered.") from None
    finally:
        timers[0].cancel()
