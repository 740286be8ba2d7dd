"""multipart/form-data: whole, in any pieces, broken off, and about sixty ways to be malformed."""

import asyncio

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ClientGone, YarrrError
from service.web.body import RECEIVE_BYTES
from service.web.multipart import (
    CHUNK_BYTES,
    MAX_FIELD_BYTES,
    MAX_FIELDS,
    MAX_FILES,
    NARROW_CHUNK_BYTES,
    Field,
    FilePart,
    parts,
)
from service.web.problems import problem_of
from tests.web.conftest import served

B = b"--xx"
FORM = "multipart/form-data; boundary=xx"
END = b"--xx--\r\n"


def part(name, content, filename=None, extra=b""):
    disposition = b'form-data; name="' + name + b'"' + (b'; filename="' + filename + b'"' if filename else b"")
    return B + b"\r\nContent-Disposition: " + disposition + b"\r\n" + extra + b"\r\n" + content + b"\r\n"


class Forms:
    """A server that reads forms: what it saw in the last one, or its error."""

    def __init__(self) -> None:
        self.seen = []
        self.error: Exception | None = None
        self.lag_s = 0.0
        self.limit = RECEIVE_BYTES
        self.sizes: list[int] = []
        self.done = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.seen, self.error = [], None
        await asyncio.sleep(self.lag_s)
        try:
            async for each in parts(request, 5.0, lambda: self.limit):
                if isinstance(each, Field):
                    self.seen.append((each.name, each.value))
                else:
                    await self._read(each)
        except YarrrError as error:
            self.error = error
            return web.Response(status=problem_of(error).status)
        except Exception as error:
            self.error = error
            raise
        finally:
            self.done.set()
        return web.Response()

    async def _read(self, file: FilePart) -> None:
        self.seen.append((file.name, file.filename, content := bytearray()))
        while chunk := await file.read():
            content += chunk
            self.sizes.append(len(chunk))
        assert await file.read() == b""
        assert file.at_end()


@pytest.fixture
async def forms():
    forms = Forms()
    app = web.Application()
    app.router.add_post("/", forms.handle)
    async with served(app) as forms.port:
        yield forms


