import os

import pytest

from service.cli import main

TOKEN = "secret-token-5d41402a"


@pytest.fixture
def run(monkeypatch, capfd):
    """A function that runs `yarrr upload`: exit code, standard output, standard error."""
    monkeypatch.setenv("YARRR_SERVER", "http://127.0.0.1:1")
    monkeypatch.setenv("YARRR_TOKEN", TOKEN)
    monkeypatch.delenv("YARRR_TOKEN_FILE", raising=False)

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(("upload", *arguments))
        return caught.value.code, *capfd.readouterr()

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["song.mp3", "--jobs", "0"],
        ["song.mp3", "--server", "ftp://music.example"],
        ["song.mp3", "--server", "music.example"],
        ["song.mp3", "--server", "http://music.example:port"],
        ["song.mp3", "--server", "http://user:pass@music.example"],
        ["song.mp3", "--token", f"two {TOKEN}"],
        ["song.mp3", "--token", f"{TOKEN}\nline"],
        ["song.mp3", "--token", ""],
        ["song.mp3", "--token", TOKEN, "--token-file", os.devnull],
        ["song.mp3", "--token-file", "/missing"],
        ["song.mp3", "--token-file", os.devnull],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2_and_shows_no_token(run, arguments):
    code, output, told = run(*arguments)
    assert code == 2
    assert output == ""
    assert "Usage" in told or "Error" in told
    assert TOKEN not in told


@pytest.mark.parametrize("missing", ["YARRR_TOKEN", "YARRR_SERVER"])
def test_server_and_token_have_to_be_given(run, monkeypatch, missing):
    monkeypatch.delenv(missing)
    code, _, told = run("song.mp3")
    assert code == 2
    assert missing in told


def test_help_names_the_variables_and_shows_no_token(run):
    code, output, _ = run("--help")
    assert code == 0
    assert "YARRR_TOKEN" in output
    assert "YARRR_SERVER" in output
    assert TOKEN not in output
