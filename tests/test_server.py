"""The parts of the process's life that need no process: its lock, its socket, its limits."""

import os
import resource
import socket
import subprocess
import sys

import pytest
from aiohttp import web

from service.server import KEEPALIVE_TIMEOUT_S, StartError, _listen, _raise_file_limit, locked, make_runner, run


def test_a_data_directory_is_held_by_one(settings):
    with locked(settings):
        assert settings.data_dir.stat().st_mode & 0o777 == 0o700
        with pytest.raises(StartError, match=f"process {os.getpid()}"), locked(settings):
            pass
    with locked(settings):
        pass


def test_the_lock_of_a_killed_process_is_gone(settings):
    code = (
        "import os, sys; from pathlib import Path; from service.server import locked; "
        "from service.settings import Settings\n"
        "with locked(Settings(data_dir=Path(sys.argv[1]))): print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, settings.data_dir], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("held\n", -9), done.stderr
    with locked(settings):
        pass


def test_a_directory_that_cannot_be_made_is_said_so(change_settings, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="cannot be used"), locked(change_settings(data_dir=tmp_path / "file" / "x")):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_socket_drops_readers_that_do_not_read(change_settings, host):
    try:
        listener = _listen(change_settings(host=host, port=0))
    except StartError:
        pytest.skip(f"no {host} here")
    with listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.7", "no such host"])
def test_a_port_that_cannot_be_had_is_said_so(change_settings, host):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"Cannot listen on {host}:{port}"):
            _listen(change_settings(host=host, port=port))


async def test_the_runner_sets_every_limit(settings):
    runner = make_runner(web.Application(), settings)
    options = runner._kwargs
    assert options["auto_decompress"] is False, "a packed body would be unpacked on the way"
    assert options["handler_cancellation"] is False
    assert options["keepalive_timeout"] == KEEPALIVE_TIMEOUT_S <= 75
    assert options["lingering_time"] > 0


def test_without_the_c_parser_nothing_is_served(settings, monkeypatch):
    class HttpRequestParser:
        pass

    monkeypatch.setattr("service.server.HttpRequestParser", HttpRequestParser)
    monkeypatch.setattr("service.server.set_up", lambda *arguments: None)
    with pytest.raises(StartError, match="C parser"):
        run(settings)


def test_the_service_may_open_as_many_files_as_the_system_lets_it(caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    try:
        with caplog.at_level("INFO"):
            _raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert f"at most {hard} open files" in caplog.text
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_limit_that_cannot_be_raised_stops_nothing(monkeypatch, caplog):
    def refuse(*_arguments):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr("resource.setrlimit", refuse)
    with caplog.at_level("INFO"):
        _raise_file_limit()
    assert f"at most {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} open files" in caplog.text
