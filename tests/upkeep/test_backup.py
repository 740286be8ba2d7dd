import os
import sqlite3
from contextlib import closing

import pytest

from service.catalogue import inventory
from service.upkeep import backup
from service.upkeep.backup import NoPlace, back_up, prepare
from service.upkeep.fsck import check


@pytest.fixture
def target(tmp_path, data):
    target = tmp_path / "backup"
    prepare(data.path, target)
    return target


def titles(directory):
    with closing(sqlite3.connect(directory / "catalogue.db")) as connection:
        return [title for (title,) in connection.execute("SELECT title FROM tracks ORDER BY title")]


def test_a_backup_is_a_data_directory(data, target):
    keys = [data.add(number) for number in (1, 2)]
    data.add_cover(b"c" * 32)
    result = back_up(data.path, target)
    assert (result.blobs, result.copied, result.copied_bytes, result.faults) == (2, 2, 28, [])
    assert list(check(target)) == []
    assert titles(target) == ["song 1", "song 2"]
    for key in keys:
        copied = target / "blobs" / key[:2] / key
        assert copied.read_bytes() == data.blobs.path(key).read_bytes()
    assert len(list((target / "covers").rglob("*.jpg"))) == 5


def test_the_next_one_copies_what_is_new_and_removes_what_is_over(data, target):
    for number in (1, 2):
        data.add(number)
    data.add_cover(b"c" * 32)
    back_up(data.path, target)
    data.add(3)
    data.remove(1)
    data.write("DELETE FROM covers")
    data.add_cover(b"d" * 32)
    result = back_up(data.path, target)
    assert (result.blobs, result.copied, result.removed) == (2, 1, 1)
    assert list(check(target)) == []
    assert titles(target) == ["song 2", "song 3"]
    assert {path.parent.name for path in (target / "covers").rglob("*.jpg")} == {(b"d" * 32).hex()}


def test_unfinished_uploads_are_not_in_it(data, target):
    data.add_upload("ab" * 16, 5, b"12345")
    data.blobs.path("cd" * 16).write_bytes(b"nobody knows it yet")
    back_up(data.path, target)
    assert not (target / "spool").exists()
    assert list(target.glob("blobs/??/*")) == []


def test_what_is_damaged_is_told_and_the_good_copy_stays(data, target):
    key = data.add(1)
    back_up(data.path, target)
    copied = target / "blobs" / key[:2] / key
    data.blobs.path(key).write_bytes(b"the bytes of 9")
    other = data.add(2)
    data.blobs.path(other).write_bytes(b"the bytes of 9")
    lost = data.add(3)
    data.blobs.path(lost).unlink()
    result = back_up(data.path, target)
    wrong, lacking = result.faults
    assert wrong.startswith(f"blob {other} has the SHA-256")
    assert lacking == f"blob {lost} cannot be read: No such file or directory"
    assert copied.read_bytes() == b"the bytes of 1"
    assert titles(target) == ["song 1", "song 2", "song 3"], "what is left is worth having"
    assert [path.name for path in target.glob("blobs/??/*")] == [key]


def test_a_file_that_was_cut_off_by_a_crash_is_copied_again(data, target):
    key = data.add(1)
    back_up(data.path, target)
    (target / "blobs" / key[:2] / key).write_bytes(b"the")
    assert back_up(data.path, target).copied == 1
    assert list(check(target)) == []


def test_what_the_service_removes_meanwhile_is_no_fault(data, target, monkeypatch):
    """The copy of the catalogue lists it, and its file goes before it is its turn."""
    for number in (1, 2):
        data.add(number)
    copy = inventory.copy

    def copy_then_remove(*arguments):
        copy(*arguments)
        if len(titles(data.path)) == 2:
            data.remove(2)

    monkeypatch.setattr(inventory, "copy", copy_then_remove)
    result = back_up(data.path, target)
    assert (result.blobs, result.faults) == (1, [])
    assert titles(target) == ["song 1"]
    assert list(check(target)) == []


def test_a_service_that_removes_all_the_time_is_told(data, target, monkeypatch):
    copy, numbers = inventory.copy, iter(range(10))

    def copy_then_remove(*arguments):
        number = next(numbers)
        data.add(number)
        copy(*arguments)
        data.remove(number)

    monkeypatch.setattr(inventory, "copy", copy_then_remove)
    assert back_up(data.path, target).faults == [
        "blobs were removed while they were to be copied; make the backup once more"
    ]


def test_a_backup_that_ends_half_way_is_the_one_before(data, target, monkeypatch):
    data.add(1)
    back_up(data.path, target)
    data.add(2)
    data.add(3)
    copy = backup._copy

    def fill_up(source, to, digest):
        if to.name == f"{3:032x}":
            to.with_suffix(".new").write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return copy(source, to, digest)

    with monkeypatch.context() as patch:
        patch.setattr(backup, "_copy", fill_up)
        with pytest.raises(OSError, match="No space"):
            back_up(data.path, target)
    assert titles(target) == ["song 1"]
    assert [fault for fault in check(target) if "has no row" not in fault] == []
    assert back_up(data.path, target).copied == 1
    assert list(check(target)) == []


def test_a_log_of_the_catalogue_before_is_not_taken_for_one_of_the_new(data, target):
    data.add(1)
    back_up(data.path, target)
    served = sqlite3.connect(target / "catalogue.db", isolation_level=None)
    served.execute("UPDATE tracks SET title = 'from the log'")
    for suffix in ("-wal", "-shm"):  # as a service leaves them that is killed
        os.link(target / f"catalogue.db{suffix}", target / f"kept{suffix}")
    served.close()
    for suffix in ("-wal", "-shm"):
        (target / f"kept{suffix}").replace(target / f"catalogue.db{suffix}")
    back_up(data.path, target)
    assert titles(target) == ["song 1"]


def test_the_log_of_a_service_counts(data, target):
    with data.opened() as connection:
        connection.execute("SELECT * FROM users").fetchall()  # who reads keeps the log from being folded
        data.add(1)
        assert (data.path / "catalogue.db-wal").stat().st_size > 0
        back_up(data.path, target)
    assert titles(target) == ["song 1"]


@pytest.mark.parametrize("where", [".", "..", "blobs/backup"])
def test_a_backup_does_not_lie_in_what_it_copies(data, where):
    with pytest.raises(NoPlace, match="lie in each other"):
        prepare(data.path, data.path / where)


def test_what_is_no_backup_is_left_alone(data, tmp_path):
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").touch()
    with pytest.raises(NoPlace, match="neither empty nor a backup"):
        prepare(data.path, other)
    assert [path.name for path in other.iterdir()] == ["cat.jpg"]


def test_a_backup_is_for_its_owner_only(data, target):
    data.add(1)
    back_up(data.path, target)
    assert target.stat().st_mode & 0o077 == 0
    assert (target / "catalogue.db").stat().st_mode & 0o077 == 0
