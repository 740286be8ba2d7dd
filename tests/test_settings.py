"""Settings: defaults, values from the environment and from files, and all that is wrong told at once."""

import dataclasses
from ipaddress import ip_network
from pathlib import Path

import pytest

from service.settings import GIB, Settings, SettingsError


@pytest.fixture
def read(monkeypatch):
    """A function that reads the settings from an environment with only these variables."""

    def read(**values) -> Settings:
        import os

        for name in list(os.environ):
            if name.startswith("YARRR_"):
                monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(f"YARRR_{name.upper()}", str(value))
        return Settings.from_environment()

    return read


def test_without_variables_the_defaults_hold(read):
    assert read() == Settings()
    assert (Settings().port, Settings().max_upload_bytes, Settings().data_dir) == (8080, 2 * GIB, Path("var"))


def test_every_kind_is_read(read):
    settings = read(
        data_dir="/srv/yarrr",
        port=0,
        body_idle_timeout_s="2.5",
        strict_audio="yes",
        durability="relaxed",
        frontend_url="http://localhost:5173/",
        cors_origins="https://a.example, https://b.example:8443/",
        trusted_proxies="10.0.0.0/8,::1",
        public_url="https://music.example",
    )
    assert settings.data_dir == Path("/srv/yarrr")
    assert (settings.port, settings.body_idle_timeout_s, settings.strict_audio) == (0, 2.5, True)
    assert settings.frontend_url == "http://localhost:5173"
    assert settings.cors_origins == ("https://a.example", "https://b.example:8443")
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert settings.is_https
    assert not Settings(public_url="http://music.example").is_https


BAD = {
    "port": ["-1", "65536", "http", "1.5"],
    "max_upload_bytes": ["0", "-1", "2GB"],
    "quota_bytes": ["0"],
    "body_idle_timeout_s": ["0", "soon"],
    "drain_timeout_s": ["-1"],
    "free_space_reserve_bytes": ["-1"],
    "durability": ["perhaps"],
    "log_level": ["LOUD"],
    "log_format": ["xml"],
    "strict_audio": ["perhaps"],
    "argon2_memory_kib": ["1"],
    "min_password_length": ["3"],
    "public_url": ["music.example", "ftp://music.example", "http://", "http://x:port", "http://[::1"],
    "frontend_url": ["localhost:5173"],
    "cors_origins": ["*", "https://a.example/path", "a.example"],
    "trusted_proxies": ["10.0.0.1/8", "localhost"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_told_by_its_name(read, name, value):
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    assert list(caught.value.errors) == [f"YARRR_{name.upper()}"]
    assert caught.value.errors[f"YARRR_{name.upper()}"][0]


def test_all_bad_values_are_told_at_once(read):
    with pytest.raises(SettingsError) as caught:
        read(**{name: values[0] for name, values in BAD.items()})
    assert set(caught.value.errors) == {f"YARRR_{name.upper()}" for name in BAD}
    assert all(f"YARRR_{name.upper()}" in str(caught.value) for name in BAD)


def test_a_secret_may_lie_in_a_file(read, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("correct horse battery\n")
    assert read(admin_password_file=secret).admin_password == "correct horse battery"
    with pytest.raises(SettingsError) as caught:
        read(admin_password_file=tmp_path / "missing", port="x")
    assert "YARRR_PORT" in caught.value.errors
    assert len(caught.value.errors) == 2


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_each_setting_says_what_it_is_for():
    for each in dataclasses.fields(Settings):
        assert each.metadata["help"].strip(), each.name
        assert not each.metadata["help"].endswith("."), each.name
