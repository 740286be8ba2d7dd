"""Whether the service lives, whether it is ready, and what it counts."""

import sqlite3
from ipaddress import ip_address

from aiohttp import web

from service.catalogue import users
from service.errors import StorageFailed
from service.keys import DATABASE, DRAIN, INTAKE, JOBS, METRICS, SETTINGS
from service.metrics import CONTENT_TYPE
from service.web.forwarded import client_address, is_forwarded
from service.web.identity import require
from service.web.payload import NO_STORE, json_response


class Live(web.View):
    """The process answers."""

    async def get(self) -> web.Response:
        return json_response({"status": "ok"}, headers=NO_STORE)

    head = get


class Ready(web.View):
    """The service can do its work; 503 names what cannot."""

    async def get(self) -> web.Response:
        checks = {
            "accepting": not self.request.app[DRAIN].is_draining,
            "database": await self._can_read(),
            "storage": self.request.app[INTAKE].is_healthy(),
            "free_space": self.request.app[INTAKE].has_room(),
        }
        is_ready = all(checks.values())
        body = {
            "status": "ok" if is_ready else "unavailable",
            "checks": {name: "ok" if good else "failed" for name, good in checks.items()},
        }
        return json_response(body, status=200 if is_ready else 503, headers=NO_STORE)

    head = get

    async def _can_read(self) -> bool:
        try:
            await users.probe(self.request.app[DATABASE])
        except (sqlite3.Error, StorageFailed, ValueError):
            return False
        return True


class Metrics(web.View):
    """Prometheus metrics: for this machine, for administrators, or, if set so, for everyone."""

    async def get(self) -> web.Response:
        if not (self.request.app[SETTINGS].metrics_public or self._is_local()):
            await require(self.request, "admin")
        await self.request.app[JOBS].note_queue()
        body = self.request.app[METRICS].text()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE, **NO_STORE})

    head = get

    def _is_local(self) -> bool:
        """What a proxy on this machine passes on comes from this machine, too, and is anybody's."""
        try:
            is_loopback = ip_address(client_address(self.request)).is_loopback
        except ValueError:
            return False
        return is_loopback and not is_forwarded(self.request)
