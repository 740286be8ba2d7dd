import pytest

from service.upkeep.fsck import check

KEY = "ab" * 16


def test_nothing_is_wrong_with_what_the_service_leaves(data):
    keys = [data.add(number) for number in range(3)]
    data.add_upload(KEY, 5, b"12345 and more")
    data.write("INSERT INTO reserved_keys (key) VALUES ('" + "cd" * 16 + "')")
    data.blobs.path("cd" * 16).write_bytes(b"on its way")
    assert list(check(data.path)) == []
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lambda path: path.unlink(), "has no file"),
        (lambda path: path.write_bytes(b"short"), "has 5 bytes, not 14"),
        (lambda path: path.write_bytes(b"the bytes of 8"), "has the SHA-256"),
    ],
)
def test_a_blob_that_is_not_what_the_catalogue_says_is_found(data, harm, fault):
    data.add(6)
    key = data.add(7)
    harm(data.blobs.path(key))
    (found,) = check(data.path)
    assert found.startswith(f"blob {key} {fault}")


def test_quickly_only_sizes_are_compared(data):
    data.blobs.path(data.add(7)).write_bytes(b"the bytes of 8")
    data.blobs.path(data.add(17)).write_bytes(b"the bytes")
    (found,) = check(data.path, is_quick=True)
    assert "has 9 bytes, not 15" in found


def test_files_nobody_knows_are_found(data):
    data.blobs.path(KEY).write_bytes(b"lost")
    data.spool.path("cd" * 16).write_bytes(b"lost")
    assert list(check(data.path)) == [f"blobs/ab/{KEY} of 4 bytes has no row", f"spool/{'cd' * 16}.part has no row"]


@pytest.mark.parametrize(("content", "count"), [(b"1234", 4), (None, 0)])
def test_an_upload_that_lacks_what_it_was_promised_is_found(data, content, count):
    data.add_upload(KEY, 5, content)
    assert list(check(data.path)) == [f"upload {KEY} has {count} bytes of the 5 it was promised"]


def test_an_upload_that_is_a_blob_already_lacks_nothing(data):
    data.add_upload(KEY, 5, None)
    data.blobs.path(KEY).write_bytes(b"12345")
    assert list(check(data.path)) == []


def test_what_is_gone_meanwhile_is_no_fault(data):
    for number in range(3):
        data.add(number)
    data.blobs.path(f"{1:032x}").unlink()
    faults = check(data.path)
    assert next(faults).startswith(f"blob {1:032x} has no file")
    data.blobs.path(f"{2:032x}").write_bytes(b"")
    data.remove(2)  # between its row and its file
    assert list(faults) == []


def test_accounts_that_do_not_add_up_are_found(data):
    data.add(1)
    data.write("UPDATE users SET used_tracks = 2")
    assert list(check(data.path)) == [
        "the account of name of u1 says (bytes, tracks, reserved) (14, 2, 0), and its rows (14, 1, 0)"
    ]


def test_rows_that_refer_to_nothing_are_found(data):
    key = data.add(1)
    data.write("PRAGMA foreign_keys = OFF")
    data.write("DELETE FROM blobs")
    faults = list(check(data.path))
    assert any("refers to a row of blobs that is not there" in fault for fault in faults)
    assert f"track {1:026d} has a blob that is not what it says" in faults
    assert f"blobs/00/{key} of 14 bytes has no row" in faults