async def post(forms, *pieces: bytes, content_type: str | None = FORM, chunked: bool = False, wait: float = 0.0) -> int:
    """Send a form in pieces; the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", forms.port)
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {sum(map(len, pieces))}"
    type_ = f"Content-Type: {content_type}\r\n" if content_type is not None else ""
    writer.write(f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{type_}{framing}\r\n\r\n".encode("latin-1"))
    for piece in pieces:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked and piece else piece)
        await asyncio.sleep(wait)
    writer.write(b"0\r\n\r\n" if chunked else b"")
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def test_fields_and_files_come_in_order(forms):
    body = part(b"name", b"Song") + part(b"mp3", b"\xff\xfb\x00", b"a.mp3") + part(b"more", "ü".encode()) + END
    assert await post(forms, body) == 200
    assert forms.seen == [("name", "Song"), ("mp3", "a.mp3", b"\xff\xfb\x00"), ("more", "ü")]


@pytest.mark.parametrize(("limit", "most"), [(RECEIVE_BYTES - 1, NARROW_CHUNK_BYTES), (RECEIVE_BYTES, CHUNK_BYTES)])
async def test_a_file_comes_in_small_pieces_while_many_others_do(forms, limit, most):
    forms.limit = limit
    forms.lag_s = 0.2
    content = bytes(range(250)) * 20_000
    assert await post(forms, part(b"mp3", content, b"a.mp3") + END) == 200
    assert forms.seen == [("mp3", "a.mp3", content)]
    assert max(forms.sizes) == most
    assert forms.sizes[0] <= NARROW_CHUNK_BYTES


SMALL = part(b"mp3", b"\r\n--x\r\n--\r\n-xx\r\n\r", b"a") + part(b"name", b"N") + END
SEEN = [("mp3", "a", b"\r\n--x\r\n--\r\n-xx\r\n\r"), ("name", "N")]


async def test_a_form_may_be_split_at_every_byte(forms):
    for at in range(1, len(SMALL)):
        assert await post(forms, SMALL[:at], SMALL[at:], wait=0.001) == 200
        assert forms.seen == SEEN, f"split at {at}"


async def test_a_form_may_come_byte_by_byte(forms):
    for chunked in (True, False):
        pieces = [SMALL[at : at + 1] for at in range(len(SMALL))]
        assert await post(forms, *pieces, chunked=chunked, wait=0.0) == 200
        assert forms.seen == SEEN


@settings(max_examples=60, deadline=None)
@given(
    content=st.lists(
        st.sampled_from([b"\r\n--xx", b"\r\n--x", b"--xx", b"\r", b"\n", b"-", b"x", b"\xff\xfb", b"--", bytes(300)])
        | st.binary(max_size=50)
    )
    .map(b"".join)
    .filter(lambda content: b"\r\n--xx" not in content and not content.startswith(b"--xx")),
    cuts=st.lists(st.integers(1, 400), max_size=8),
    chunked=st.booleans(),
)
def test_any_bytes_in_any_pieces_come_out_as_they_went_in(content, cuts, chunked):
    body = part(b"mp3", content, b"a") + part(b"name", b"N") + END
    points = sorted({cut for cut in cuts if cut < len(body)})
    pieces = [body[start:end] for start, end in zip([0, *points], [*points, len(body)], strict=True)]

    async def run() -> None:
        forms, app = Forms(), web.Application()
        app.router.add_post("/", forms.handle)
        async with served(app) as forms.port:
            assert await post(forms, *pieces, chunked=chunked, wait=0.0005) == 200
        assert forms.seen == [("mp3", "a", content), ("name", "N")]

    asyncio.run(run())


@pytest.mark.parametrize("size", [0, 1, 8191, 262_143, 262_144, 262_145, 3_000_000])
async def test_files_of_any_size(forms, size):
    content = bytes(range(256)) * (size // 256 + 1)
    assert await post(forms, part(b"mp3", content[:size], b"a") + END) == 200
    assert forms.seen == [("mp3", "a", content[:size])]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"01234567890123456789", b"01234567890123"),
        (b"012345678901234567890\r\n--xx\r\nContent-", b"012345678901234567890"),
        (b"\r\n--xx\r\nContent-Disposition: form-data; name=later\r\n\r\n", b""),
        (b"--xx\r\nContent-Disposition: form-data; name=later\r\n\r\nmuch more than a boundary", b""),
        (bytes(100_000), bytes(100_000 - 6)),
        (bytes(400_000), bytes(400_000 - 6)),
    ],
)
@pytest.mark.parametrize("lag_s", [0.0, 0.3])
async def test_what_a_vanished_client_delivered_of_a_file_is_read_up_to_the_boundary(forms, sent, kept, lag_s):
    forms.lag_s = lag_s
    body = part(b"mp3", b"", b"a")[:-2] + sent
    _, writer = await asyncio.open_connection("127.0.0.1", forms.port)
    writer.write(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: 999999\r\n\r\n".encode())
    writer.write(body)
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.transport.abort()
    await asyncio.wait_for(forms.done.wait(), 10)
    assert isinstance(forms.error, ClientGone)
    files = [each[2] for each in forms.seen if len(each) == 3]
    if lag_s and not files:
        return  # it was gone before the header of the part was looked at
    (content,) = files
    assert kept.startswith(bytes(content))
    assert len(kept) - len(content) <= 6, "more was lost than might have been a boundary"


@pytest.mark.parametrize("content", [b"x" * MAX_FIELD_BYTES, b"x" * (MAX_FIELD_BYTES + 1)])
async def test_fields_are_limited(forms, content):
    assert await post(forms, part(b"name", content) + END) == (200 if len(content) == MAX_FIELD_BYTES else 413)


async def test_the_number_of_parts_is_limited(forms):
    assert await post(forms, part(b"a", b"1") * MAX_FIELDS + part(b"f", b"1", b"f") * MAX_FILES + END) == 200
    assert await post(forms, part(b"a", b"1") * (MAX_FIELDS + 1) + END) == 413
    assert await post(forms, part(b"f", b"1", b"f") * (MAX_FILES + 1) + END) == 413
    assert await post(forms, part(b"a", b"1") * 10_000 + END) == 413


FILE = part(b"mp3", b"content", b"a.mp3")
HEAD = b'--xx\r\nContent-Disposition: form-data; name="mp3"; filename="a"\r\n'

MALFORMED: dict[str, tuple[str | None, bytes]] = {
    "no Content-Type": (None, FILE + END),
    "no boundary parameter": ("multipart/form-data", FILE + END),
    "empty boundary": ("multipart/form-data; boundary=", FILE + END),
    "empty quoted boundary": ('multipart/form-data; boundary=""', FILE + END),
    "boundary of 71": ("multipart/form-data; boundary=" + "x" * 71, FILE + END),
    "boundary of 8000": ("multipart/form-data; boundary=" + "x" * 8000, FILE + END),
    "boundary outside of ASCII": ("multipart/form-data; boundary=\xfc", FILE + END),
    "another boundary": ("multipart/form-data; boundary=yy", FILE + END),
    "boundary is a prefix": ("multipart/form-data; boundary=x", FILE + END),
    "quoted boundary": ('multipart/form-data; boundary="xx"', FILE + END),
    "two boundaries": ("multipart/form-data; boundary=yy; boundary=xx", FILE + END),
    "broken parameters": ('multipart/form-data; boundary="xx', FILE + END),
    "multipart/mixed": ("multipart/mixed; boundary=xx", FILE + END),
    "multipart": ("multipart; boundary=xx", FILE + END),
    "not multipart": ("text/plain; boundary=xx", FILE + END),
    "urlencoded": ("application/x-www-form-urlencoded", b"name=1"),
    "nothing": (FORM, b""),
    "only the end": (FORM, END),
    "only a line break": (FORM, b"\r\n"),
    "only a boundary": (FORM, b"--xx\r\n"),
    "only a boundary without a line": (FORM, b"--xx"),
    "preamble": (FORM, b"This is a message in MIME format.\r\n" + FILE + END),
    "long preamble line": (FORM, b"x" * 500_000 + b"\r\n" + FILE + END),
    "long preamble": (FORM, b"preamble\r\n" * 100_000 + FILE + END),
    "no boundary at all": (FORM, b"x" * 100_000),
    "zeros": (FORM, bytes(300_000)),
    "epilogue": (FORM, FILE + END + b"epilogue\r\n" * 100),
    "epilogue with a boundary": (FORM, FILE + END + FILE + END),
    "no final boundary": (FORM, FILE),
    "no final line break": (FORM, FILE + b"--xx--"),
    "final boundary with one dash": (FORM, FILE + b"--xx-\r\n"),
    "cut in the boundary": (FORM, FILE + b"--x"),
    "cut in the header": (FORM, FILE + b"--xx\r\nContent-Dispo"),
    "cut behind the header": (FORM, HEAD + b"\r\n"),
    "cut in the content": (FORM, HEAD + b"\r\ncontent"),
    "boundary and junk": (FORM, HEAD + b"\r\ncontent\r\n--xxjunk\r\nmore\r\n" + END),
    "boundary and blanks": (FORM, HEAD.replace(b"--xx\r\n", b"--xx \t\r\n") + b"\r\ncontent\r\n--xx  \r\n" + END),
    "bare line feeds": (FORM, (FILE + END).replace(b"\r\n", b"\n")),
    "bare carriage returns": (FORM, (FILE + END).replace(b"\r\n", b"\r")),
    "no Content-Disposition": (FORM, b"--xx\r\n\r\ncontent\r\n" + END),
    "no header and no blank line": (FORM, b"--xx\r\ncontent\r\n" + END),
    "no name": (FORM, b'--xx\r\nContent-Disposition: form-data; filename="a"\r\n\r\ncontent\r\n' + END),
    "another disposition": (FORM, b'--xx\r\nContent-Disposition: attachment; filename="a"\r\n\r\nc\r\n' + END),
    "broken disposition": (FORM, b"--xx\r\nContent-Disposition: ;;;=;\r\n\r\nc\r\n" + END),
    "unclosed quote": (FORM, b'--xx\r\nContent-Disposition: form-data; name="mp3\r\n\r\nc\r\n' + END),
    "name twice": (FORM, b"--xx\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nc\r\n" + END),
    "disposition twice": (FORM, HEAD + b"Content-Disposition: form-data; name=x\r\n\r\nc\r\n" + END),
    "bad filename*": (FORM, b"--xx\r\nContent-Disposition: form-data; name=a; filename*=zz'%zz\r\n\r\nc\r\n" + END),
    "unknown charset in filename*": (
        FORM,
        b"--xx\r\nContent-Disposition: form-data; name=a; filename*=klingon''x\r\n\r\nc\r\n" + END,
    ),
    "header without a colon": (FORM, HEAD + b"no colon here\r\n\r\nc\r\n" + END),
    "header with an empty name": (FORM, HEAD + b": value\r\n\r\nc\r\n" + END),
    "header with a blank": (FORM, HEAD + b"X y: value\r\n\r\nc\r\n" + END),
    "header with NUL": (FORM, HEAD + b"X: a\0b\r\n\r\nc\r\n" + END),
    "header that is folded": (FORM, HEAD + b"X: a\r\n b\r\n\r\nc\r\n" + END),
    "header outside of ASCII": (FORM, HEAD + b"X: \xff\xfe\r\n\r\nc\r\n" + END),
    "header name outside of ASCII": (FORM, HEAD + b"\xc3\xbc: a\r\n\r\nc\r\n" + END),
    "header of 1 MB": (FORM, HEAD + b"X: " + b"a" * 1_000_000 + b"\r\n\r\nc\r\n" + END),
    "10,000 headers": (FORM, HEAD + b"X: a\r\n" * 10_000 + b"\r\nc\r\n" + END),
    "headers without an end": (FORM, HEAD + b"X: a\r\n" * 50),
    "nested multipart": (FORM, HEAD + b"Content-Type: multipart/mixed; boundary=yy\r\n\r\n--yy--\r\n" + END),
    "nested without boundary": (FORM, HEAD + b"Content-Type: multipart/mixed\r\n\r\nc\r\n" + END),
    "nested 200 deep": (
        FORM,
        b"".join(b"--xx\r\nContent-Type: multipart/mixed; boundary=xx\r\n\r\n" for _ in range(200)) + END,
    ),
    "base64": (FORM, HEAD + b"Content-Transfer-Encoding: base64\r\n\r\nY29udGVudA==\r\n" + END),
    "quoted-printable": (FORM, HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=3D\r\n" + END),
    "binary": (FORM, HEAD + b"Content-Transfer-Encoding: Binary\r\n\r\nc\r\n" + END),
    "unknown transfer encoding": (FORM, HEAD + b"Content-Transfer-Encoding: rot13\r\n\r\nc\r\n" + END),
    "gzip part": (FORM, HEAD + b"Content-Encoding: gzip\r\n\r\nc\r\n" + END),
    "Content-Length in a part": (FORM, HEAD + b"Content-Length: 3\r\n\r\ncontent\r\n" + END),
    "wrong Content-Length in a part": (FORM, HEAD + b"Content-Length: -1\r\n\r\ncontent\r\n" + END),
    "broken Content-Type of a part": (FORM, HEAD + b'Content-Type: audio/mpeg; x="\r\n\r\nc\r\n' + END),
    "_charset_": (FORM, part(b"_charset_", b"utf-8") + FILE + END),
    "long _charset_": (FORM, part(b"_charset_", b"x" * 100) + FILE + END),
    "broken _charset_": (FORM, part(b"_charset_", b"\xff\xfe") + FILE + END),
    "_charset_ that is unknown": (FORM, part(b"_charset_", b"klingon") + part(b"name", b"x") + END),
    "field that is not UTF-8": (FORM, part(b"name", b"\xff\xfe") + FILE + END),
    "field with NUL": (FORM, part(b"name", b"a\0b") + FILE + END),
    "10,000 empty parts": (FORM, b"--xx\r\n\r\n\r\n" * 10_000 + END),
    "10,000 boundaries": (FORM, b"--xx\r\n" * 10_000),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_form_is_taken_or_refused_at_once(forms, name):
    content_type, body = MALFORMED[name]
    async with asyncio.timeout(1):
        status = await post(forms, body, content_type=content_type)
    assert status in (200, 400, 413), forms.error
    if forms.error is not None:
        assert isinstance(forms.error, YarrrError)


MUST_FAIL = (
    "no boundary parameter",
    "another boundary",
    "nothing",
    "zeros",
    "no final boundary",
    "cut in the content",
    "cut in the header",
    "nested multipart",
    "base64",
    "header of 1 MB",
    "10,000 headers",
    "field that is not UTF-8",
    "10,000 empty parts",
)


@pytest.mark.parametrize("name", MUST_FAIL)
async def test_a_form_that_must_be_refused_is(forms, name):
    content_type, body = MALFORMED[name]
    assert await post(forms, body, content_type=content_type) in (400, 413)


@pytest.mark.parametrize("name", ["preamble", "epilogue", "no final line break", "quoted boundary", "binary"])
async def test_a_form_that_is_only_unusual_is_taken(forms, name):
    content_type, body = MALFORMED[name]
    assert await post(forms, body, content_type=content_type) == 200
    assert forms.seen[0][2] in (b"content", b"c")
