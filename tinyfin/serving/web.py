# SPDX-License-Identifier: Apache-2.0
"""An HTTP service: its operations, limits, errors, metrics and OpenAPI document."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tinyfin.http_deadlines import TooLong, body_of
from tinyfin.serving.bodies import RefusedError, parsed_items
from tinyfin.serving.openapi import document
from tinyfin.serving.service import Operation, Service

__all__ = ["Limits", "application"]

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Upper bounds of the latency histogram."""
_METRICS = {"content-type": CONTENT_TYPE_LATEST}
_UNREAD = (408, 413, 415, 421)
"""Answers that come before the whole body."""


_Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Limits:
    """What a request may take."""

    body_bytes: int = 1 << 20
    batch: int = 1000
    """Items of a request."""
    deadline_s: float = 10.0
    """For a request to arrive, and for a connection to say what it wants."""
    connections: int = 1000


def application(
    service: Service, limits: Limits, hosts: Collection[str] | None = None
) -> Starlette:
    """The ASGI application of a service. ``hosts``: the names, in lower case, by which it may be
    asked; None: by any."""
    measured = _measure(service.registry, hosts)
    operations = service.operations()
    described = document(service, operations, limits.batch)

    def post(operation: Operation) -> Route:
        async def endpoint(request: Request) -> Response:
            _require_json(request)
            body = await _body(request, limits)
            items, several = parsed_items(body, operation.model, operation.many, limits.batch)
            answers = await operation.handle(items)
            name = operation.answer_many if several else operation.answer_one
            found = f"[{', '.join(answers)}]" if several else answers[0]
            text = f'{json.dumps(service.identity())[:-1]}, "{name}": {found}}}'
            return Response(text, media_type="application/json")

        return Route(operation.path, measured(endpoint, operation.path), methods=["POST"])

    def get(path: str, answer: Callable[[], Response]) -> Route:
        async def endpoint(_: Request) -> Response:
            return answer()

        return Route(path, measured(endpoint, path), methods=["GET"])

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    return Starlette(
        routes=[
            *map(post, operations),
            get("/health", lambda: JSONResponse({**service.identity(), **service.health()})),
            get("/metrics", lambda: Response(generate_latest(service.registry), headers=_METRICS)),
            get("/openapi.json", lambda: JSONResponse(described)),
        ],
        exception_handlers={HTTPException: _no_such},
        lifespan=lifespan,
    )


def _measure(
    registry: CollectorRegistry, hosts: Collection[str] | None
) -> Callable[[_Endpoint, str], _Endpoint]:
    """Makes endpoints that are timed and counted; what they raise becomes a JSON error."""
    requests = Counter(
        "tinyfin_requests", "Requests, by path and status.", ("path", "status"), registry=registry
    )
    seconds = Histogram(
        "tinyfin_request_seconds",
        "From the head of a request to its answer.",
        ("path",),
        buckets=_SECONDS,
        registry=registry,
    )

    def measured(endpoint: _Endpoint, path: str) -> _Endpoint:
        async def answered(request: Request) -> Response:
            start = time.perf_counter()
            try:
                _require_known_host(request, hosts)
                response = await endpoint(request)
            except RefusedError as error:
                # the rest of a body that was not read is not waited for
                close = {"connection": "close"} if error.status in _UNREAD else None
                response = JSONResponse(error.content, error.status, headers=close)
            except ClientDisconnect:
                response = Response(status_code=400)
            except Exception as error:
                print(f"error: {request.method} {path}: {error!r}", file=sys.stderr, flush=True)
                message = "the service failed; its standard error says why"
                response = JSONResponse(RefusedError.of(500, "", None, message).content, 500)
            seconds.labels(path).observe(time.perf_counter() - start)
            requests.labels(path, response.status_code).inc()
            return response

        return answered

    return measured


def _require_known_host(request: Request, hosts: Collection[str] | None) -> None:
    """RefusedError for another name than ``hosts``: a web page may have given its own name this
    address, and would be let in by a browser."""
    given = request.headers.get("host", "")
    if hosts is None or not given:
        return
    try:
        name = urlsplit(f"//{given}").hostname or ""
    except ValueError:
        name = ""
    if name not in hosts:
        raise RefusedError.of(
            421, "host", given, "is no name of this service; name it with --allow-host"
        )


def _require_json(request: Request) -> None:
    """RefusedError for a body that a web page of another origin can send unasked."""
    given = request.headers.get("content-type")
    if given is None or given.partition(";")[0].strip().lower() != "application/json":
        raise RefusedError.of(
            415, "content-type", given, "must be application/json; send this header"
        )


async def _body(request: Request, limits: Limits) -> bytes:
    """The body. Raises RefusedError when it is too long, or late."""
    try:
        return await body_of(request, limits.body_bytes, limits.deadline_s)
    except TooLong:
        raise RefusedError.of(
            413, "body", None, f"has more than {limits.body_bytes} bytes; send several requests"
        ) from None
    except TimeoutError:
        raise RefusedError.of(
            408, "body", None, f"did not arrive within {limits.deadline_s:g} s; send it again"
        ) from None


async def _no_such(request: Request, error: Exception) -> Response:
    """Errors of the router: no such path, or another method."""
    assert isinstance(error, HTTPException)
    message = "is not served here; /openapi.json lists the paths"
    if error.status_code == 405:
        message = f"takes {(error.headers or {}).get('Allow', 'others')}, not {request.method}"
    content = RefusedError.of(error.status_code, "path", request.url.path, message).content
    return JSONResponse(content, error.status_code, headers=error.headers)
