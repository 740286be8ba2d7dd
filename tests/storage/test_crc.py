import os
import random
import zlib

import pytest

from service.storage.crc import BLOCK_BYTES, crc32_of


@pytest.fixture
def file(tmp_path):
    """An open file and its bytes."""
    content = random.Random(1).randbytes(2 * BLOCK_BYTES + 17)
    path = tmp_path / "file"
    path.write_bytes(content)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor, content
    os.close(descriptor)


def test_it_is_that_of_the_whole_whatever_the_turns(file):
    descriptor, content = file
    assert crc32_of(descriptor, 0, len(content)) == zlib.crc32(content)
    half = crc32_of(descriptor, 0, 1000)
    assert crc32_of(descriptor, 1000, len(content), half) == zlib.crc32(content)
    assert crc32_of(descriptor, 5, 5, 7) == 7


def test_a_file_that_ends_too_early_has_none(file):
    descriptor, content = file
    with pytest.raises(OSError, match=f"ends at byte {len(content)}"):
        crc32_of(descriptor, 0, len(content) + 1)
