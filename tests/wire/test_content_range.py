"""Content-Range of a PUT."""

import pytest

from service.errors import InvalidHeader
from service.wire.content_range import ContentRange, parse


def parsed(text, content_length):
    return parse({"Content-Range": text}, content_length)


def test_without_the_field_there_is_no_range():
    assert parse({}, 5) is None


def test_a_range_is_read():
    assert parsed("bytes 500-999/1000", 500) == ContentRange(500, 999, 1000)
    assert parsed("Bytes 0-0/*", 1) == ContentRange(0, 0, None)


@pytest.mark.parametrize(
    ("text", "is_whole", "is_last"),
    [
        ("bytes 0-9/10", True, True),
        ("bytes 0-8/10", False, False),
        ("bytes 1-9/10", False, True),
        ("bytes 0-9/*", False, None),
        ("bytes 5-9/*", False, None),
    ],
)
def test_it_knows_where_the_file_ends_if_the_total_is_known(text, is_whole, is_last):
    start, end = text[6:].partition("/")[0].split("-")
    part = parsed(text, int(end) - int(start) + 1)
    assert (part.is_whole, part.is_last) == (is_whole, is_last)


@pytest.mark.parametrize(
    ("text", "content_length"),
    [
        ("bytes 500-", 500),
        ("bytes 500-999", 500),
        ("bytes=500-999/1000", 500),
        ("bytes */1000", 0),
        ("bytes 999-500/1000", 500),
        ("bytes 500-1000/1000", 501),
        ("bytes 500-999/0", 500),
        ("bytes -1-5/10", 7),
        ("bytes 0-5/+10", 6),
        ("bytes 0-5/10 ", 6),
        ("bytes 0-5/10, bytes 6-9/10", 10),
        ("bytes \u0660-5/10", 6),
        ("items 0-5/10", 6),
        ("bytes 0-1234567890123456/*", 1234567890123457),
        ("bytes 500--2/-1", None),  # curl -C 500 -T - does not know the length
        ("", 0),
        ("bytes 500-999/1000", 499),
        ("bytes 500-999/1000", 501),
        ("bytes 500-999/1000", None),
    ],
)
def test_what_is_no_range_or_not_that_of_the_body_is_refused(text, content_length):
    with pytest.raises(InvalidHeader) as caught:
        parsed(text, content_length)
    assert caught.value.facts["field"] == "Content-Range"
