import pytest
from aiohttp.test_utils import make_mocked_request

from service.web.negotiate import Flow, accepted, flow_of

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def flow(default=Flow.API, **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return flow_of(make_mocked_request("POST", "/", headers=fields), default)


@pytest.mark.parametrize(
    "accept",
    [
        CHROMIUM,
        "text/html",
        "TEXT/HTML",
        "text/html;q=0.5, application/json;q=0.4",
        "application/xhtml+xml",
        "text/html;level=1",
    ],
)
def test_who_prefers_html_is_a_browser(accept):
    assert flow(Accept=accept) is Flow.BROWSER


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "application/problem+json",
        "text/html;q=0.4, application/json;q=0.5",
        "application/json, text/html",  # as good as html: the program it names wins
        "application/json, */*",
    ],
)
def test_who_names_json_is_a_program_whatever_the_default(accept):
    assert flow(Flow.BROWSER, Accept=accept) is Flow.API


@pytest.mark.parametrize("accept", [None, "*/*", "", "image/png", "text/*", "text/html;q=0", "text/html;q=x", ";;,,"])
def test_who_names_neither_gets_the_default_of_the_view(accept):
    headers = {} if accept is None else {"Accept": accept}
    assert flow(Flow.API, **headers) is Flow.API
    assert flow(Flow.BROWSER, **headers) is Flow.BROWSER


def test_a_bearer_token_makes_a_program():
    assert flow(Flow.BROWSER, Accept=CHROMIUM, Authorization="Bearer x") is Flow.API


def test_a_json_body_makes_a_program():
    assert flow(Flow.BROWSER, Accept=CHROMIUM, Content_Type="application/json; charset=utf-8") is Flow.API


def test_another_authorization_decides_nothing():
    assert flow(Flow.API, Accept=CHROMIUM, Authorization="Basic eDp5") is Flow.BROWSER


def test_qualities_stay_between_zero_and_one():
    assert accepted("text/html;q=7, application/json;q=-1") == (1.0, 0.0)


def test_the_best_of_several_qualities_counts():
    assert accepted("text/html;q=0.2, application/xhtml+xml;q=0.6, text/html;q=0.3") == (0.6, 0.0)
