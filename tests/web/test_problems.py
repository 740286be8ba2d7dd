import io
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service import errors
from service.accounts.permissions import Identity
from service.errors import YarrrError
from service.keys import IDENTITY, STARTED
from service.web.problems import BY_CODE, HTTP_PROBLEMS, PROBLEMS, answer_to, problem_of, problems_middleware

HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}


def descendants(kind):
    for each in kind.__subclasses__():
        yield each
        yield from descendants(each)


CODED = [each for each in descendants(YarrrError) if "code" in vars(each)]


@pytest.fixture
def request_for(client):
    """A function that makes a request to the app, outside of any connection."""
    return lambda method="GET", path="/", **headers: make_mocked_request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}, app=client.app
    )


@pytest.fixture
async def failing(client, request_for):
    """A function that runs the middleware around a handler which raises."""

    async def run(error, **headers):
        async def handler(_request):
            raise error

        return await problems_middleware(request_for(**headers), handler)

    return run


@pytest.mark.parametrize("kind", CODED)
def test_every_error_has_a_problem_of_its_own_code(kind):
    problem = problem_of(kind())
    assert problem is not PROBLEMS.get(YarrrError)
    assert 400 <= problem.status <= 599
    assert problem.title
    assert BY_CODE[problem.code].status >= 400


def test_an_error_without_an_entry_has_that_of_its_parent():
    class Worse(errors.StorageFull):
        code = "worse"

    assert problem_of(Worse()) is PROBLEMS[errors.StorageFull]


def test_an_error_of_no_family_is_an_internal_one():
    assert problem_of(YarrrError()) is HTTP_PROBLEMS[500]


def test_codes_are_kebab_case_and_help_is_there():
    for code, problem in BY_CODE.items():
        assert code == problem.code
        assert code.replace("-", "").isalnum()
        assert code == code.lower()
        assert problem.help.endswith((".", ".)")), code


async def test_a_program_reads_problem_json_with_the_facts(request_for):
    error = errors.OffsetMismatch("It is at 7.", expected_offset=7, provided_offset=9)
    answer = answer_to(request_for(**JSON), error)
    assert answer.status == 409
    assert answer.content_type == "application/problem+json"
    document = json.loads(answer.body)
    assert document.pop("instance") == ""
    assert document == {
        "type": "/problems/offset-mismatch",
        "title": "The upload is at another offset",
        "status": 409,
        "detail": "It is at 7.",
        "expected_offset": 7,
        "provided_offset": 9,
    }


async def test_a_person_reads_a_page_with_the_same_facts(request_for):
    error = errors.NotAnMp3("It looks like <b>a picture</b>.", bytes_examined=4096)
    answer = answer_to(request_for("POST", "/tracks", **HTML), error)
    assert (answer.status, answer.content_type) == (415, "text/html")
    assert "This is not an mp3" in answer.text
    assert "It looks like &lt;b&gt;a picture&lt;/b&gt;." in answer.text
    assert "4096" in answer.text
    assert 'href="/problems/not-an-mp3"' in answer.text


async def test_field_messages_are_on_the_page(request_for):
    error = errors.Invalid(errors=[{"pointer": "/title", "detail": "Longer than 255."}])
    text = answer_to(request_for("POST", **HTML), error).text
    assert "<code>title</code>: Longer than 255." in text


async def test_retry_after_is_a_header_field_too(request_for):
    answer = answer_to(request_for(), errors.RateLimited("Later.", retry_after=17))
    assert answer.headers["Retry-After"] == "17"
    assert json.loads(answer.body)["retry_after"] == 17


async def test_401_names_the_scheme_and_never_redirects_a_program(request_for):
    answer = answer_to(request_for(**JSON), errors.Unauthenticated("Log in."))
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="yarrr"'


async def test_a_browser_that_reads_goes_to_the_login_and_comes_back(request_for):
    with pytest.raises(web.HTTPSeeOther) as caught:
        answer_to(request_for("GET", "/tracks?sort=title&limit=5", **HTML), errors.Unauthenticated())
    assert caught.value.headers["Location"] == "/login?next=%2Ftracks%3Fsort%3Dtitle%26limit%3D5"


async def test_a_browser_that_writes_is_told(request_for):
    answer = answer_to(request_for("POST", "/tracks", **HTML), errors.Unauthenticated("Log in."))
    assert answer.status == 401
    assert 'href="/login"' in answer.text


async def test_a_page_shows_who_is_logged_in(request_for):
    request = request_for("POST", **HTML)
    assert "Log out" not in answer_to(request, errors.NotFound()).text
    request[IDENTITY] = Identity("u", "Ann <i>", False, frozenset(), "session", "s")
    text = answer_to(request, errors.NotFound()).text
    assert "Log out" in text
    assert "Ann &lt;i&gt;" in text


async def test_no_problem_is_cached(request_for):
    for headers in (HTML, JSON):
        assert answer_to(request_for("POST", **headers), errors.NotFound()).headers["Cache-Control"] == "no-store"


async def test_a_fault_of_ours_is_500_without_its_words(failing, caplog):
    answer = await failing(RuntimeError("secret detail"), **JSON)
    assert answer.status == 500
    assert json.loads(answer.body)["type"] == "/problems/internal-error"
    assert b"secret" not in answer.body
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("error", [errors.NotFound(), RuntimeError(), web.HTTPNotFound()])
async def test_an_answer_that_has_begun_is_never_followed_by_a_second(request_for, error):
    request = request_for()
    request[STARTED] = True

    async def handler(_request):
        raise error

    with pytest.raises((ConnectionResetError, RuntimeError, web.HTTPNotFound)):
        await problems_middleware(request, handler)


async def test_a_client_that_went_is_not_answered(failing):
    with pytest.raises(ConnectionResetError):
        await failing(ConnectionResetError())


async def test_a_redirect_passes_through(failing):
    with pytest.raises(web.HTTPSeeOther):
        await failing(web.HTTPSeeOther("/x"))


async def test_405_lists_what_is_allowed(client):
    answer = await client.delete("/livez")
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert (await answer.json())["allowed"] == ["GET", "HEAD"]


async def test_a_path_that_is_not_there_is_404_in_both_forms(client):
    answer = await client.get("/nothing/here", headers=JSON)
    assert (answer.status, answer.content_type) == (404, "application/problem+json")
    document = await answer.json()
    assert document["instance"] == answer.headers["X-Request-ID"]
    answer = await client.get("/nothing/here", headers=HTML)
    assert (answer.status, answer.content_type) == (404, "text/html")
    assert answer.headers["X-Request-ID"] in await answer.text()


async def test_a_small_body_over_the_limit_is_413_with_the_limit(client):
    answer = await client.post(
        "/login", data=io.BytesIO(b'"' + b"x" * (2 << 20)), headers={"Content-Type": "application/json"}
    )
    assert answer.status == 413
    assert (await answer.json())["limit_bytes"] == 1 << 20
