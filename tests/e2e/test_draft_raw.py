"""The IETF draft over bare sockets: interim answers, framing, cut connections, races, kill -9; the real process."""

import hashlib
import re
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import corpus
from tests.e2e.raw import Wire

pytestmark = pytest.mark.e2e

TYPE = {"Content-Type": "application/partial-upload"}
VERSION = "Upload-Draft-Interop-Version"
IANA = "https://iana.org/assignments/http-problem-types#"


@pytest.fixture
def song(content_of):
    return content_of("cbr320")


class Draft:
    """Short ways to speak the draft to a server."""

    def __init__(self, server):
        self.server = server

    def wire(self):
        return Wire(self.server.port)

    def begin(self, wire, complete, body=b"", *, length=None, door="POST /tracks", http="1.1", version="8", **more):
        """Send the head of a creation, and as much of its content as is given."""
        method, path = door.split()
        size = {} if "Transfer_Encoding" in more else {"Content-Length": str(len(body) if length is None else length)}
        fields = {**self.server.auth, "Upload-Complete": complete, **size, **named(more)}
        if version is not None:
            fields[VERSION] = version
        wire.request(method, path, fields, body, version=http)

    def create(self, complete="?0", body=b"", **more):
        """Create an upload, whole or not; its last answer."""
        with self.wire() as wire:
            self.begin(wire, complete, body, **more)
            return final(wire)

    def cut(self, content, size, **more):
        """A creation that says it is the whole, and breaks off; where the upload is."""
        with self.wire() as wire:
            self.begin(wire, "?1", content[:size], length=len(content), **more)
            location = wire.read().headers["location"]
            wire.close()
        return location

    def append(self, wire, path, offset, body=b"", *, complete="?1", length=None, **more):
        size = {} if "Transfer_Encoding" in more else {"Content-Length": str(len(body) if length is None else length)}
        fields = {"Upload-Offset": str(offset), "Upload-Complete": complete, **TYPE, **size, **named(more)}
        wire.request("PATCH", path, {**self.server.auth, **fields}, body)

    def patch(self, path, offset, body=b"", **more):
        with self.wire() as wire:
            self.append(wire, path, offset, body, **more)
            return final(wire)

    def ask(self, method, path, **more):
        with self.wire() as wire:
            wire.request(method, path, {**self.server.auth, **named(more)})
            return wire.read(to_head=method == "HEAD")

    def offset(self, path):
        answer = self.ask("HEAD", path, Upload_Draft_Interop_Version="8")
        assert answer.status == 204, answer
        return int(answer.headers["upload-offset"])

    def check_track(self, answer, content):
        """The answer is the receipt of these bytes."""
        assert (answer.status, answer.headers["upload-complete"]) == (201, "?1"), answer
        digest = hashlib.sha256(content).digest()
        assert answer.headers["repr-digest"] == f"sha-256=:{b64encode(digest).decode()}:"
        assert self.server.curl(f"{answer.headers['location']}/audio").body == content


def named(more):
    return {name.replace("_", "-"): str(text) for name, text in more.items()}


def final(wire):
    """The answer that is not an interim one."""
    while (answer := wire.read()).status < 200:
        pass
    return answer


def problem(answer):
    return re.search(rb'"type":"([^"]*)"', answer.body)[1].decode()


@pytest.fixture
def draft(server):
    return Draft(server)


def digest_field(content):
    return f"sha-256=:{b64encode(hashlib.sha256(content).digest()).decode()}:"


# Interim answers


@pytest.mark.parametrize("version", ["8", "6", "5"])
@pytest.mark.parametrize("door", ["POST /tracks", "PUT /spool/song.mp3"])
def test_an_upload_is_announced_before_its_content_is_read(draft, song, version, door):
    with draft.wire() as wire:
        draft.begin(wire, "?1", length=len(song), door=door, version=version)
        interim = wire.read()
        assert interim.status == 104
        assert interim.headers[VERSION.lower()] == version
        assert re.fullmatch(r"/uploads/[0-9a-f]{32}", interim.headers["location"])
        assert re.fullmatch(r"max-size=\d+, max-age=\d+", interim.headers["upload-limit"])
        assert set(interim.headers) == {VERSION.lower(), "location", "upload-limit"}
        wire.send(song)
        draft.check_track(final(wire), song)


