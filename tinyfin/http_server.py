# SPDX-License-Identifier: Apache-2.0
"""An application on a socket: plain HTTP or TLS, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from tinyfin.errors import InputError
from tinyfin.http_deadlines import impatient

__all__ = ["Listening", "configured", "known_hosts", "require_both_sides", "serve"]

_KEEP_ALIVE_S = 60
_ENDING_S = 10
"""For requests that are being answered when a signal ends the service."""


@dataclass(frozen=True)
class Listening:
    """Where a service listens, and whom it trusts."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: one that is free."""
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    """Only clients with a certificate of this authority are answered."""


def known_hosts(host: str, further: Sequence[str]) -> frozenset[str] | None:
    """The names by which a service that listens at ``host`` may be asked, in lower case; None: by
    any, when others than this machine reach it and no ``further`` names are given."""
    local = host.lower() == "localhost"
    with contextlib.suppress(ValueError):
        local = ipaddress.ip_address(host).is_loopback
    if not local and not further:
        return None
    own = (host, "localhost", "127.0.0.1", "::1")
    return frozenset(name.lower() for name in (*own, *further))


class _Server(uvicorn.Server):
    """Signals are ours: they come from the loop, and one of them is enough."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def require_both_sides(where: Listening, what: str) -> None:
    """Raises InputError when a service would listen to other machines without certificates of both
    sides; ``what``: it says what they do over TLS alone."""
    given = [where.certificate, where.key, where.client_ca]
    if any(given) and not all(given):
        raise InputError("TLS needs all of --certificate, --certificate-key and --client-ca")
    if not all(given) and where.host not in ("127.0.0.1", "::1", "localhost"):
        raise InputError(
            f"{where.host}: {what} over TLS alone; give --certificate, --certificate-key and "
            "--client-ca, or listen on 127.0.0.1 behind a proxy that has them"
        )


def configured(
    app: Starlette, where: Listening, deadline_s: float, connections: int
) -> uvicorn.Config:
    """``deadline_s``: for the head of a request. Raises InputError for a certificate that cannot be
    used."""
    config = uvicorn.Config(
        app,
        where.host,
        where.port,
        http=impatient(deadline_s),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,  # the logs of others in this process stay as they are
        log_level="error",
        limit_concurrency=connections,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_ENDING_S,
        server_header=False,
        ssl_certfile=where.certificate,
        ssl_keyfile=where.key,
        ssl_ca_certs=None if where.client_ca is None else str(where.client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if where.client_ca is None else ssl.CERT_REQUIRED,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(str(x) for x in (where.certificate, where.key, where.client_ca) if x)
        raise InputError(
            f"{names}: cannot be used for TLS: {error}; give PEM files that belong together"
        ) from error
    return config


def serve(config: uvicorn.Config, where: Listening, announce: Callable[[str], None]) -> None:
    """Answer until SIGINT or SIGTERM; ``announce`` gets the address as soon as it is answered at.
    Raises InputError when the address cannot be used."""
    with _bound(where) as listener:
        scheme = "http" if where.certificate is None else "https"
        host = f"[{where.host}]" if ":" in where.host else where.host
        address = f"{scheme}://{host}:{listener.getsockname()[1]}"
        server = _Server(config, lambda: announce(address))
        asyncio.run(server.serve(sockets=[listener]))


@contextlib.contextmanager
def _bound(where: Listening) -> Iterator[socket.socket]:
    try:
        facts = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(facts[0], socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(facts[4])
            yield listener
    except socket.gaierror as error:
        raise InputError(f"--host {where.host}: {error.strerror}; give an address") from error
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise
        why = os.strerror(error.errno)
        raise InputError(
            f"{where.host}:{where.port}: {why}; choose another --port, or 0 for a free one"
        ) from error
