"""The fields of the IETF draft."""

import pytest

from service.errors import InconsistentUploadLength, InvalidHeader
from service.wire import draft
from service.wire.draft import Appending, Creation

APPEND = {"Upload-Offset": "100", "Upload-Complete": "?0", "Content-Type": "application/partial-upload"}


@pytest.mark.parametrize(
    ("text", "version"), [("8", 8), ("6", 6), ("5", 5), ("8;x", 8), ("7", None), ("9", None), ("?1", None), ("x", None)]
)
def test_interim_answers_are_for_versions_whose_clients_know_them(text, version):
    assert draft.interop_of({"Upload-Draft-Interop-Version": text}) == version


def test_without_a_version_there_are_no_interim_answers():
    assert draft.interop_of({}) is None


def test_a_creation_has_a_boolean_and_nothing_else():
    assert draft.is_creation({"Upload-Complete": "?0"})
    assert draft.is_creation({"Upload-Complete": "?1;x=1"})
    for text in ("true", "1", "?1, ?1", ""):
        assert not draft.is_creation({"Upload-Complete": text})
    assert not draft.is_creation({})


@pytest.mark.parametrize(
    ("fields", "content_length", "creation"),
    [
        ({"Upload-Complete": "?1"}, 500, Creation(True, 500, True)),
        ({"Upload-Complete": "?1"}, None, Creation(True, None, True)),
        ({"Upload-Complete": "?1"}, 0, Creation(True, 0, True)),
        ({"Upload-Complete": "?1", "Upload-Length": "500"}, 500, Creation(True, 500, True)),
        ({"Upload-Complete": "?1", "Upload-Length": "500"}, None, Creation(True, 500, True)),
        ({"Upload-Complete": "?0"}, 500, Creation(False, None, False)),
        ({"Upload-Complete": "?0", "Upload-Length": "900"}, 500, Creation(False, 900, False)),
        ({"Upload-Complete": "?0", "Upload-Length": "500"}, 500, Creation(False, 500, False)),
        ({"Upload-Complete": "?0", "Upload-Length": "-1"}, 500, Creation(False, None, False)),
    ],
)
def test_the_length_is_told_or_follows_from_the_content(fields, content_length, creation):
    assert draft.parse_creation(fields, content_length) == creation


@pytest.mark.parametrize(
    ("complete", "length", "content_length"), [("?1", "501", 500), ("?1", "499", 500), ("?0", "499", 500)]
)
def test_two_lengths_of_a_creation_must_agree(complete, length, content_length):
    with pytest.raises(InconsistentUploadLength):
        draft.parse_creation({"Upload-Complete": complete, "Upload-Length": length}, content_length)


@pytest.mark.parametrize(
    ("fields", "content_length", "appending"),
    [
        ({}, 50, Appending(100, False, None, 150, False)),
        ({"Upload-Complete": "?1"}, 50, Appending(100, True, 150, 150, True)),
        ({"Upload-Complete": "?1"}, 0, Appending(100, True, 100, 100, True)),
        ({"Upload-Complete": "?1"}, None, Appending(100, True, None, None, True)),
        ({"Upload-Length": "900"}, 50, Appending(100, False, 900, 150, False)),
        ({"Upload-Length": "900", "Upload-Complete": "?1"}, None, Appending(100, True, 900, None, True)),
    ],
)
def test_an_append_tells_where_it_begins_and_maybe_where_all_ends(fields, content_length, appending):
    assert draft.parse_append({**APPEND, **fields}, content_length) == appending


@pytest.mark.parametrize(("complete", "length"), [("?1", "900"), ("?1", "149"), ("?0", "149")])
def test_two_lengths_of_an_append_must_agree(complete, length):
    with pytest.raises(InconsistentUploadLength):
        draft.parse_append({**APPEND, "Upload-Complete": complete, "Upload-Length": length}, 50)


@pytest.mark.parametrize("field", ["Upload-Offset", "Upload-Complete"])
@pytest.mark.parametrize("text", [None, "true", "-1", "1, 2"])
def test_an_append_needs_offset_and_completeness(field, text):
    fields = {name: value for name, value in APPEND.items() if name != field}
    with pytest.raises(InvalidHeader) as caught:
        draft.parse_append(fields if text is None else {**fields, field: text}, 0)
    assert caught.value.facts["field"] == field


def test_an_append_has_its_type_except_in_version_5():
    assert draft.may_append_as({"Content-Type": "Application/Partial-Upload; x=1"})
    assert not draft.may_append_as({"Content-Type": "audio/mpeg"})
    assert not draft.may_append_as({"Upload-Draft-Interop-Version": "6"})
    assert not draft.may_append_as({"Upload-Draft-Interop-Version": "8"})
    assert draft.may_append_as({"Upload-Draft-Interop-Version": "5"})


def test_tus_and_the_draft_are_told_apart():
    assert not draft.is_spoken({})
    for fields in (APPEND, {"Upload-Complete": "?1"}, {"Upload-Draft-Interop-Version": "8"}):
        assert draft.is_spoken(fields)
        assert not draft.is_spoken({**fields, "Tus-Resumable": "1.0.0"})


@pytest.mark.parametrize(
    ("max_size", "lives_us", "text"),
    [
        (5, 61_900_000, "max-size=5, max-age=61"),
        (5, None, "max-size=5"),
        (None, 7_000_000, "max-age=7"),
        (None, None, "min-size=0"),
        (10**18, -5, "max-size=999999999999999, max-age=0"),
    ],
)
def test_limits_are_never_an_empty_dictionary(max_size, lives_us, text):
    assert draft.limit_field(max_size, lives_us) == {"Upload-Limit": text}


def test_an_announcement_has_a_location_and_progress_has_none():
    limit = draft.limit_field(5)
    assert draft.announcement(6, "/uploads/a", limit) == {
        "Upload-Draft-Interop-Version": "6",
        "Location": "/uploads/a",
        "Upload-Limit": "max-size=5",
    }
    assert draft.progress(8, 77) == {"Upload-Draft-Interop-Version": "8", "Upload-Offset": "77"}


def test_the_state_has_a_length_only_when_it_is_known():
    known = draft.state_fields(5, 5, {}, is_complete=False)
    assert known == {
        "Upload-Complete": "?0",
        "Upload-Offset": "5",
        "Upload-Length": "5",
        "Cache-Control": "no-store",
    }
    unknown = draft.state_fields(5, None, {}, is_complete=True)
    assert unknown["Upload-Complete"] == "?1"
    assert "Upload-Length" not in unknown


@pytest.mark.parametrize(("version", "is_last"), [("6", None), ("5", None), ("8", False), ("7", False)])
def test_in_old_versions_an_upload_ends_with_its_length(version, is_last):
    fields = {**APPEND, "Upload-Draft-Interop-Version": version}
    assert draft.parse_append(fields, 50).is_last is is_last
    assert draft.parse_append({**fields, "Upload-Complete": "?1"}, 50).is_last is True
    assert draft.parse_creation(fields, 50).is_last is is_last
