"""Names of what is no mp3."""

import pytest

from service.audio.sniff import describe, is_text, signature


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "a WAV file"),
        (b"%PDF-1.7", "a PDF"),
        (b"\x00\x00\x00\x20ftypisom", "an MP4 file"),
        (b"\x00\x00\x00\x20ftypM4A ", "an M4A file"),
        (b"  \n<!doctype HTML>", "an HTML page"),
        (b"\xef\xbb\xbf<html lang=en>", "an HTML page"),
        (b"<?xml version", "an XML document"),
        (b"PK\x03\x04", "a zip archive"),
    ],
)
def test_signatures_are_known(head, name):
    assert signature(head) == name
    assert describe(head) == name


@pytest.mark.parametrize("head", [b"\xff\xfb\x90\x64", b"ID3\x03", b"", b"\x00" * 32, b"<3 music"])
def test_what_could_be_an_mp3_has_no_signature(head):
    assert signature(head) is None


@pytest.mark.parametrize(
    "head", [b"Ahoy!\n", "Schöne Grüße".encode(), "Schöne Grü".encode()[:-1], b"\x1b[1mbold\x1b[0m"]
)
def test_text_is_text_even_when_cut(head):
    assert is_text(head)


@pytest.mark.parametrize("head", [b"", b"\xff\xfb\x90\x64", b"text\x00", b"K\xe4pt'n", b"\x00\x01\x02"])
def test_bytes_are_not_text(head):
    assert not is_text(head)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "nothing"),
        (bytes(100), "zeros"),
        (b"\xff\xf1\x50\x80", "an AAC file"),
        (b"\xff\xfd\xa4\x04", "MPEG audio of layer II"),
        (b"\xff\xfe\x2c\xc0\x88\x88\x77\x77\x66\x66\xf7\x00\x00\x00", "MPEG audio of layer I"),
        (b"\xff\xfe<\x00h\x00\t\x00h\x00\r\x00\n\x00", "text"),
        ("\N{BYTE ORDER MARK}Grüße, 世界 🎵\n".encode("utf-16-be")[:-5], "text"),
        (b"Ahoy", "text"),
        (b"\x93\x12\x7f\x00", "unknown data"),
    ],
)
def test_everything_gets_a_name(head, name):
    assert describe(head) == name
