"""The directory of rendered covers."""

import os
from pathlib import Path

import pytest

from service.storage.covers import SIZES, LocalCovers

DIGEST = bytes(range(32))
IMAGES = {size: b"picture %d" % size for size in SIZES}


@pytest.fixture
def covers(tmp_path):
    return LocalCovers(tmp_path / "covers")


def files(covers):
    return sorted(path for path in covers.directory.rglob("*") if path.is_file())


def test_a_picture_is_read_as_it_was_put(covers):
    covers.put(DIGEST, IMAGES)
    assert {size: covers.read(DIGEST, size) for size in SIZES} == IMAGES
    assert files(covers) == sorted(covers.path(DIGEST, size) for size in SIZES)
    assert covers.directory.stat().st_mode & 0o777 == 0o700


def test_putting_it_again_takes_the_place_of_what_was_there(covers):
    covers.put(DIGEST, dict.fromkeys(SIZES, b"old"))
    covers.put(DIGEST, IMAGES)
    assert covers.read(DIGEST, 64) == b"picture 64"
    assert len(files(covers)) == len(SIZES)


def test_flushing_is_for_every_file_and_every_name(covers, monkeypatch):
    covers.put(DIGEST, IMAGES)
    seen, fsync = [], os.fsync

    def note(descriptor):
        seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    covers.flush(DIGEST)
    folder = covers.folder(DIGEST)
    files = [str(covers.path(DIGEST, size)) for size in SIZES]
    assert seen == [*files, str(folder), str(folder.parent), str(covers.directory)]


def test_nothing_is_flushed_where_durability_is_relaxed(tmp_path, monkeypatch):
    covers = LocalCovers(tmp_path / "covers", durable=False)
    covers.put(DIGEST, IMAGES)
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("flushed"))
    covers.flush(DIGEST)


def test_what_is_not_there_or_empty_after_a_power_loss_is_not_read(covers):
    assert covers.read(DIGEST, 64) is None
    covers.put(DIGEST, IMAGES)
    covers.path(DIGEST, 64).write_bytes(b"")
    covers.path(DIGEST, 128).unlink()
    assert (covers.read(DIGEST, 64), covers.read(DIGEST, 128)) == (None, None)


def test_deleting_takes_all_sizes_and_only_those(covers):
    other = DIGEST[:31] + b"x"
    covers.put(DIGEST, IMAGES)
    covers.put(other, IMAGES)
    covers.delete(DIGEST)
    covers.delete(DIGEST)
    assert covers.read(DIGEST, 64) is None
    assert covers.read(other, 64) == b"picture 64"


def test_a_disk_that_fails_leaves_no_piece_and_not_half_a_picture(covers, monkeypatch):
    covers.put(DIGEST, IMAGES)

    def full(_source, _target):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            covers.put(DIGEST, dict.fromkeys(SIZES, b"new"))
    assert len(files(covers)) == len(SIZES)
    assert covers.read(DIGEST, 64) == b"picture 64"
