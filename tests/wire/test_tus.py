"""tus 1.0.0: header fields in, header fields out."""

import hashlib
import locale
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidHeader, TusVersionMismatch
from service.wire import tus

ID = "0123456789abcdef0123456789abcdef"
OTHER_ID = "f" * 32
NO_NUMBERS = ["", "-1", "+5", "1_0", " 5", "5 ", "0x10", "1.0", "1e3", "٣", "५", "5, 5", "5\n", "1" * 19]


def field_of(raised) -> str:
    return raised.value.facts["field"]


# Versions


@pytest.mark.parametrize("version", ["0.2.2", "1.0.1", "1.0", "", "1.0.0, 1.0.0", "2.0.0"])
@pytest.mark.parametrize("may_lack", [True, False])
def test_another_version_is_refused(version, may_lack):
    with pytest.raises(TusVersionMismatch) as raised:
        tus.check_version({"Tus-Resumable": version}, may_lack=may_lack)
    assert raised.value.facts == {"supported": ["1.0.0"]}


def test_a_request_without_a_version_is_refused_where_it_would_change_something():
    tus.check_version({}, may_lack=True)
    tus.check_version({"Tus-Resumable": "1.0.0"})
    with pytest.raises(TusVersionMismatch):
        tus.check_version({})


# Creation


def test_a_creation():
    raw = f"filename {b64encode(b'a b.mp3').decode()}, title {b64encode(b'A B').decode()},x"
    assert tus.parse_creation({"Upload-Length": "100", "Upload-Metadata": raw}) == tus.Creation(
        length=100, filename="a b.mp3", title="A B", metadata=raw, concat=None, parts=None
    )


def test_a_length_may_come_later():
    assert tus.parse_creation({"Upload-Defer-Length": "1"}).length is None
    assert tus.parse_creation({"Upload-Length": "0"}).length == 0


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, "Upload-Length"),
        ({"Upload-Length": "1", "Upload-Defer-Length": "1"}, "Upload-Length"),
        ({"Upload-Defer-Length": "0"}, "Upload-Defer-Length"),
        ({"Upload-Defer-Length": "true"}, "Upload-Defer-Length"),
        ({"Upload-Defer-Length": "1, 1"}, "Upload-Defer-Length"),
        ({"Upload-Defer-Length": ""}, "Upload-Defer-Length"),
        *(({"Upload-Length": value}, "Upload-Length") for value in NO_NUMBERS),
        ({"Upload-Length": "1", "Upload-Metadata": ","}, "Upload-Metadata"),
    ],
)
def test_a_creation_that_makes_no_sense_is_refused(fields, wrong):
    with pytest.raises(InvalidHeader) as raised:
        tus.parse_creation(fields)
    assert field_of(raised) == wrong


def test_empty_metadata_are_none():
    assert tus.parse_creation({"Upload-Length": "1", "Upload-Metadata": " "}).metadata is None


# Concatenation


def test_a_partial_upload_has_a_length_of_its_own():
    creation = tus.parse_creation({"Upload-Length": "5", "Upload-Concat": "partial"})
    assert (creation.length, creation.concat, creation.parts) == (5, "partial", None)


@pytest.mark.parametrize("concat", ["final;/uploads/a /uploads/b", "final; /uploads/a  /uploads/b "])
def test_a_final_upload_names_its_parts_in_order(concat):
    creation = tus.parse_creation({"Upload-Concat": concat})
    assert (creation.concat, creation.parts) == (concat, ("/uploads/a", "/uploads/b"))


@pytest.mark.parametrize(
    "concat",
    ["", "final", "final;", "final; ", "Partial", "partial;/uploads/a", "finale;/uploads/a", "final;/uploads/ä"],
)
def test_an_unknown_kind_of_upload_is_refused(concat):
    with pytest.raises(InvalidHeader) as raised:
        tus.parse_creation({"Upload-Concat": concat, **({"Upload-Length": "1"} if "final" not in concat else {})})
    assert field_of(raised) == "Upload-Concat"


@pytest.mark.parametrize("field", ["Upload-Length", "Upload-Defer-Length"])
def test_the_length_of_a_final_upload_is_not_the_client_s_to_say(field):
    with pytest.raises(InvalidHeader):
        tus.parse_creation({"Upload-Concat": "final;/uploads/a", field: "1"})


@pytest.mark.parametrize(
    "url",
    [
        f"/uploads/{ID}",
        f"http://media.example:8080/uploads/{ID}",
        f"https://MEDIA.example:8080/uploads/{ID}",
        f"//media.example:8080/uploads/{ID}",
    ],
)
def test_a_part_is_named_by_a_path_or_a_url_of_this_service(url):
    assert tus.upload_id_of(url, {"media.example:8080"}) == ID


