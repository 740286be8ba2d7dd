import asyncio
import os
import time

import pytest

from service.errors import StorageFailed
from service.storage.local import LocalBlobs
from service.storage.open_blobs import OpenBlobs


@pytest.fixture
def blobs(tmp_path):
    directory = LocalBlobs(tmp_path / "blobs", durable=False)
    for number in range(5):
        directory.path(f"{number:032x}").write_bytes(b"x" * number)
    return directory


@pytest.fixture
def opened(blobs):
    open_blobs = OpenBlobs(blobs, capacity=2)
    yield open_blobs
    open_blobs.close()


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


async def use(opened, number):
    """Open a blob and give it back; its descriptor."""
    async with opened.opened(f"{number:032x}", number) as blob:
        return blob.descriptor


async def test_a_blob_stays_open_for_the_next_one(opened):
    assert opened.take(f"{1:032x}") is None
    assert await use(opened, 1) == await use(opened, 1)


async def test_the_one_not_used_for_longest_is_closed(opened):
    first, second = await use(opened, 1), await use(opened, 2)
    await use(opened, 1)
    third = await use(opened, 3)
    assert [is_open(each) for each in (first, third)] == [True, True]
    assert opened.take(f"{2:032x}") is None
    assert third == second or not is_open(second)


async def test_one_that_is_read_is_closed_only_afterwards(opened):
    blob = await opened.open(f"{1:032x}", 1)
    await use(opened, 2)
    await use(opened, 3)
    assert is_open(blob.descriptor)
    descriptor = blob.descriptor
    opened.give_back(blob)
    assert not is_open(descriptor)


async def test_two_that_open_at_once_share_one_file(opened):
    both = await asyncio.gather(opened.open(f"{1:032x}", 1), opened.open(f"{1:032x}", 1))
    assert both[0] is both[1]
    for blob in both:
        opened.give_back(blob)


@pytest.mark.parametrize(("key", "size"), [(f"{9:032x}", 9), (f"{3:032x}", 4), ("../../etc/passwd", 1)])
async def test_what_is_not_as_the_catalogue_says_is_a_failure(opened, key, size):
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(StorageFailed):
        await opened.open(key, size)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_an_opening_nobody_waits_for_leaves_no_file_open(opened, monkeypatch):
    real, descriptors = opened._open_file, []

    def slow(key, size):
        descriptors.append(real(key, size))
        time.sleep(0.05)
        return descriptors[0]

    monkeypatch.setattr(opened, "_open_file", slow)
    task = asyncio.create_task(opened.open(f"{1:032x}", 1))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        while not descriptors or is_open(descriptors[0]):
            await asyncio.sleep(0.01)
