"""Full and dying disks under the real process: 507 or 503, never a false 201, and everything goes on afterwards."""

import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import corpus
from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a file system of some megabytes."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    mounted = []

    def mount(options: str):
        directory = tmp_path / f"disk{len(mounted)}"
        directory.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"mounting is not possible here: {done.stderr.strip()}")
        mounted.append(directory)
        return directory

    yield mount
    for directory in mounted:
        subprocess.run(["umount", "--lazy", directory], check=True)


@pytest.fixture(scope="module")
def four_mb(corpus_dir):
    return corpus.big(corpus_dir, 4 << 20)


def spool_of(server):
    return list((server.data_dir / "spool").iterdir())


def blobs_of(server):
    return [path for path in (server.data_dir / "blobs").rglob("*") if path.is_file()]


def put(server, path, *more):
    return server.curl("/spool/", "-T", path, *more)


def unlike(path, tmp_path, number):
    """A copy whose bytes are its own, so that no blob is shared."""
    copy = tmp_path / f"{number}.mp3"
    content = bytearray(path.read_bytes())
    content[-400:-390] = b"%010d" % number
    copy.write_bytes(content)
    return copy


@pytest.mark.parametrize("chunked", [False, True])
def test_a_full_disk_refuses_and_serves_again_when_there_is_room(make_server, small_disk, four_mb, tmp_path, chunked):
    disk = small_disk("size=20m")
    server = make_server(data_dir=disk / "data")
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(2 << 20))
    more = ("-H", "Transfer-Encoding: chunked") if chunked else ()
    paths = [unlike(four_mb, tmp_path, number) for number in range(6)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda path: put(server, path, *more), paths))
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {201, 507}, [answer.body for answer in answers]
    assert statuses.count(507) >= 2
    stored = [answer.json() for answer in answers if answer.status == 201]
    assert {answer.json()["type"] for answer in answers if answer.status == 507} == {"/problems/storage-full"}
    assert spool_of(server) == []
    assert len(blobs_of(server)) == len(stored)
    for track in stored:
        assert len(server.curl(track["url"]).body) == track["size"]
    ballast.unlink()
    last = blobs_of(server)
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    time.sleep(0.3)
    assert put(server, unlike(four_mb, tmp_path, 77), *more).status == 201
    assert len(blobs_of(server)) == len(last) + 1
    assert server.curl("/readyz").status == 200
    assert "Traceback" not in server.log


def test_a_disk_without_inodes_refuses(make_server, small_disk, path_of):
    disk = small_disk("size=64m,nr_inodes=290")
    server = make_server(data_dir=disk / "data")
    fillers = []
    while True:
        try:
            (disk / f"filler{len(fillers)}").touch()
        except OSError:
            break
        fillers.append(disk / f"filler{len(fillers)}")
    answer = put(server, path_of("jingle"))
    assert (answer.status, answer.json()["type"]) == (507, "/problems/storage-full")
    for path in fillers:
        path.unlink()
    assert put(server, path_of("jingle")).status == 201
    assert "Traceback" not in server.log


def test_a_reserve_keeps_uploads_from_filling_the_disk(make_server, small_disk, four_mb, tmp_path):
    disk = small_disk("size=24m")
    server = make_server(data_dir=disk / "data", free_space_reserve_bytes=10 << 20)
    statuses = [put(server, unlike(four_mb, tmp_path, number)).status for number in range(4)]
    assert statuses[0] == 201
    assert statuses[-1] == 507
    assert shutil.disk_usage(disk).free >= (10 << 20) - (1 << 20)
    assert server.curl("/readyz").status in (200, 503)
    assert server.curl("/livez").status == 200


def test_a_limit_on_the_size_of_files_is_a_full_disk(make_server, four_mb, path_of):
    server = make_server(command=("prlimit", f"--fsize={2 << 20}"))
    answer = put(server, four_mb)
    assert (answer.status, answer.json()["type"]) == (507, "/problems/storage-full")
    assert spool_of(server) == []
    assert put(server, path_of("jingle")).status == 201


FAULTS = [
    ("pwritev2", "EIO", 503),
    ("pwritev2", "ENOSPC", 507),
    ("pwritev2", "EDQUOT", 507),
    ("rename", "EIO", 503),
    ("fdatasync", "EIO", 503),
    ("fdatasync", "ENOSPC", None),
]


@pytest.fixture
def injected(tmp_path, path_of):
    """A function that starts a server, with one track, whose system calls fail from a moment on."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    servers = []

    def start(call: str, error: str):
        server = Server(tmp_path).start()
        servers.append(server)
        assert put(server, path_of("mono")).status == 201
        server.terminate()
        server.command = ("strace", "-D", "-f", "-o", "/dev/null", "-e", f"trace={call}")
        server.command += ("-e", f"inject={call}:error={error}")
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize(("call", "error", "status"), FAULTS)
def test_a_system_call_that_fails_is_never_a_receipt(injected, path_of, call, error, status):
    server = injected(call, error)
    (track,) = server.get_json("/tracks")["items"]
    for _ in range(3):
        answer = put(server, path_of("jingle"))
        assert answer.status == status or (status is None and answer.status in (503, 507)), answer.body
    if status == 503:
        assert server.curl("/readyz").status == 503
        assert put(server, path_of("jingle")).status == 503
    assert server.curl(track["url"]).body == path_of("mono").read_bytes(), "what is stored can be read"
    assert len(server.get_json("/tracks")["items"]) == 1
    assert "Traceback" not in server.log, server.log
    assert "ERROR" in server.log.upper(), "nobody would know"
    server.kill()
    server.command = ()
    server.start()
    assert put(server, path_of("jingle")).status == 201
    assert server.curl("/readyz").status == 200
    uploads_left = spool_of(server)
    assert len(uploads_left) == 0, uploads_left


def test_a_failed_flush_over_http(tmp_path, path_of, injected):
    """One that fails once is one 503; the next upload is fine."""
    server = injected("rename", "EIO")
    server.kill()
    server.command = (*server.command[:-1], "inject=rename:error=EIO:when=1")
    server.start()
    assert put(server, path_of("jingle")).status in (503, 201)
    statuses = [put(server, path_of("jingle")).status for _ in range(12)]
    assert 201 in statuses
    assert server.curl("/readyz").status in (200, 503)
