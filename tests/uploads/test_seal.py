"""What is checked when the last byte is in."""

import hashlib
from dataclasses import replace

import pytest

from service.audio.inspector import Inspector
from service.catalogue.uploads import Upload
from service.errors import DamagedAudio, DigestMismatch, InconsistentUploadLength
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from service.uploads.seal import check, seal, track_of

ID = "0123456789abcdef" * 2


@pytest.fixture
def upload() -> Upload:
    return Upload(
        upload_id=ID,
        user_id="anne",
        state="receiving",
        filename="Sea Song.mp3",
        title=None,
        offset=0,
        length=None,
        claimed_sha256=None,
        reserved_bytes=0,
        metadata=None,
        concat=None,
        boot_id="boot",
        created_at=1,
        updated_at=1,
        expires_at=2,
    )


def verdict_of(content):
    inspector = Inspector()
    inspector.feed(content)
    return inspector.finish()


def test_length_and_digest_must_be_those_that_were_announced(upload, content_of):
    content = content_of("jingle")
    verdict = verdict_of(content)
    check(upload, verdict, strict=True)
    check(replace(upload, length=len(content), claimed_sha256=hashlib.sha256(content).digest()), verdict, strict=True)
    for length in (len(content) - 1, len(content) + 1, 0):
        with pytest.raises(InconsistentUploadLength):
            check(replace(upload, length=length), verdict, strict=False)
    with pytest.raises(DigestMismatch):
        check(replace(upload, claimed_sha256=bytes(32)), verdict, strict=False)


@pytest.mark.parametrize("name", ["half", "junk_inside", "joined"])
def test_damage_matters_only_if_the_settings_are_strict(upload, content_of, name):
    verdict = verdict_of(content_of(name))
    check(upload, verdict, strict=False)
    if name != "joined" or verdict.audio.gaps:
        with pytest.raises(DamagedAudio):
            check(upload, verdict, strict=True)


def test_sealing_moves_the_bytes_from_the_spool_to_the_blobs(tmp_path, upload, content_of):
    content, spool, blobs = content_of("jingle"), Spool(tmp_path / "spool"), LocalBlobs(tmp_path / "blobs")
    part, inspector = spool.create(ID), Inspector()
    part.append([content])
    inspector.feed(content)
    verdict = seal(upload, part, inspector, blobs, strict=False)
    part.close()
    assert verdict.sha256 == hashlib.sha256(content).digest()
    assert blobs.path(ID).read_bytes() == content
    assert spool.sizes() == {}


def test_bytes_an_inspector_has_not_seen_are_never_sealed(tmp_path, upload, content_of):
    spool, blobs = Spool(tmp_path / "spool"), LocalBlobs(tmp_path / "blobs")
    part, inspector = spool.create(ID), Inspector()
    part.append([content_of("jingle"), b"more"])
    inspector.feed(content_of("jingle"))
    with pytest.raises(AssertionError):
        seal(upload, part, inspector, blobs, strict=False)
    part.close()
    assert blobs.size(ID) is None


def test_a_track_is_named_by_its_title_or_else_by_its_file(upload, content_of):
    verdict = verdict_of(content_of("jingle"))
    assert track_of(upload, verdict, "t", now=3).title == "Sea Song"
    named = track_of(replace(upload, title="Drunken Sailor"), verdict, "t", now=3)
    assert (named.title, named.filename, named.key, named.created_at) == ("Drunken Sailor", "Sea Song.mp3", ID, 3)
    assert named.duration == pytest.approx(5.0, abs=0.03)