@pytest.mark.parametrize("version", [None, "7", "9", "4", "?1", "eight", "8, 8"])
def test_who_does_not_name_a_version_we_speak_gets_no_interim_answer(draft, song, version):
    with draft.wire() as wire:
        draft.begin(wire, "?1", length=len(song), version=version)
        assert wire.is_quiet()
        wire.send(song)
        answer = wire.read()
    draft.check_track(answer, song)


def test_an_old_client_gets_no_interim_answer(draft, song):
    with draft.wire() as wire:
        draft.begin(wire, "?1", length=len(song), http="1.0")
        assert wire.is_quiet()
        wire.send(song)
        draft.check_track(wire.read(), song)


def test_an_ordinary_upload_gets_no_interim_answer(draft, song):
    fields = {**draft.server.auth, VERSION: "8", "Content-Type": "audio/mpeg", "Content-Length": str(len(song))}
    with draft.wire() as wire:
        wire.request("POST", "/tracks", fields, song)
        answer = wire.read()
    assert answer.status == 201
    assert "upload-complete" not in answer.headers


def test_continue_comes_before_the_announcement(draft, song):
    with draft.wire() as wire:
        draft.begin(wire, "?1", length=len(song), Expect="100-continue")
        assert [wire.read().status, wire.read().status] == [100, 104]
        wire.send(song)
        draft.check_track(final(wire), song)


def test_a_doomed_creation_is_refused_before_its_content(draft):
    with draft.wire() as wire:
        draft.begin(wire, "?1", length=1 << 40, Expect="100-continue")
        answer = wire.read()
    assert answer.status == 413
    assert answer.headers["upload-limit"].startswith("max-size=")


def test_connections_go_on_after_interim_answers(draft, song):
    with draft.wire() as wire:
        for _ in range(3):
            draft.begin(wire, "?0", song[:1000])
            assert wire.read().status == 104
            answer = wire.read()
            draft.append(wire, answer.headers["location"], 1000, song[1000:])
            draft.check_track(final(wire), song)


@pytest.mark.parametrize("is_append", [False, True])
def test_durable_offsets_are_told_while_content_comes(draft, song, is_append):
    with draft.wire() as wire:
        if is_append:
            location = draft.create().headers["location"]
            draft.append(wire, location, 0, length=len(song), **{VERSION.replace("-", "_"): "8"})
        else:
            draft.begin(wire, "?1", length=len(song))
            location = wire.read().headers["location"]
        sent = 0
        while wire.is_quiet(0.1):
            wire.send(song[sent : sent + 5000])
            sent += 5000
        interim = wire.read()
        assert interim.status == 104
        assert set(interim.headers) == {VERSION.lower(), "upload-offset"}, "progress has no Location"
        told = int(interim.headers["upload-offset"])
        assert 0 < told <= sent
        wire.reset()
    assert told <= draft.offset(location) <= sent


def test_no_progress_is_told_to_who_does_not_want_it(draft, song):
    location = draft.create().headers["location"]
    with draft.wire() as wire:
        draft.append(wire, location, 0, length=len(song))
        for start in range(0, 130_000, 5000):
            wire.send(song[start : start + 5000])
            assert wire.is_quiet(0.1)


# Creation


def test_a_whole_upload_in_one_request(draft, song):
    draft.check_track(draft.create("?1", song), song)
    draft.check_track(draft.create("?1", song, version=None), song)


def test_a_file_in_pieces(draft, song):
    with draft.wire() as wire:
        draft.begin(wire, "?0", song[:1000], Upload_Length=len(song))
        interim, answer = wire.read(), wire.read()
    assert (interim.status, answer.status) == (104, 201)
    assert answer.headers["location"] == interim.headers["location"]
    assert answer.headers["upload-complete"] == "?0"
    assert answer.headers["upload-offset"] == "1000"
    assert answer.headers["upload-limit"].startswith("max-size=")
    location = answer.headers["location"]
    answer = draft.patch(location, 1000, song[1000:9000], complete="?0")
    assert (answer.status, answer.body) == (204, b"")
    assert (answer.headers["upload-complete"], answer.headers["upload-offset"]) == ("?0", "9000")
    assert "location" not in answer.headers
    draft.check_track(draft.patch(location, 9000, song[9000:]), song)


