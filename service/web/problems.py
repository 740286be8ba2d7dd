"""Errors on the wire: application/problem+json (RFC 9457) for programs, a readable page for browsers.

The one place that knows the status of an error. A response that has begun is never answered a second time: the
connection is dropped instead, so that a client never finds an error page inside an mp3.
"""

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from aiohttp_request_id_logging import REQUEST_ID_KEY
from yarl import URL

from service import errors
from service.errors import YarrrError
from service.keys import EARLY, STARTED
from service.web.negotiate import is_browser
from service.web.pages import render

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a problem code means: its status, its title, and a paragraph for its help page."""

    code: str
    status: int
    title: str
    help: str


def _problem(error: type[YarrrError], status: int, title: str, help_text: str = "") -> tuple[type[YarrrError], Problem]:
    text = help_text or " ".join((error.__doc__ or "").split())
    return error, Problem(error.code, status, title, text)


PROBLEMS: dict[type[YarrrError], Problem] = dict(
    [
        _problem(
            errors.Invalid,
            422,
            "Some fields are not valid",
            "`errors` lists each of them: `pointer` is a JSON pointer to the field, `detail` says what is wrong with "
            "it.",
        ),
        _problem(
            errors.InvalidQuery,
            400,
            "The query is not valid",
            "A query parameter is unknown or has a value that cannot be used; `allowed`, where given, lists what can.",
        ),
        _problem(
            errors.InvalidHeader,
            400,
            "A header field is not valid",
            "The field `field` of the request's header does not have the form it should have.",
        ),
        _problem(
            errors.MalformedBody,
            400,
            "The body cannot be read",
            "The body is not what its Content-Type says it is: broken JSON, a form that is none, multipart without its "
            "end.",
        ),
        _problem(
            errors.UnsupportedMediaType,
            415,
            "This kind of content is not taken here",
            "The Content-Type, or the Content-Encoding, is not one this resource reads.",
        ),
        _problem(
            errors.NotAnMp3,
            415,
            "This is not an mp3",
            "An mp3 is a chain of MPEG audio layer III frames. In the first `bytes_examined` bytes there was none; "
            "`found` says what it looks like instead. The file's name and its Content-Type do not matter.",
        ),
        _problem(
            errors.DamagedAudio,
            422,
            "The mp3 is damaged",
            "The file is cut off or has other bytes between its frames, and this service is set to refuse such files.",
        ),
        _problem(
            errors.DigestMismatch,
            422,
            "The bytes do not match the digest that was sent",
            "`expected` is the SHA-256 that was announced, `found` that of the bytes which arrived. Nothing was "
            "stored; send the file again.",
        ),
        _problem(
            errors.TooLarge,
            413,
            "Too large",
            "The upload, or one field or part of the request, is over its limit (`limit_bytes`).",
        ),
        _problem(
            errors.OffsetMismatch,
            409,
            "The upload is at another offset",
            "Bytes can only be appended at `expected_offset`. Ask for the offset again and go on from there.",
        ),
        _problem(
            errors.InconsistentUploadLength,
            400,
            "The length of the upload is not consistent",
            "Two indications of the upload's length differ, or more bytes came than were announced.",
        ),
        _problem(
            errors.UploadCompleted,
            400,
            "The upload is already completed",
            "Its bytes have become a track; nothing can be appended any more. Only its last request may be repeated: "
            "it gets its answer again.",
        ),
        _problem(
            errors.UploadExpired,
            410,
            "The upload is gone",
            "It expired, was terminated, was refused, or was lost in a crash of the machine. Begin a new one.",
        ),
        _problem(
            errors.UploadLocked,
            423,
            "Another request is writing to the upload",
            "The other request was asked to stop and did not in time. Try again in a moment.",
        ),
        _problem(
            errors.TooManyUploads,
            429,
            "Too many uploads",
            "You have as many uploads running, or open and unfinished, as one user may have (`limit`).",
        ),
        _problem(
            errors.TusVersionMismatch,
            412,
            "Another version of tus is needed",
            "The request does not say `Tus-Resumable` with a version of `supported`. Nothing was done.",
        ),
        _problem(errors.ClientGone, 400, "The connection broke off", "Nobody reads this: the client has gone."),
        _problem(
            errors.BodyTimeout,
            408,
            "The body came too slowly",
            "No bytes arrived for too long. What had arrived is kept where the upload can be resumed.",
        ),
        _problem(
            errors.QuotaExceeded,
            413,
            "Over your quota",
            "You may store `quota_bytes`; `used_bytes` are stored and `reserved_bytes` belong to uploads on their way.",
        ),
        _problem(
            errors.StorageFull,
            507,
            "The disk is full",
            "The service keeps a reserve of free space and takes no upload that would go into it.",
        ),
        _problem(
            errors.StorageFailed,
            503,
            "The storage failed",
            "The disk or the database reported an error. Nothing was acknowledged that is not stored; try again later.",
        ),
        _problem(
            errors.Unauthenticated,
            401,
            "Log in first",
            "Send `Authorization: Bearer <token>` with a token from `POST /login` or `/tokens`, or log in with a "
            "browser.",
        ),
        _problem(errors.Forbidden, 403, "Not allowed", "You are known, and this is not for you."),
        _problem(
            errors.InsufficientScope,
            403,
            "The token's scopes do not allow this",
            "The API token was made without the scope `required_scope`. Make one that has it.",
        ),
        _problem(
            errors.CrossSite,
            403,
            "The request comes from another site",
            "A browser sent this change from a page of another origin. Use the service's own page, or a Bearer token.",
        ),
        _problem(
            errors.NotFound,
            404,
            "Not found",
            "There is nothing here, or nothing that you may see: both look the same.",
        ),
        _problem(errors.Conflict, 409, "In conflict with what is there", "The name is taken, or the state forbids it."),
        _problem(
            errors.NotAnalysed,
            409,
            "The track has not been analysed",
            "Analysis begins when a track is there and takes moments; `Retry-After` says when to ask again. Without it "
            "the file could not be analysed, and `reason` says why.",
        ),
        _problem(
            errors.NotAPicture,
            415,
            "This is no picture that can be shown",
            "A cover is a JPEG, PNG, WebP or GIF of at most 10 MiB and 40 million pixels, whatever its name says.",
        ),
        _problem(
            errors.PreconditionFailed,
            412,
            "It was changed in the meantime",
            "If-Match names another version than the present one. Read it again and decide anew.",
        ),
        _problem(
            errors.PreconditionRequired,
            428,
            "If-Match is needed",
            "Send the ETag you last saw in If-Match, so that nobody's change is overwritten unseen.",
        ),
        _problem(
            errors.RateLimited, 429, "Too many tries", "Wait for the seconds that `Retry-After` names, then try again."
        ),
        _problem(
            errors.Overloaded,
            503,
            "Busy",
            "The service has as much of this work as it takes on at once. Try again after `Retry-After` seconds.",
        ),
        _problem(
            errors.ShuttingDown,
            503,
            "Shutting down",
            "The service is about to stop and takes no new work. Try again after `Retry-After` seconds.",
        ),
        _problem(
            errors.FrontendUnavailable,
            502,
            "The front end does not answer",
            "The server behind this address is down, or answered in a way that cannot be passed on.",
        ),
    ]
)
"""Every error of the domain and its form on the wire."""

PROBLEMS[errors.DatabaseFull] = PROBLEMS[errors.StorageFull]

HTTP_PROBLEMS: dict[int, Problem] = {
    400: Problem("bad-request", 400, "Bad request", "The request does not follow the rules of HTTP."),
    403: PROBLEMS[errors.Forbidden],
    404: PROBLEMS[errors.NotFound],
    405: Problem(
        "method-not-allowed",
        405,
        "Method not allowed",
        "This resource does not have that method; `Allow` lists its own.",
    ),
    413: PROBLEMS[errors.TooLarge],
    416: Problem(
        "range-not-satisfiable",
        416,
        "No such range",
        "The Range lies behind the end of the content, which has `size` bytes; Content-Range says so too.",
    ),
    417: Problem("expectation-failed", 417, "Expectation failed", "The only expectation known is 100-continue."),
    500: Problem(
        "internal-error",
        500,
        "Something went wrong here",
        "A fault of the service. The request id finds it in the log.",
    ),
    501: Problem("not-implemented", 501, "Not implemented", "CONNECT is not, nor is any transfer coding but chunked."),
    505: Problem("http-version", 505, "HTTP version not supported", "Use HTTP/1.1 or HTTP/1.0."),
}
"""Statuses that aiohttp or the framing rules raise by themselves."""

BY_CODE: dict[str, Problem] = {each.code: each for each in (*PROBLEMS.values(), *HTTP_PROBLEMS.values())}
"""All codes there are; each has a help page at ``/problems/{code}``."""


def problem_of(error: YarrrError) -> Problem:
    """The problem of the nearest class along the error's ancestry."""
    for each in type(error).__mro__:
        if (problem := PROBLEMS.get(each)) is not None:
            return problem
    return HTTP_PROBLEMS[500]


