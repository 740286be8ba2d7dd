from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from service.errors import InvalidQuery
from service.web.paging import Filter, Rules, cursor, link_field, page_url, read_query

RULES = Rules(
    filters={"artist": Filter("artist", "=", str), "size[gt]": Filter("size", ">", int)},
    sorts=("created_at", "title"),
    fields=("id", "title", "size"),
    default_sort="-created_at",
)


def read(text: str, user_id: str = "u"):
    return read_query(MultiDict(parse_qsl(text, keep_blank_values=True)), RULES, user_id)


def refusal(text: str) -> dict:
    with pytest.raises(InvalidQuery) as caught:
        read(text)
    return caught.value.facts


def test_without_parameters_it_is_the_first_page_of_fifty():
    query = read("")
    assert (query.limit, query.sort, query.fields) == (50, (("created_at", True),), ("id", "title", "size"))
    assert (query.position, query.is_counted, query.conditions) == (None, False, ())


def test_everything_can_be_asked_at_once():
    query = read("artist=Nina&size[gt]=5&sort=title,-created_at&fields=size,id&limit=500&count=exact")
    assert query.conditions == (("artist", "=", "Nina"), ("size", ">", 5))
    assert query.sort == (("title", False), ("created_at", True))
    assert query.fields == ("id", "size")
    assert (query.limit, query.is_counted) == (500, True)


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("nonsense=1", "nonsense"),
        ("artist[gt]=a", "artist[gt]"),
        ("size[gt]=many", "size[gt]"),
        ("artist=a&artist=b", "artist"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=\u0663", "limit"),
        ("limit=", "limit"),
        ("sort=", "sort"),
        ("sort=size", "sort"),
        ("sort=title,title", "sort"),
        ("sort=title,-title", "sort"),
        ("sort=--title", "sort"),
        ("sort=+title", "sort"),
        ("fields=", "fields"),
        ("fields=id,secret", "fields"),
        ("count=yes", "count"),
        ("cursor=", "cursor"),
        ("cursor=" + "A" * 10_000, "cursor"),
        ("cursor=é", "cursor"),
    ],
)
def test_what_there_is_not_is_refused_by_name(text, parameter):
    assert refusal(text)["parameter"] == parameter


def test_refusals_list_what_is_allowed():
    assert refusal("nonsense=1")["allowed"] == RULES.parameters
    assert refusal("sort=size")["allowed"] == ["created_at", "title"]
    assert refusal("fields=x")["allowed"] == ["id", "title", "size"]
    assert refusal("count=x")["allowed"] == ["none", "exact"]


values = st.one_of(
    st.text(max_size=30), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)


@given(position=st.tuples(values, st.text(max_size=26)), is_backwards=st.booleans())
def test_a_cursor_brings_back_its_position_exactly(position, is_backwards):
    text = cursor(read("sort=title"), position, is_backwards=is_backwards)
    query = read(f"sort=title&limit=7&fields=id&cursor={text}")
    assert (query.position, query.is_backwards) == (position, is_backwards)
    assert [type(each) for each in query.position] == [type(each) for each in position]


@pytest.mark.parametrize(
    ("other", "user_id"),
    [
        ("sort=-title", "u"),
        ("", "u"),
        ("sort=title&artist=x", "u"),
        ("sort=title,created_at", "u"),
        ("sort=title", "v"),
    ],
)
def test_a_cursor_of_another_listing_is_refused(other, user_id):
    text = cursor(read("sort=title"), ("a", "id"), is_backwards=False)
    with pytest.raises(InvalidQuery):
        read(f"{other}&cursor={text}", user_id)


@given(st.data())
def test_a_damaged_cursor_is_refused(data):
    text = cursor(read("sort=title"), ("abc", "id"), is_backwards=False)
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(categories=["L", "N", "P", "S"]).filter(lambda each: each != text[place]))
    for damaged in (text[:place] + letter + text[place + 1 :], text[:place], text + letter):
        with pytest.raises(InvalidQuery):
            read_query(MultiDict([("sort", "title"), ("cursor", damaged)]), RULES, "u")


def test_the_urls_of_other_pages_keep_everything_but_the_cursor():
    url = page_url("/tracks", MultiDict([("artist", "Ä & B"), ("cursor", "old"), ("size[gt]", "5")]), "new")
    assert urlsplit(url).path == "/tracks"
    assert parse_qsl(urlsplit(url).query) == [("artist", "Ä & B"), ("size[gt]", "5"), ("cursor", "new")]
    assert page_url("/tracks", MultiDict(cursor="old"), None) == "/tracks"


def test_links_without_a_url_are_left_out():
    assert link_field({"next": "/a", "prev": None, "first": "/b"}) == '</a>; rel="next", </b>; rel="first"'