def test_the_address_first_and_the_content_later(draft, song):
    answer = draft.create()
    assert (answer.status, answer.headers["upload-offset"]) == (201, "0")
    draft.check_track(draft.patch(answer.headers["location"], 0, song), song)


def test_reaching_the_length_does_not_complete(draft, song):
    location = draft.create(Upload_Length=len(song)).headers["location"]
    assert draft.patch(location, 0, song, complete="?0").status == 204
    answer = draft.ask("HEAD", location)
    assert (answer.headers["upload-complete"], answer.headers["upload-offset"]) == ("?0", str(len(song)))
    draft.check_track(draft.patch(location, len(song)), song)


@pytest.mark.parametrize("complete", ["true", "1", "?2", "?1, ?0", "yes"])
def test_a_field_that_is_no_boolean_makes_an_ordinary_upload(draft, song, complete):
    with draft.wire() as wire:
        draft.begin(wire, complete, song)
        answer = wire.read()
    assert answer.status == 201
    assert answer.headers["location"].startswith("/tracks/")
    assert "upload-complete" not in answer.headers


def test_parameters_of_fields_are_ignored(draft, song):
    location = draft.create("?0;x=1", song[:10]).headers["location"]
    draft.check_track(draft.patch(location, "10;y", song[10:], complete="?1;z=?0"), song)


def test_a_chunked_creation_needs_no_length(draft, song):
    with draft.wire() as wire:
        draft.begin(wire, "?1", Transfer_Encoding="chunked")
        for start in range(0, len(song), 50_000):
            wire.chunk(song[start : start + 50_000])
        wire.chunk(b"")
        draft.check_track(final(wire), song)


# Interruption


@pytest.mark.parametrize("end", ["close", "reset", "finish"])
@pytest.mark.parametrize("framing", ["known", "chunked"])
def test_what_was_delivered_counts_and_nothing_is_complete(draft, song, end, framing):
    with draft.wire() as wire:
        if framing == "known":
            draft.begin(wire, "?1", song[:200_000], length=len(song))
        else:
            draft.begin(wire, "?1", Transfer_Encoding="chunked")
            wire.chunk(song[:200_000])
        location = wire.read().headers["location"]
        time.sleep(0.3)
        getattr(wire, end)()
        time.sleep(0.1)
        answer = draft.ask("HEAD", location)
    assert answer.headers["upload-complete"] == "?0"
    assert answer.headers["upload-offset"] == "200000"
    draft.check_track(draft.patch(location, 200_000, song[200_000:]), song)


def test_a_chunked_append_without_its_last_chunk_does_not_complete(draft, song):
    location = draft.create("?0", song[:100]).headers["location"]
    with draft.wire() as wire:
        draft.append(wire, location, 100, Transfer_Encoding="chunked")
        wire.chunk(song[100:])  # all of it, but nobody said so
        time.sleep(0.2)
    answer = draft.ask("HEAD", location)
    assert (answer.headers["upload-complete"], answer.headers["upload-offset"]) == ("?0", str(len(song)))
    draft.check_track(draft.patch(location, len(song)), song)


def test_twenty_cuts_in_a_row(draft, song):
    location = draft.cut(song, 10_000)
    for _ in range(20):
        offset = draft.offset(location)
        with draft.wire() as wire:
            draft.append(wire, location, offset, song[offset : offset + 20_000], length=len(song) - offset)
            wire.reset() if offset % 2 else wire.close()
    answer = None
    while answer is None or answer.status == 409:  # as long as a request that was cut is still on its way
        offset = draft.offset(location)
        answer = draft.patch(location, offset, song[offset:])
    draft.check_track(answer, song)