@pytest.mark.parametrize(
    "url",
    [
        f"http://other.example/uploads/{ID}",
        f"http://media.example:8081/uploads/{ID}",
        f"http://user@media.example:8080/uploads/{ID}",
        f"ftp://media.example:8080/uploads/{ID}",
        f"file:///uploads/{ID}",
        f"/uploads/{ID}?x=1",
        f"/uploads/{ID}#x",
        f"/uploads/{ID}/",
        f"/uploads/../uploads/{ID}",
        f"/tracks/{ID}",
        f"uploads/{ID}",
        f"/uploads/{ID.upper()}",
        f"/uploads/{ID}0",
        f"/uploads/{ID[:-1]}",
        "/uploads/",
        "http://[",
        "",
    ],
)
def test_what_is_no_upload_of_this_service_is_refused(url):
    with pytest.raises(InvalidHeader):
        tus.upload_id_of(url, {"media.example:8080"})


# Appending


def test_an_append():
    assert tus.parse_append({"Upload-Offset": "7"}) == tus.Appending(offset=7, length=None, checksum={})
    assert tus.parse_append({"Upload-Offset": "07", "Upload-Length": "10"}) == tus.Appending(7, 10, {})


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("name", ["Upload-Offset", "Upload-Length"])
def test_only_plain_decimals_are_numbers(name, value):
    with pytest.raises(InvalidHeader) as raised:
        tus.parse_append({"Upload-Offset": "0", name: value})
    assert field_of(raised) == name


def test_an_append_needs_an_offset():
    with pytest.raises(InvalidHeader) as raised:
        tus.parse_append({"Upload-Length": "10"})
    assert field_of(raised) == "Upload-Offset"


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_a_checksum(name):
    digest = hashlib.new(name, b"hello").digest()
    assert tus.parse_checksum({"Upload-Checksum": f"{name} {b64encode(digest).decode()}"}) == {name: digest}


def test_a_checksum_of_four_bytes():
    assert tus.parse_checksum({"Upload-Checksum": "crc32c 4waSgw=="}) == {"crc32c": bytes.fromhex("e3069283")}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha1",
        "sha1 ",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu",
        "sha1 ****",
        "sha1 4waSgw==",
        "md5 XrY7u+Ae7tCTyyK7j1rNww==",
        "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu8=",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu8=, sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu8=",
        "crc32c 4waSgw",
    ],
)
def test_a_checksum_that_cannot_be_checked_is_refused(value):
    with pytest.raises(InvalidHeader) as raised:
        tus.parse_checksum({"Upload-Checksum": value})
    assert field_of(raised) == "Upload-Checksum"


def test_an_unknown_algorithm_is_told_which_are_known():
    with pytest.raises(InvalidHeader) as raised:
        tus.parse_checksum({"Upload-Checksum": "md5 XrY7u+Ae7tCTyyK7j1rNww=="})
    assert raised.value.facts["algorithms"] == ["sha1", "sha256", "crc32c"]


NAMES = ["Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Concat", "Upload-Offset", "Upload-Checksum"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=20)))
def test_any_fields_are_read_or_refused(fields):
    for parse in (tus.parse_creation, tus.parse_append):
        with suppress(InvalidHeader):
            parse(fields)


@given(st.text())
def test_any_url_is_read_or_refused(url):
    with suppress(InvalidHeader):
        tus.upload_id_of(url, {"media.example"})


# Answers


def test_the_extensions_stand_together_with_what_they_build_on():
    fields = tus.options_fields(1000)
    assert fields == {
        "Tus-Version": "1.0.0",
        "Tus-Extension": "creation,creation-with-upload,creation-defer-length,termination,checksum,concatenation,"
        "expiration",
        "Tus-Max-Size": "1000",
        "Tus-Checksum-Algorithm": "sha1,sha256,crc32c",
    }


def test_the_state_of_an_upload_without_a_length():
    assert tus.state_fields(offset=0, length=None, metadata=None, concat=None, expires_at=None) == {
        "Upload-Offset": "0",
        "Upload-Defer-Length": "1",
        "Cache-Control": "no-store",
    }


def test_the_state_of_an_upload_gives_fields_back_as_they_came():
    raw = "b  Yg==,a"
    assert tus.state_fields(offset=5, length=9, metadata=raw, concat="partial", expires_at=0) == {
        "Upload-Offset": "5",
        "Upload-Length": "9",
        "Upload-Metadata": raw,
        "Upload-Concat": "partial",
        "Upload-Expires": "Thu, 01 Jan 1970 00:00:00 GMT",
        "Cache-Control": "no-store",
    }


def test_the_end_is_an_http_date_in_any_locale():
    before = locale.setlocale(locale.LC_TIME)
    with suppress(locale.Error):
        locale.setlocale(locale.LC_TIME, "de_DE.UTF-8")
    try:
        fields = tus.offset_fields(0, 1_793_000_000_999_999)
    finally:
        locale.setlocale(locale.LC_TIME, before)
    assert fields["Upload-Expires"] == "Mon, 26 Oct 2026 07:33:20 GMT"
