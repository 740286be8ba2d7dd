"""All that can be configured: environment variables ``YARRR_…``, each optional, secrets also as ``YARRR_…_FILE``."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from environs import EnvValidationError, FileAwareEnv
from marshmallow import ValidationError
from marshmallow.validate import OneOf, Range

MIB = 1 << 20
GIB = 1 << 30

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """One or more settings have a value that cannot be used; ``errors`` maps the variable to what is wrong."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__("; ".join(f"{name}: {' '.join(texts)}" for name, texts in sorted(errors.items())))
        self.errors = errors


def setting(default: Any, help_text: str, kind: str = "int", *, secret: bool = False, validate: Any = None) -> Any:
    """A field of `Settings`: its default, one line of help, and how the text of the variable is read."""
    return field(default=default, metadata={"help": help_text, "kind": kind, "secret": secret, "validate": validate})


POSITIVE = Range(min=0, min_inclusive=False)
NOT_NEGATIVE = Range(min=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One value per setting. Sizes are bytes (``_bytes``), durations seconds (``_s``)."""

    data_dir: Path = setting(Path("var"), "Catalogue, spool and blobs, all on one file system", "path")
    host: str = setting("127.0.0.1", "Address to listen on", "str")
    port: int = setting(8080, "Port to listen on; 0 takes a free one", validate=Range(min=0, max=65535))
    public_url: str | None = setting(
        None, "The service's URL as its users see it; with https cookies become Secure", "http_url"
    )
    admin_password: str | None = setting(
        None, "Password of the first user `admin`; without it a random one is printed once", "str", secret=True
    )
    max_upload_bytes: int = setting(2 * GIB, "Largest upload", validate=POSITIVE)
    quota_bytes: int = setting(50 * GIB, "How much one user may store", validate=POSITIVE)
    quota_tracks: int = setting(20_000, "How many tracks one user may store", validate=POSITIVE)
    upload_expires_s: int = setting(86_400, "Life of an unfinished upload since its last byte", validate=POSITIVE)
    max_running_uploads_per_user: int = setting(
        8, "Uploads of one user that may receive bytes at once", validate=POSITIVE
    )
    max_running_uploads: int = setting(64, "Uploads of all users that may receive bytes at once", validate=POSITIVE)
    max_open_uploads_per_user: int = setting(100, "Unfinished uploads one user may have", validate=POSITIVE)
    body_idle_timeout_s: float = setting(30.0, "Longest pause between two reads of a body", "float", validate=POSITIVE)
    free_space_reserve_bytes: int = setting(
        GIB, "Free space below which uploads are refused with 507", validate=NOT_NEGATIVE
    )
    strict_audio: bool = setting(False, "Refuse truncated or damaged mp3 files instead of describing them", "bool")
    durability: str = setting(
        "full",
        "`full`: acknowledged means flushed to disk; `relaxed`: survives kill -9 but not power loss",
        "str",
        validate=OneOf(["full", "relaxed"]),
    )
    analyse_processes: int = setting(
        1, "Processes that decode tracks after their upload; 0 leaves them as they are", validate=NOT_NEGATIVE
    )
    trash_days: float = setting(7.0, "Days a deleted track can be restored", "float", validate=NOT_NEGATIVE)
    login_attempts_per_minute: int = setting(10, "Login tries per name and address", validate=POSITIVE)
    argon2_memory_kib: int = setting(19_456, "Memory of one Argon2id hash", validate=Range(min=8_192, max=4 << 20))
    min_password_length: int = setting(12, "Shortest password", validate=Range(min=8, max=64))
    session_idle_days: float = setting(14.0, "Days after which an unused session ends", "float", validate=POSITIVE)
    session_max_days: float = setting(90.0, "Days after which every session ends", "float", validate=POSITIVE)
    frontend_url: str | None = setting(
        None, "Front-end server that gets every GET and HEAD the API does not own", "http_url"
    )
    cors_origins: tuple[str, ...] = setting((), "Origins of other sites whose pages may call the API", "origins")
    trusted_proxies: tuple[Network, ...] = setting(
        (), "Addresses or networks whose X-Forwarded-For and -Proto are believed", "networks"
    )
    metrics_public: bool = setting(False, "Serve /metrics to everyone, not only to this machine and admins", "bool")
    log_format: str = setting(
        "auto",
        "`json`, `console`, or `auto`: console on a terminal",
        "str",
        validate=OneOf(["auto", "json", "console"]),
    )
    log_level: str = setting(
        "INFO", "Least level that is logged", "str", validate=OneOf(["DEBUG", "INFO", "WARNING", "ERROR"])
    )
    access_log: bool = setting(True, "One log line per request", "bool")
    drain_timeout_s: float = setting(
        30.0, "How long running requests may go on after SIGTERM", "float", validate=NOT_NEGATIVE
    )

    @property
    def is_https(self) -> bool:
        return bool(self.public_url and self.public_url.startswith("https:"))

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read every ``YARRR_…`` variable.

        Raises:
            SettingsError: with all values that cannot be used, not only the first.
        """
        env = FileAwareEnv(eager=False, prefix="YARRR_")
        env.add_parser("http_url", _http_url)
        env.add_parser("origins", _origins)
        env.add_parser("networks", _networks)
        values: dict[str, Any] = {}
        wrong: dict[str, list[str]] = {}
        for each in fields(cls):
            read = getattr(env, each.metadata["kind"])
            validate = each.metadata["validate"]
            options = {"validate": validate} if validate else {}  # our own parsers validate by themselves
            try:
                values[each.name] = read(each.name.upper(), each.default, **options)
            except (ValueError, OSError):  # a file of a secret is the one thing environs does not collect
                wrong[f"YARRR_{each.name.upper()}_FILE"] = ["Not a file that can be read."]
        try:
            env.seal()
        except EnvValidationError as error:
            messages = error.error_messages
            assert isinstance(messages, Mapping)  # sealed environs always map variables to their messages
            wrong |= {name: list(texts) for name, texts in messages.items()}
        if wrong:
            raise SettingsError(wrong)
        if isinstance(values["admin_password"], str):
            values["admin_password"] = values["admin_password"].rstrip("\r\n")
        return cls(**values)


def _http_url(value: str | None) -> str | None:
    if not value:
        return None
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ValidationError("Not an http or https URL.")
    return value.rstrip("/")


def _origins(value: str | tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    origins = tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
    for origin in origins:
        url = urlsplit(origin)
        if url.scheme not in ("http", "https") or not url.hostname or url.path or url.query:
            raise ValidationError(f"{origin!r} is not an origin such as https://example.org.")
    return origins


def _networks(value: str | tuple[Network, ...]) -> tuple[Network, ...]:
    if isinstance(value, tuple):
        return value
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())
    except ValueError as error:
        raise ValidationError(str(error)) from None
