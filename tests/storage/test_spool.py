"""The spool: bytes in order, names that lead nowhere else."""

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.storage import spool as module
from service.storage.spool import Spool

ID = "0123456789abcdef" * 2


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


def test_chunks_are_appended_in_order_and_read_back(spool):
    part = spool.create(ID)
    part.append([b"one ", b"", b"two "])
    part.append([b"three"])
    assert part.offset == spool.size(ID) == 13
    assert part.read(100, 0) == b"one two three"
    assert part.read(3, 4) == b"two"
    part.sync()
    part.close()
    part.close()
    assert spool.path(ID).read_bytes() == b"one two three"


def test_more_chunks_than_one_system_call_takes(spool):
    part = spool.create(ID)
    chunks = [bytes([number % 251]) for number in range(module.IOV_MAX * 2 + 5)]
    part.append(chunks)
    assert part.read(len(chunks), 0) == b"".join(chunks)
    part.close()


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_whatever_the_kernel_takes_at_once_nothing_is_lost(tmp_path_factory, chunks, takes):
    spool = Spool(tmp_path_factory.mktemp("spool"))
    write, calls = os.pwritev, iter(takes * 200)

    def partly(descriptor, buffers, offset):
        return write(descriptor, [b"".join(bytes(each) for each in buffers)[: next(calls)]], offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.os, "pwritev", partly)
        part = spool.create(ID)
        part.append(chunks)
    assert part.offset == len(b"".join(chunks))
    assert part.read(1000, 0) == b"".join(chunks)
    part.close()


def test_a_part_goes_on_at_its_end(spool):
    part = spool.create(ID)
    part.append([b"half "])
    part.close()
    again = spool.open(ID)
    again.append([b"whole"])
    again.close()
    assert spool.path(ID).read_bytes() == b"half whole"


def test_truncating_takes_the_offset_back(spool):
    part = spool.create(ID)
    part.append([b"0123456789"])
    part.truncate(4)
    part.append([b"x"])
    part.close()
    assert spool.path(ID).read_bytes() == b"0123x"


def test_early_write_back_changes_nothing(spool, monkeypatch):
    monkeypatch.setattr(module, "WRITE_BACK_BYTES", 10)
    part = spool.create(ID)
    for _ in range(5):
        part.append([b"0123456"])
    part.truncate(3)
    part.append([b"0123456789abc"])
    part.sync()
    part.close()
    assert spool.path(ID).read_bytes() == b"0120123456789abc"


def test_a_second_part_of_one_upload_is_refused(spool):
    spool.create(ID).close()
    with pytest.raises(FileExistsError):
        spool.create(ID)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\0b", "song.mp3", "x" * 3 + "/"])
def test_only_ids_are_names(spool, name):
    for method in (spool.path, spool.create, spool.open, spool.size, spool.delete):
        with pytest.raises(ValueError):
            method(name)


def test_links_are_not_followed(spool, tmp_path):
    target = tmp_path / "victim"
    target.write_text("precious")
    spool.path(ID).symlink_to(target)
    with pytest.raises(OSError, match=r"."):
        spool.open(ID)
    with pytest.raises(FileExistsError):
        spool.create(ID)
    spool.delete(ID)
    assert target.read_text() == "precious"


def test_a_missing_part_has_no_size_and_can_be_deleted(spool):
    assert spool.size(ID) is None
    spool.delete(ID)
    with pytest.raises(FileNotFoundError):
        spool.open(ID)


def test_only_parts_are_listed(spool):
    spool.create(ID).close()
    (spool.directory / "README").write_text("not a part")
    assert spool.sizes() == {ID: 0}


def test_nobody_else_may_read(spool):
    spool.create(ID).close()
    assert stat.S_IMODE(spool.path(ID).stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o700


def test_free_space_is_that_of_the_disk(spool):
    status = os.statvfs(spool.directory)
    assert abs(spool.free_bytes() - status.f_bavail * status.f_frsize) < 1 << 30


def test_full_durability_flushes_and_relaxed_does_not(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fdatasync", flushed.append)
    monkeypatch.setattr(os, "fsync", flushed.append)
    for durable in (True, False):
        spool = Spool(tmp_path / f"{durable}", durable=durable)
        part = spool.create(ID)
        part.append([b"x"])
        part.sync()
        spool.flush()
        part.close()
        assert len(flushed) == 3
