"""Who is really asking when proxies stand in front: X-Forwarded-For and -Proto, believed from trusted proxies only."""

import ipaddress
import logging
from collections.abc import Sequence

from aiohttp import web

from service.keys import SETTINGS

logger = logging.getLogger(__name__)

FIELDS = ("X-Forwarded-For", "Forwarded")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def client_address(request: web.Request) -> str:
    """The address of the client: the peer of the connection, or what the trusted proxies in front of it say.

    X-Forwarded-For is read from its right end, where the nearest proxy wrote; the first address that is not a trusted
    proxy is the client. What stands further left is the client's own claim. Empty when the peer is a Unix socket.
    """
    return _chain(request)[-1]


def is_forwarded(request: web.Request) -> bool:
    """Whether a proxy passed the request on, as far as its fields tell, whoever wrote them."""
    return any(name in request.headers for name in FIELDS)


def is_https(request: web.Request) -> bool:
    """Whether the client speaks https, to us or to the outermost trusted proxy."""
    trusted = request.app[SETTINGS].trusted_proxies
    schemes = _listed(request, "X-Forwarded-Proto") if trusted else []
    hops = sum(_is_in(address, trusted) for address in _chain(request)) if schemes else 0
    if not hops:
        return bool(request.secure)
    # A proxy either replaces the field or adds to its right end: the outermost trusted one wrote as many places from
    # the right as there are hops, or the leftmost where another in the chain passed the field on as it was.
    return schemes[max(len(schemes) - hops, 0)].lower() == "https"


def _chain(request: web.Request) -> list[str]:
    """The peer, then the addresses that trusted proxies vouch for, each one hop further away."""
    chain = [_plain(request.remote or "")]
    trusted = request.app[SETTINGS].trusted_proxies
    if is_forwarded(request) and not _is_in(chain[-1], trusted):
        _warn_once(chain[-1])
    for claimed in reversed(_listed(request, "X-Forwarded-For")):
        address = _address(claimed) if _is_in(chain[-1], trusted) else None
        if address is None:
            break
        chain.append(str(address))
    return chain


_warned: set[str] = set()


def _warn_once(peer: str) -> None:
    """Once in the life of the process: anybody can send these fields, and nobody shall fill the log with them."""
    if not _warned:
        _warned.add(peer)
        logger.warning(
            "%s sent X-Forwarded-For or Forwarded and is no trusted proxy: not believed. "
            "If it is your proxy, name it in YARRR_TRUSTED_PROXIES, or all its clients count as one",
            peer or "a Unix socket",
        )


def _listed(request: web.Request, name: str) -> list[str]:
    return [part.strip() for value in request.headers.getall(name, []) for part in value.split(",") if part.strip()]


def _plain(text: str) -> str:
    address = _address(text)
    return text if address is None else str(address)


def _address(text: str) -> Address | None:
    """An address as proxies write it: bare, with a port, or an IPv6 address in brackets."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_in(text: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in networks)
