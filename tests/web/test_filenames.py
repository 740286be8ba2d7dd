import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.filenames import content_disposition


@pytest.mark.parametrize(
    ("filename", "field"),
    [
        ("song.mp3", 'inline; filename="song.mp3"'),
        ("My Song (live).mp3", 'inline; filename="My Song (live).mp3"'),
        ("café.mp3", "inline; filename=\"cafe.mp3\"; filename*=UTF-8''caf%C3%A9.mp3"),
        ("日本.mp3", "inline; filename=\"__.mp3\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.mp3"),
        ('a"b\\c.mp3', "inline; filename=\"a_b_c.mp3\"; filename*=UTF-8''a%22b%5Cc.mp3"),
        ("100%41.mp3", "inline; filename=\"100_41.mp3\"; filename*=UTF-8''100%2541.mp3"),
    ],
)
def test_a_name_is_ascii_for_all_and_true_for_those_who_can(filename, field):
    assert content_disposition("inline", filename) == field


@given(st.text(min_size=1, max_size=60))
def test_no_name_breaks_the_field(filename):
    field = content_disposition("attachment", filename)
    assert field.isascii()
    assert field.isprintable()
    plain, _, true = field.partition("; filename*=UTF-8''")
    assert re.fullmatch(r'attachment; filename="[^"\\%]*"', plain)
    if true and not any("\ud800" <= each <= "\udfff" for each in filename):
        assert unquote(true) == filename
