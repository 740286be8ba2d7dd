"""`Upload-Metadata` of tus 1.0.0."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidHeader
from service.wire import metadata


def encoded(value: bytes) -> str:
    return b64encode(value).decode()


def test_values_are_base64_and_may_be_left_out():
    found = metadata.parse(f"filename {encoded('Für Elise.mp3'.encode())},is_confidential,empty ")
    assert found == {"filename": "Für Elise.mp3", "is_confidential": "", "empty": ""}


def test_blanks_around_the_commas_do_not_matter():
    assert metadata.parse("a YQ== , b Yg==") == {"a": "a", "b": "b"}


@pytest.mark.parametrize("value", ["", " "])
def test_nothing_is_no_metadata(value):
    assert metadata.parse(value) == {}


@pytest.mark.parametrize(
    "value",
    [
        ",",
        "a YQ==,",
        ",a YQ==",
        "a YQ==,a Yg==",
        "name Zm9v,name",
        "nöme Zm9v",
        "na\tme Zm9v",
        "a YQ",
        "a YQ=",
        "a *",
        "a YQ== Yg==",
        "a Zm9v\u00e9",
        "a -_-_",
    ],
)
def test_what_is_no_list_of_pairs_is_refused(value):
    with pytest.raises(InvalidHeader) as raised:
        metadata.parse(value)
    assert raised.value.facts["field"] == "Upload-Metadata"


def test_a_value_may_hold_anything_and_is_only_decoded():
    hostile = "\r\nSet-Cookie: a=b\0../../etc/passwd\u202egpj.mp3" + "x" * 3000
    assert metadata.parse(f"filename {encoded(hostile.encode())}") == {"filename": hostile}


def test_bytes_that_are_no_utf_8_are_replaced():
    found = metadata.parse("filename " + encoded(b"caf\xe9.mp3"))
    assert found == {"filename": "caf\ufffd.mp3"}


@given(st.text())
def test_any_field_is_read_or_refused(value):
    try:
        found = metadata.parse(value)
    except InvalidHeader:
        return
    assert value.strip().isascii() or not found
    assert all(found)


@pytest.mark.parametrize(
    ("known", "name"),
    [
        ({"filename": "a.mp3", "name": "b.mp3"}, "a.mp3"),
        ({"name": "b.mp3", "type": "audio/mpeg"}, "b.mp3"),
        ({"filename": "", "name": "b.mp3"}, "b.mp3"),
        ({"title": "x"}, None),
        ({"filename": ""}, None),
    ],
)
def test_the_file_s_name(known, name):
    assert metadata.filename_of(known) == name
