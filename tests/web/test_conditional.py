from datetime import UTC, datetime, timedelta

import pytest

from service.errors import PreconditionFailed, PreconditionRequired
from service.web import conditional

ETAG = '"abc"'
MODIFIED = datetime(2026, 11, 22, 16, 10, 0, 500_000, tzinfo=UTC)
DATE = conditional.http_date(MODIFIED)
LATER = conditional.http_date(MODIFIED + timedelta(seconds=1))
EARLIER = conditional.http_date(MODIFIED - timedelta(seconds=1))


@pytest.mark.parametrize(
    ("field", "strong", "weak"),
    [
        ("*", True, True),
        ('"abc"', True, True),
        ('W/"abc"', False, True),
        ('"x", "abc"', True, True),
        ('"x",,W/"abc" ,', False, True),
        ('"x"', False, False),
        ("abc", False, False),
        ('"abc', False, False),
        ('"x" "abc"', False, False),
        ("", False, False),
        ('"a,b", "abc"', True, True),
    ],
)
def test_entity_tags_compare(field, strong, weak):
    assert conditional.matches(field, ETAG) is strong
    assert conditional.matches_weakly(field, ETAG) is weak


def test_a_weak_tag_never_matches_strongly():
    assert not conditional.matches('W/"abc"', 'W/"abc"')
    assert conditional.matches_weakly('"abc"', 'W/"abc"')


def test_if_match_is_required_where_a_change_needs_it():
    with pytest.raises(PreconditionRequired):
        conditional.check_match({}, ETAG, is_required=True)
    conditional.check_match({}, ETAG)
    conditional.check_match({"If-Match": "*"}, ETAG, is_required=True)
    with pytest.raises(PreconditionFailed):
        conditional.check_match({"If-Match": '"x"'}, ETAG)


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, False),
        ({"If-None-Match": ETAG}, True),
        ({"If-None-Match": '"x"'}, False),
        ({"If-None-Match": '"x"', "If-Modified-Since": LATER}, False),
        ({"If-Modified-Since": DATE}, True),
        ({"If-Modified-Since": LATER}, True),
        ({"If-Modified-Since": EARLIER}, False),
        ({"If-Modified-Since": "yesterday"}, False),
        ({"If-Modified-Since": "Sun, 99 Nov 99999 99:99:99 GMT"}, False),
    ],
)
def test_not_modified(headers, answer):
    assert conditional.is_not_modified(headers, ETAG, MODIFIED) is answer


@pytest.mark.parametrize(
    ("headers", "fails"),
    [
        ({}, False),
        ({"If-Match": ETAG}, False),
        ({"If-Match": '"x"'}, True),
        ({"If-Match": ETAG, "If-Unmodified-Since": EARLIER}, False),
        ({"If-Unmodified-Since": DATE}, False),
        ({"If-Unmodified-Since": EARLIER}, True),
        ({"If-Unmodified-Since": "never"}, False),
    ],
)
def test_unmodified(headers, fails):
    if fails:
        with pytest.raises(PreconditionFailed):
            conditional.check_unmodified(headers, ETAG, MODIFIED)
    else:
        conditional.check_unmodified(headers, ETAG, MODIFIED)


@pytest.mark.parametrize(
    ("field", "allowed"),
    [(ETAG, True), ('"x"', False), ('W/"abc"', False), (DATE, True), (LATER, False), (EARLIER, False), ("x", False)],
)
def test_if_range_lets_only_the_same_version_pass(field, allowed):
    assert conditional.may_send_range({"If-Range": field}, ETAG, MODIFIED) is allowed


def test_a_date_without_gmt_is_read_as_utc():
    assert conditional.is_not_modified({"If-Modified-Since": DATE.replace("GMT", "-0000")}, ETAG, MODIFIED)


def test_what_has_no_date_is_told_by_its_entity_tag_alone():
    conditional.check_unmodified({"If-Unmodified-Since": EARLIER}, ETAG, None)
    assert not conditional.is_not_modified({"If-Modified-Since": LATER}, ETAG)
    assert not conditional.may_send_range({"If-Range": DATE}, ETAG, None)
    assert conditional.may_send_range({"If-Range": ETAG}, ETAG, None)
