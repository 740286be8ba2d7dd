"""``Expect: 100-continue`` (RFC 9110 section 10.1.1): a doomed upload is refused before its body is sent.

aiohttp asks the expect handler before the middlewares run. So that a refusal still goes through them (request id,
problem, headers), it is only noted here: no 100 is sent, and the view raises what was noted.
"""

from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion11, web

from service.keys import EARLY

Judge = Callable[[web.Request], Awaitable[None]]


def expectation(judge: Judge) -> Callable[[web.Request], Awaitable[None]]:
    """An expect handler that lets the client go on unless `judge` raises."""

    async def handler(request: web.Request) -> None:
        if request.version < HttpVersion11:
            return
        try:
            if request.headers["Expect"].strip().lower() != "100-continue":
                raise web.HTTPExpectationFailed
            await judge(request)
        except Exception as error:
            request[EARLY] = error
            return
        request[EARLY] = None
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0

    return handler


async def judged(request: web.Request, judge: Judge) -> None:
    """Raise what the expect handler noted; judge now if the client did not ask before.

    Raises:
        Exception: whatever `judge` raises.
    """
    if EARLY not in request:
        await judge(request)
    elif (error := request[EARLY]) is not None:
        raise error