def test_told_offsets_survive_kill_9(make_server, song):
    server = make_server()
    draft = Draft(server)
    location = draft.create().headers["location"]
    told = 0
    for _ in range(3):
        with draft.wire() as wire:
            draft.append(wire, location, told, length=len(song) - told, Upload_Draft_Interop_Version=8)
            for start in range(told, told + 100_000, 20_000):
                wire.send(song[start : start + 20_000])
            time.sleep(2.1)
            wire.send(song[told + 100_000 : told + 100_100])
            promised = int(wire.read().headers["upload-offset"])
            assert promised > told
            server.kill()
        server.start()
        told = draft.offset(location)
        assert told >= promised
    draft.check_track(draft.patch(location, told, song[told:]), song)


# The newer request is right


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("older", ["creation", "append"])
def test_a_newer_request_ends_a_hung_one_and_keeps_its_bytes(draft, song, method, older):
    with draft.wire() as hung:
        if older == "creation":
            draft.begin(hung, "?1", song[:50_000], length=len(song))
            location = hung.read().headers["location"]
        else:
            location = draft.create().headers["location"]
            draft.append(hung, location, 0, song[:50_000], length=len(song))
        time.sleep(0.2)
        started = time.monotonic()
        if method == "HEAD":
            assert draft.offset(location) == 50_000
        elif method == "PATCH":
            answer = draft.patch(location, 50_000, song[50_000:])
            draft.check_track(answer, song)
        else:
            assert draft.ask("DELETE", location).status == 204
            assert draft.ask("HEAD", location).status == 410
        assert time.monotonic() - started < 2
        assert hung.is_closed(2)


def test_the_offset_of_head_is_accepted_even_while_the_older_request_goes_on_sending(draft, song):
    with draft.wire() as older:
        draft.begin(older, "?1", song[:10_000], length=len(song))
        location = older.read().headers["location"]
        stop = threading.Event()

        def send_on():
            try:
                for start in range(10_000, len(song), 1000):
                    if stop.wait(0.002):
                        return
                    older.send(song[start : start + 1000])
            except OSError:
                pass

        thread = threading.Thread(target=send_on)
        thread.start()
        time.sleep(0.1)
        offset = draft.offset(location)
        answer = draft.patch(location, offset, song[offset:])
        stop.set()
        thread.join()
    draft.check_track(answer, song)


def test_of_many_appends_at_one_offset_the_bytes_never_mix(draft, song):
    for _ in range(5):
        location = draft.create("?0", song[:1000]).headers["location"]

        def attempt(_, location=location):
            try:
                return draft.patch(location, 1000, song[1000:])
            except ConnectionError:
                return None  # a newer one came

        with ThreadPoolExecutor(8) as pool:
            answers = [answer for answer in pool.map(attempt, range(8)) if answer is not None]
        statuses = {answer.status for answer in answers}
        assert statuses <= {201, 409}, answers
        receipts = {answer.headers["location"] for answer in answers if answer.status == 201}
        if not receipts:  # every one was cut off by a newer one; then the bytes are there all the same
            offset = draft.offset(location)
            receipts = {draft.patch(location, offset, song[offset:]).headers["location"]}
        assert len(receipts) == 1
        assert draft.server.curl(f"{receipts.pop()}/audio").body == song


def test_a_deleted_upload_takes_nothing(draft, song):
    location = draft.cut(song, 1000)
    assert draft.ask("DELETE", location).status == 204
    for answer in (
        draft.patch(location, 1000, song[1000:]),
        draft.ask("HEAD", location),
        draft.ask("DELETE", location),
    ):
        assert answer.status == 410


# Refusals


def test_an_append_elsewhere_is_told_where(draft, song):
    location = draft.cut(song, 1000)
    assert draft.offset(location) == 1000
    for offset in (0, 999, 1001, len(song)):
        answer = draft.patch(location, offset, song[offset:], complete="?0")
        assert answer.status == 409
        assert (answer.headers["upload-complete"], answer.headers["upload-offset"]) == ("?0", "1000")
        assert problem(answer) == f"{IANA}mismatching-upload-offset"
        assert b'"expected-offset":1000' in answer.body
        assert b'"provided-offset":%d' % offset in answer.body
    draft.check_track(draft.patch(location, 1000, song[1000:]), song)