def problem_document(
    request: web.Request, problem: Problem, *, detail: str = "", facts: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The members of RFC 9457 section 3.1, and facts as extensions (section 3.2)."""
    return {
        "type": f"/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail or problem.title,
        "instance": request.get(REQUEST_ID_KEY, ""),
        **(facts or {}),
    }


def respond(
    request: web.Request,
    problem: Problem,
    *,
    detail: str = "",
    facts: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """The answer that tells of a problem, in the form the client reads."""
    document = problem_document(request, problem, detail=detail, facts=facts)
    all_headers = dict(headers or {})
    if facts and "retry_after" in facts:
        all_headers["Retry-After"] = str(facts["retry_after"])
    if problem.status == HTTPStatus.UNAUTHORIZED:
        all_headers["WWW-Authenticate"] = 'Bearer realm="yarrr"'
    all_headers["Cache-Control"] = "no-store"
    if is_browser(request):
        response = render(request, "problem.html", status=problem.status, problem=document, help=problem.help)
        response.headers.update(all_headers)
    else:
        body = orjson.dumps(document, default=str)
        response = web.Response(status=problem.status, body=body, content_type=PROBLEM_JSON, headers=all_headers)
    if request.get(EARLY) is not None or problem.code == errors.ShuttingDown.code:
        # A client that was not told to go on keeps its body, and its next request would be taken for it.
        response.force_close()
    return response


def answer_to(request: web.Request, error: YarrrError) -> web.Response:
    """The answer to an error of the domain.

    Raises:
        web.HTTPSeeOther: a browser that reads a page without being logged in goes to the login form.
    """
    wants_login = isinstance(error, errors.Unauthenticated) and request.method in ("GET", "HEAD")
    if wants_login and is_browser(request):
        target = URL(f"/login?next={quote(request.path_qs, safe='')}", encoded=True)
        raise web.HTTPSeeOther(target)
    return respond(request, problem_of(error), detail=error.detail, facts=error.facts)


@web.middleware
async def problems_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into its answer, unless an answer has begun."""
    try:
        return await handler(request)
    except YarrrError as error:
        if request.get(STARTED):
            raise ConnectionResetError(f"{error.code} after the response began") from error
        if isinstance(error, errors.StorageFailed | errors.StorageFull):
            logger.error("%s (%s)", error, error.__cause__ or error.code)
        return answer_to(request, error)
    except web.HTTPException as exception:
        if exception.status < 400 or request.get(STARTED):
            raise
        return _answer_to_http(request, exception)
    except (ConnectionError, TimeoutError):
        raise  # the client of a download has gone or reads no more
    except Exception:
        if request.get(STARTED):
            raise
        logger.exception("unhandled error")
        return respond(request, HTTP_PROBLEMS[500])


def _answer_to_http(request: web.Request, exception: web.HTTPException) -> web.Response:
    problem = HTTP_PROBLEMS.get(exception.status)
    if problem is None:
        problem = Problem("http-error", exception.status, exception.reason, "")
    headers = {}
    facts: dict[str, Any] = {}
    if isinstance(exception, web.HTTPMethodNotAllowed):
        headers["Allow"] = ", ".join(sorted(exception.allowed_methods))
        facts["allowed"] = sorted(exception.allowed_methods)
    if isinstance(exception, web.HTTPRequestEntityTooLarge):
        facts["limit_bytes"] = request.app._client_max_size
    return respond(request, problem, facts=facts, headers=headers)
