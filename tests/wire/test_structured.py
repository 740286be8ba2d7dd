"""Items of RFC 9651: what is none counts as not sent."""

import http_sf
import pytest

from service.wire.structured import boolean, count, from_boolean, from_counts


@pytest.mark.parametrize(("text", "value"), [("?1", True), ("?0", False), ("?0;x=1", False), (" ?1 ", True)])
def test_a_boolean_is_read_and_its_parameters_are_not(text, value):
    assert boolean({"Upload-Complete": text}, "Upload-Complete") is value


@pytest.mark.parametrize("text", ["true", "1", "?2", "?1, ?0", "?1,?1", "", "?", '"?1"', "?1 ?1", "(?1)", "?1\u00e9"])
def test_what_is_no_boolean_counts_as_not_sent(text):
    assert boolean({"Upload-Complete": text}, "Upload-Complete") is None


def test_a_field_that_is_not_there_is_nothing():
    assert boolean({}, "Upload-Complete") is None
    assert count({}, "Upload-Offset") is None


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("007", 7), ("5;a=b", 5), ("999999999999999", 10**15 - 1)])
def test_a_count_is_read(text, value):
    assert count({"Upload-Offset": text}, "Upload-Offset") == value


@pytest.mark.parametrize(
    "text", ["-1", "+5", "1.0", "1_0", "1000000000000000", "?1", "?0", "1, 2", "", "\u0663", "0x10", "1e3", '"5"']
)
def test_what_is_no_count_counts_as_not_sent(text):
    assert count({"Upload-Offset": text}, "Upload-Offset") is None


def test_what_is_written_can_be_read():
    assert (from_boolean(True), from_boolean(False)) == ("?1", "?0")
    text = from_counts({"max-size": 5, "max-age": 60})
    assert text == "max-size=5, max-age=60"
    assert {key: item[0] for key, item in http_sf.parse(text.encode(), tltype="dictionary").items()} == {
        "max-size": 5,
        "max-age": 60,
    }