def test_an_append_elsewhere_is_refused_before_its_content(draft, song):
    location = draft.cut(song, 1000)
    with draft.wire() as wire:
        draft.append(wire, location, 7, length=len(song), Expect="100-continue")
        answer = wire.read()
    assert (answer.status, answer.headers["upload-offset"]) == (409, "1000")
    assert answer.headers["connection"] == "close"
    with draft.wire() as wire:
        draft.append(wire, location, 1000, length=len(song) - 1000, Expect="100-continue")
        assert wire.read().status == 100
        wire.send(song[1000:])
        draft.check_track(final(wire), song)


@pytest.mark.parametrize("framing", ["known", "chunked"])
@pytest.mark.parametrize("complete", ["?0", "?1"])
def test_more_than_the_length_ends_the_upload(draft, song, framing, complete):
    location = draft.create("?0", song[:1000], Upload_Length=2000).headers["location"]
    with draft.wire() as wire:
        if framing == "known":
            draft.append(wire, location, 1000, song[1000:2001], complete=complete)
        else:
            draft.append(wire, location, 1000, complete=complete, Transfer_Encoding="chunked")
            wire.chunk(song[1000:1900])
            wire.chunk(song[1900:2001])
            wire.chunk(b"")
        answer = final(wire)
    assert (answer.status, answer.headers["upload-complete"]) == (400, "?0")
    assert problem(answer) == f"{IANA}inconsistent-upload-length"
    assert draft.ask("HEAD", location).status == 410
    assert not (draft.server.data_dir / "spool" / f"{location.rsplit('/', 1)[1]}.part").exists()


def test_more_than_the_length_ends_a_creation(draft, song):
    with draft.wire() as wire:
        draft.begin(wire, "?0", Upload_Length=2000, Transfer_Encoding="chunked")
        location = wire.read().headers["location"]
        wire.chunk(song[:2001])
        wire.chunk(b"")
        assert final(wire).status == 400
    assert draft.ask("HEAD", location).status == 410


def test_a_chunked_last_append_that_is_too_short_leaves_the_upload_as_it_is(draft, song):
    location = draft.create("?0", song[:1000], Upload_Length=len(song)).headers["location"]
    with draft.wire() as wire:
        draft.append(wire, location, 1000, Transfer_Encoding="chunked")
        wire.chunk(song[1000:5000])
        wire.chunk(b"")
        answer = final(wire)
    assert (answer.status, answer.headers["upload-complete"]) == (400, "?0")
    assert draft.offset(location) == 5000
    draft.check_track(draft.patch(location, 5000, song[5000:]), song)


@pytest.mark.parametrize("in_pieces", [False, True])
def test_what_is_no_mp3_is_refused_by_the_target(draft, in_pieces):
    content = corpus.noise(300_000)
    if in_pieces:
        location = draft.create().headers["location"]
        answer = draft.patch(location, 0, content)
        assert draft.ask("HEAD", location).status == 410
    else:
        answer = draft.create("?1", content)
    assert (answer.status, answer.headers["upload-complete"]) == (415, "?1")
    assert problem(answer) == "/problems/not-an-mp3"


def test_an_empty_file_is_refused_by_the_target(draft):
    answer = draft.create("?1")
    assert (answer.status, answer.headers["upload-complete"]) == (415, "?1")
    location = draft.create("?0").headers["location"]
    answer = draft.patch(location, 0)
    assert (answer.status, answer.headers["upload-complete"]) == (415, "?1")


# Digests


def test_a_wrong_digest_of_the_whole_fails_the_upload_at_its_end(draft, song):
    location = draft.create("?0", song[:1000], Repr_Digest=digest_field(b"another")).headers["location"]
    answer = draft.patch(location, 1000, song[1000:])
    assert (answer.status, answer.headers["upload-complete"]) == (422, "?1")
    assert draft.ask("HEAD", location).status == 410
    right = draft.create("?0", song[:1000], Repr_Digest=digest_field(song)).headers["location"]
    draft.check_track(draft.patch(right, 1000, song[1000:]), song)


