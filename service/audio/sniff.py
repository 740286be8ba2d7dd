"""What bytes are that are not an mp3: only to refuse early and to say what was found, never to accept."""

import re

# How many bytes `signature` wants to see, and how many `describe`.
NEEDED = 32
HEAD_SIZE = 4096

_SIGNATURES = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE if name == "an HTML page" else re.DOTALL), name)
    for pattern, name in (
        (rb"RIFF.{4}WAVE|RF64.{4}WAVE", "a WAV file"),
        (rb"RIFF", "a RIFF file"),
        (rb"FORM.{4}AIF[FC]", "an AIFF file"),
        (rb"fLaC", "a FLAC file"),
        (rb"OggS", "an Ogg file"),
        (rb".{4}ftypM4A", "an M4A file"),
        (rb".{4}ftyp", "an MP4 file"),
        (rb"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
        (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
        (rb"FLV\x01", "a Flash video"),
        (rb"MThd\x00\x00\x00\x06", "a MIDI file"),
        (rb"wvpk", "a WavPack file"),
        (rb"MAC \x96\x0f|MAC .\x0f\x00\x00", "a Monkey's Audio file"),
        (rb"MPCK|MP\+", "a Musepack file"),
        (rb"#!AMR", "an AMR file"),
        (rb"%PDF-", "a PDF"),
        (rb"\x89PNG\r\n\x1a\n", "a PNG image"),
        (rb"GIF8[79]a", "a GIF image"),
        (rb"\xff\xd8\xff", "a JPEG image"),
        (rb"PK(?:\x03\x04|\x05\x06)", "a zip archive"),
        (rb"\x1f\x8b\x08", "a gzip file"),
        (rb"BZh[1-9]\x31\x41\x59\x26\x53\x59", "a bzip2 file"),
        (rb"\xfd7zXZ\x00", "an xz file"),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (rb"Rar!\x1a\x07", "a RAR archive"),
        (rb"\x28\xb5\x2f\xfd", "a zstd file"),
        (rb"\x7fELF", "a program"),
        (rb"SQLite format 3\x00", "a SQLite database"),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)\b", "an HTML page"),
        (rb"(?:\xef\xbb\xbf)?\s*<\?xml", "an XML document"),
    )
)

# Control characters that no text contains; tab, line feed, form feed, carriage return and escape do occur.
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


def signature(head: bytes) -> str | None:
    """The name of what these bytes cannot but be, or ``None``."""
    return next((name for pattern, name in _SIGNATURES if pattern.match(head)), None)


def is_text(head: bytes) -> bool:
    """Whether all of it is UTF-8 text; a character cut at the end is forgiven."""
    if not head or _NOT_TEXT.search(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.start > 0
    return True


def _is_utf16(head: bytes) -> bool:
    """Whether it is text after a byte order mark. A frame of layer I may begin with the same two bytes."""
    text = head.decode("utf-16", "ignore")
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) and "".join(text.split()).isprintable()


def describe(head: bytes) -> str:
    """What a body that is no mp3 looks like, for people."""
    if not head:
        return "nothing"
    if not head.strip(b"\x00"):
        return "zeros"
    if is_text(head) or _is_utf16(head):
        return signature(head) or "text"
    if head[0] == 0xFF and len(head) > 1:
        if head[1] & 0xF6 == 0xF0:
            return "an AAC file"
        if head[1] & 0xE6 == 0xE4 and head[1] & 0xF8 != 0xE8:
            return "MPEG audio of layer II"
        if head[1] & 0xE6 == 0xE6 and head[1] & 0xF8 != 0xE8 and head[1] != 0xFF:
            return "MPEG audio of layer I"
    return signature(head) or "unknown data"
