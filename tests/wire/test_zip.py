import io
import shutil
import subprocess
import zipfile
import zlib
from datetime import UTC, datetime

import pytest

from service.wire.zip import Archive, Entry

MOMENT = datetime(2026, 11, 22, 16, 10, 31, tzinfo=UTC)
FILES = {"01 - Zoë - Ωmega 音.mp3": b"one" * 1000, "02 - empty.mp3": b"", "03 - x.mp3": bytes(range(256))}
GIB = 1 << 30


def layout(files, moment=MOMENT):
    return Archive([Entry(name.encode(), len(content), moment) for name, content in files.items()])


def packed(files):
    """The whole archive, each part at the place that was foretold."""
    archive = layout(files)
    found = io.BytesIO()
    crcs = [zlib.crc32(content) for content in files.values()]
    for number, content in enumerate(files.values()):
        assert found.tell() == archive.headers[number]
        found.write(archive.header(number, crcs[number]))
        assert found.tell() == archive.starts[number]
        found.write(content)
    assert found.tell() == archive.directory
    for number, crc in enumerate(crcs):
        found.write(archive.record(number, crc))
    assert found.tell() == archive.end
    found.write(archive.ending())
    assert found.tell() == archive.size
    return found.getvalue()


def test_an_archive_is_read_as_it_was_written():
    with zipfile.ZipFile(io.BytesIO(packed(FILES))) as read:
        assert read.testzip() is None
        assert {each.filename: read.read(each) for each in read.infolist()} == FILES
        for each in read.infolist():
            assert each.date_time == (2026, 11, 22, 16, 10, 30)
            assert (each.compress_type, each.flag_bits, each.external_attr >> 16) == (
                zipfile.ZIP_STORED,
                0x800,
                0o100644,
            )


def test_an_archive_of_nothing_is_one():
    with zipfile.ZipFile(io.BytesIO(packed({}))) as read:
        assert read.namelist() == []


TOOLS = {
    "unzip": ["unzip", "-q", "a.zip", "-d", "out"],
    "bsdtar": ["bsdtar", "-xf", "a.zip", "-C", "out"],
    "7z": ["7z", "x", "-bd", "-oout", "a.zip"],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_others_unpack_it(tmp_path, tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    (tmp_path / "a.zip").write_bytes(packed(FILES))
    (tmp_path / "out").mkdir()
    subprocess.run(TOOLS[tool], cwd=tmp_path, check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == FILES


def test_who_cannot_seek_reads_it_from_its_front(tmp_path):
    """Which is where a stored file with a data descriptor is lost."""
    if shutil.which("bsdtar") is None:
        pytest.skip("bsdtar is not installed")
    done = subprocess.run(["bsdtar", "-xOf", "-"], input=packed(FILES), capture_output=True, check=True)
    assert done.stdout == b"".join(FILES.values())


def test_more_files_than_16_bits_can_count():
    files = {f"{number:06}.mp3": b"" for number in range(65_536)}
    with zipfile.ZipFile(io.BytesIO(packed(files))) as read:
        assert len(read.infolist()) == 65_536
    assert b"PK\6\6" not in packed(dict(list(files.items())[:65_534]))[-200:]


@pytest.mark.parametrize(
    "sizes", [(4 * GIB, 5), (GIB, 3 * GIB, 5), (4 * GIB - 1, 5), (4 * GIB - 2, 5), (9 * GIB, 5 * GIB, 5)]
)
def test_more_bytes_than_32_bits_can_count(tmp_path, sizes):
    """In a file with holes: nobody has to write gigabytes to see where everything lies."""
    archive = Archive([Entry(f"{number}.mp3".encode(), size, MOMENT) for number, size in enumerate(sizes)])
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        for number in range(len(sizes)):
            file.seek(archive.headers[number])
            file.write(archive.header(number, zlib.crc32(b"music")))
            assert file.tell() == archive.starts[number]
        file.write(b"music")
        for number in range(len(sizes)):
            file.write(archive.record(number, zlib.crc32(b"music")))
        file.write(archive.ending())
        assert file.tell() == archive.size
    with zipfile.ZipFile(path) as read:
        assert [each.file_size for each in read.infolist()] == list(sizes)
        assert [each.header_offset for each in read.infolist()] == archive.headers
        assert read.read(read.infolist()[-1]) == b"music"
    name = f"{len(sizes) - 1}.mp3"
    for command in (["unzip", "-p", path, name], ["7z", "x", "-so", path, name]):
        if command[0] == "unzip" and 4 * GIB - 1 in sizes:
            continue  # it takes the flag that a size is elsewhere, and the size that looks like it, for one another
        if shutil.which(command[0]):
            assert subprocess.run(command, capture_output=True, check=True).stdout == b"music"


@pytest.mark.parametrize("year", [1970, 2030])
def test_times_that_no_disk_operating_system_knew(year):
    archive = layout({"a": b""}, datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC))
    data = archive.header(0, 0) + archive.record(0, 0) + archive.ending()
    with zipfile.ZipFile(io.BytesIO(data)) as read:
        expected = (1980, 1, 1, 0, 0, 0) if year == 1970 else (2030, 2, 3, 4, 5, 6)
        assert read.infolist()[0].date_time == expected
