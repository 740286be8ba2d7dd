"""Names from clients, good and hostile: what is kept is text to be shown."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.uploads.names import MAX_FILENAME_BYTES, UNTITLED, clean_filename, clean_text, shorten


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Sea Song.mp3", "Sea Song.mp3"),
        ("Ärger & Öl — 99%.mp3", "Ärger & Öl — 99%.mp3"),
        ("海の歌.mp3", "海の歌.mp3"),
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system32\\song.mp3", "song.mp3"),
        ("/absolute/song.mp3", "song.mp3"),
        ("C:\\Music\\song.mp3", "song.mp3"),
        ("song.mp3/", UNTITLED),
        ("song\0.mp3", "song.mp3"),
        ("\0", UNTITLED),
        ("a\r\nSet-Cookie: x.mp3", "a Set-Cookie: x.mp3"),
        ("line\u2028break.mp3", "line break.mp3"),
        ("3pm\u202e3pm.exe", "3pm3pm.exe"),
        ("\u2066a\u2069.mp3", "a.mp3"),
        ("\ud800.mp3", "?.mp3"),
        ("\x1b[31mred.mp3", "[31mred.mp3"),
        ("", UNTITLED),
        (None, UNTITLED),
        (".", UNTITLED),
        ("..", UNTITLED),
        ("......", UNTITLED),
        (" . . ", UNTITLED),
        ("-rf", "-rf"),
        ("CON", "CON"),
        ("e\u0301.mp3", "é.mp3"),
        ("e\u200e\u0301.mp3", "é.mp3"),
        ("  many   blanks \t.mp3", "many blanks .mp3"),
        ("<script>alert(1)<", "<script>alert(1)<"),
        ("x" * 300 + ".mp3", "x" * 251 + ".mp3"),
        ("ü" * 300 + ".mp3", "ü" * 125 + ".mp3"),
        ("x" * 300, "x" * 255),
        ("a." + "b" * 300, "a." + "b" * 253),
    ],
)
def test_a_file_name_is_cleaned(sent, kept):
    assert clean_filename(sent) == kept


@given(st.text(st.characters(), max_size=400))
def test_whatever_is_sent_a_file_name_is_safe(sent):
    name = clean_filename(sent)
    assert name
    assert name.strip(". ")
    assert "/" not in name
    assert "\\" not in name
    assert "\0" not in name
    assert len(name.encode()) <= MAX_FILENAME_BYTES
    assert not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in name)
    assert not set(name) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    assert name == clean_filename(name)


@given(st.text(st.characters(), max_size=200))
def test_text_that_was_cleaned_is_clean(text):
    assert clean_text(clean_text(text)) == clean_text(text)
    assert clean_text(text) == clean_text(text).strip()


@given(st.text(max_size=100), st.integers(0, 120))
def test_text_is_cut_between_characters(text, size):
    assert len(shorten(text, size).encode()) <= size
    assert text.startswith(shorten(text, size))
