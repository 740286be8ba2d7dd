"""The blob directory."""

import os
import stat
from pathlib import Path

import pytest

from service.storage.local import LocalBlobs
from service.storage.spool import Spool

KEY = "ab34" + "0" * 28


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "part"
    path.write_bytes(b"bytes")
    return path


def test_a_part_becomes_a_blob_by_its_key(blobs, part):
    blobs.adopt(part, KEY)
    assert not part.exists()
    assert blobs.path(KEY) == blobs.directory / "ab" / KEY
    assert blobs.size(KEY) == 5
    descriptor = blobs.open(KEY)
    assert os.read(descriptor, 10) == b"bytes"
    os.close(descriptor)


def test_a_blob_can_be_deleted_more_than_once(blobs, part):
    blobs.adopt(part, KEY)
    blobs.delete(KEY)
    blobs.delete(KEY)
    assert blobs.size(KEY) is None
    with pytest.raises(FileNotFoundError):
        blobs.open(KEY)


@pytest.mark.parametrize("key", ["", "..", "../" * 10 + "aa", "A" * 32, "a" * 31, "a" * 33, "a" * 31 + "/", "ü" * 32])
def test_only_keys_are_names(blobs, part, key):
    for method in (blobs.path, blobs.size, blobs.open, blobs.delete, blobs.flush, lambda key: blobs.adopt(part, key)):
        with pytest.raises(ValueError):
            method(key)
    assert part.exists()


def test_links_are_not_followed(blobs, part):
    blobs.path(KEY).symlink_to(part)
    with pytest.raises(OSError, match=r"."):
        blobs.open(KEY)


def test_a_failed_flush_puts_the_part_back(blobs, part, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        blobs.adopt(part, KEY)
    assert part.read_bytes() == b"bytes"
    assert blobs.size(KEY) is None


def test_the_new_name_is_flushed_after_the_rename(blobs, part, monkeypatch):
    seen, fsync = [], os.fsync

    def note(descriptor):
        seen.append((Path(f"/proc/self/fd/{descriptor}").readlink(), blobs.path(KEY).exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    blobs.adopt(part, KEY)
    assert seen == [(blobs.path(KEY).parent, True)]


def test_relaxed_durability_flushes_nothing(tmp_path, part, monkeypatch):
    def fail(descriptor):
        raise AssertionError("flushed")

    monkeypatch.setattr(os, "fsync", fail)
    blobs = LocalBlobs(tmp_path / "relaxed", durable=False)
    blobs.adopt(part, KEY)
    blobs.flush(KEY)
    blobs.delete(KEY)


def test_nobody_else_may_look(blobs):
    assert stat.S_IMODE(blobs.directory.stat().st_mode) == 0o700
    assert len(list(blobs.directory.iterdir())) == 256


def test_a_second_start_finds_its_blobs(blobs, part):
    blobs.adopt(part, KEY)
    assert LocalBlobs(blobs.directory).size(KEY) == 5


@pytest.mark.parametrize("kind", [LocalBlobs, Spool])
def test_the_name_of_a_new_directory_survives_a_power_loss(tmp_path, monkeypatch, kind):
    seen, fsync = [], os.fsync

    def note(descriptor):
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    kind(tmp_path / "new")
    assert tmp_path in seen
