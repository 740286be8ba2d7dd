import ipaddress
import ssl
from types import SimpleNamespace

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from service.keys import SETTINGS
from service.settings import Settings
from service.web.forwarded import client_address, is_https


def ask(peer, *headers, trusted=("10.0.0.0/8", "127.0.0.1", "fd00::/8"), secure=False):
    app = web.Application()
    app[SETTINGS] = Settings(trusted_proxies=tuple(ipaddress.ip_network(each) for each in trusted))
    transport = SimpleNamespace(get_extra_info=lambda name, default=None: (peer, 40000) if name == "peername" else None)
    tls = ssl.create_default_context() if secure else None
    request = make_mocked_request("GET", "/", headers=list(headers), app=app, transport=transport, sslcontext=tls)
    return client_address(request), is_https(request)


def forwarded(value):
    return ("X-Forwarded-For", value)


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("198.51.100.1", [], "198.51.100.1"),
        ("198.51.100.1", [forwarded("203.0.113.9")], "198.51.100.1"),
        ("127.0.0.1", [forwarded("203.0.113.9")], "203.0.113.9"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [forwarded("6.6.6.6, 203.0.113.9")], "203.0.113.9"),
        ("127.0.0.1", [forwarded("6.6.6.6"), forwarded("203.0.113.9")], "203.0.113.9"),
        ("127.0.0.1", [forwarded("6.6.6.6, 203.0.113.9, 10.1.2.3")], "203.0.113.9"),
        ("127.0.0.1", [forwarded("10.9.9.9, 10.1.2.3")], "10.9.9.9"),
        ("127.0.0.1", [forwarded("203.0.113.9:5555")], "203.0.113.9"),
        ("127.0.0.1", [forwarded("[2001:db8::7]:5555")], "2001:db8::7"),
        ("127.0.0.1", [forwarded("2001:db8::7")], "2001:db8::7"),
        ("fd00::1", [forwarded("203.0.113.9")], "203.0.113.9"),
        ("::ffff:127.0.0.1", [forwarded("203.0.113.9")], "203.0.113.9"),
        ("127.0.0.1", [forwarded("6.6.6.6, unknown")], "127.0.0.1"),
        ("127.0.0.1", [forwarded("6.6.6.6, <script>, 10.1.2.3")], "10.1.2.3"),
        ("127.0.0.1", [forwarded(" , ,")], "127.0.0.1"),
    ],
)
def test_the_client_is_the_first_address_from_the_right_that_is_no_trusted_proxy(peer, headers, client):
    assert ask(peer, *headers)[0] == client


def test_nobody_is_believed_when_no_proxy_is_trusted():
    headers = [forwarded("203.0.113.9"), ("X-Forwarded-Proto", "https")]
    assert ask("127.0.0.1", *headers, trusted=()) == ("127.0.0.1", False)


@pytest.mark.parametrize(
    ("peer", "proto", "headers", "https"),
    [
        ("198.51.100.1", "https", [], False),
        ("127.0.0.1", "https", [], True),
        ("127.0.0.1", "HTTPS", [forwarded("203.0.113.9")], True),
        ("127.0.0.1", "http", [forwarded("203.0.113.9")], False),
        ("127.0.0.1", "https, http", [forwarded("203.0.113.9")], False),
        ("127.0.0.1", "https, http", [forwarded("203.0.113.9, 10.0.0.1")], True),
        ("127.0.0.1", "https", [forwarded("203.0.113.9, 10.0.0.1")], True),
        ("127.0.0.1", "", [], False),
    ],
)
def test_the_scheme_is_what_the_outermost_trusted_proxy_says(peer, proto, headers, https):
    assert ask(peer, ("X-Forwarded-Proto", proto), *headers)[1] is https


def test_our_own_tls_counts_without_any_proxy():
    assert ask("198.51.100.1", secure=True)[1] is True