def test_a_wrong_digest_of_an_append_leaves_the_upload_as_it_was(draft, song):
    location = draft.create("?0", song[:1000]).headers["location"]
    for complete in ("?0", "?1"):
        answer = draft.patch(location, 1000, song[1000:], complete=complete, Content_Digest=digest_field(b"another"))
        assert (answer.status, answer.headers["upload-complete"]) == (422, "?0")
        assert draft.offset(location) == 1000
    rest = song[1000:]
    draft.check_track(draft.patch(location, 1000, rest, Content_Digest=digest_field(rest)), song)


def test_a_wrong_digest_of_the_first_content_leaves_an_empty_upload(draft, song):
    with draft.wire() as wire:
        draft.begin(wire, "?1", song, Content_Digest=digest_field(b"another"))
        location = wire.read().headers["location"]
        answer = final(wire)
    assert (answer.status, answer.headers["upload-complete"]) == (422, "?0")
    assert draft.offset(location) == 0
    draft.check_track(draft.patch(location, 0, song, Content_Digest=digest_field(song)), song)


# Both dialects on one upload


def test_an_upload_of_tus_is_finished_by_the_draft(draft, song):
    tus = {"Tus_Resumable": "1.0.0"}
    created = draft.ask("POST", "/uploads", Upload_Length=len(song), Upload_Metadata="filename c29uZy5tcDM=", **tus)
    location = created.headers["location"]
    fields = {**draft.server.auth, "Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    with draft.wire() as wire:
        wire.request("PATCH", location, {**fields, "Upload-Offset": "0", "Content-Length": "5000"}, song[:5000])
        assert wire.read().headers["upload-offset"] == "5000"
        draft.append(wire, location, 5000, song[5000:9000], complete="?0")
        answer = wire.read()
        assert (answer.status, answer.headers["upload-offset"]) == (204, "9000")
        wire.request(
            "PATCH", location, {**fields, "Upload-Offset": "9000", "Content-Length": "1000"}, song[9000:10_000]
        )
        assert wire.read().headers["upload-offset"] == "10000"
        draft.append(wire, location, 10_000, song[10_000:])
        draft.check_track(wire.read(), song)


def test_an_upload_of_the_draft_is_finished_by_tus(draft, song):
    location = draft.cut(song, 4000)
    answer = draft.ask("HEAD", location, Tus_Resumable="1.0.0")
    assert (answer.status, answer.headers["upload-offset"]) == (200, "4000")
    assert answer.headers["upload-length"] == str(len(song))
    assert "upload-complete" not in answer.headers
    fields = {**draft.server.auth, "Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    with draft.wire() as wire:
        size = str(len(song) - 4000)
        wire.request("PATCH", location, {**fields, "Upload-Offset": "4000", "Content-Length": size}, song[4000:])
        assert wire.read().status == 204
    answer = draft.ask("HEAD", location)
    assert answer.status == 200
    assert (answer.headers["upload-complete"], answer.headers["tus-resumable"]) == ("?1", "1.0.0")
    draft.check_track(draft.patch(location, len(song)), song)


def test_an_older_append_of_tus_is_ended_by_the_draft(draft, song):
    location = draft.create().headers["location"]
    fields = {**draft.server.auth, "Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    with draft.wire() as hung:
        size = str(len(song))
        hung.request("PATCH", location, {**fields, "Upload-Offset": "0", "Content-Length": size}, song[:70_000])
        time.sleep(0.2)
        draft.check_track(draft.patch(location, 70_000, song[70_000:]), song)
        assert hung.is_closed(2)


def test_a_piece_of_a_tus_upload_takes_bytes_and_is_never_a_complete_file(draft, song):
    tus = {"Tus_Resumable": "1.0.0", "Upload_Concat": "partial"}
    location = draft.ask("POST", "/uploads", Upload_Length=len(song), **tus).headers["location"]
    answer = draft.patch(location, 0, song)
    assert (answer.status, answer.headers["upload-complete"]) == (204, "?0")
    final = draft.ask("POST", "/uploads", Tus_Resumable="1.0.0", Upload_Concat=f"final;{location}")
    assert final.status == 201
