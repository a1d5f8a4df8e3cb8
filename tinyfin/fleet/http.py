# SPDX-License-Identifier: Apache-2.0
"""Reports over HTTPS: POST a report to ``/reports``; it is in the inbox when the answer comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyfin.field.report import MOST_BYTES
from tinyfin.fleet.admission import Admission, Refused, Why

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

    from tinyfin.http_server import Listening

__all__ = ["application", "configuration"]

DEADLINE_S = 10.0
"""For a report to arrive, and for a connection to say what it wants."""
_MOST_CONNECTIONS = 1000
_STATUS = {Why.SIZE: 413, Why.TERMINAL: 403, Why.MAC: 403, Why.OLD: 410, Why.ERASED: 410}


def application(admission: Admission, deadline_s: float = DEADLINE_S) -> Starlette:
    """An ASGI application. 201: the report is in the inbox, for good; the same report again is the
    same answer. 403, 410, 413, 422: it is refused, the JSON says why, and it is kept aside. 408: it
    came too slowly, 503: the disk takes nothing; send it again."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from tinyfin.http_deadlines import TooLong, body_of

    async def take(request: Request) -> JSONResponse:
        try:
            data = await body_of(request, MOST_BYTES, deadline_s)
        except TooLong:
            text = f"more than {MOST_BYTES} bytes; POST one report at a time"
            return _refusal(Why.SIZE, text)
        except TimeoutError:
            text = f"it did not arrive within {deadline_s:g} s; send it again"
            return JSONResponse({"message": text}, 408, {"connection": "close"})
        try:
            name = await run_in_threadpool(admission.deliver, data)
        except Refused as error:
            return _refusal(error.why, str(error))
        except OSError as error:  # not kept: it has to come again
            return JSONResponse({"message": f"it cannot be kept: {error.strerror}"}, 503)
        return JSONResponse({"report": name}, 201)

    def _refusal(why: Why, text: str) -> JSONResponse:
        facts = {"refused": str(why), "message": text}
        return JSONResponse(facts, _STATUS.get(why, 422), {"connection": "close"})

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"ready": True})

    return Starlette(
        routes=[
            Route("/reports", take, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ]
    )


def configuration(
    admission: Admission, where: Listening, deadline_s: float = DEADLINE_S
) -> uvicorn.Config:
    """What :func:`tinyfin.http_server.serve` answers with at ``where``. Raises
    InputError when it is to listen to other machines without TLS and client certificates, or a file
    of these is wrong."""
    from tinyfin.http_server import configured, require_both_sides

    require_both_sides(where, "reports come from other machines")
    return configured(application(admission, deadline_s), where, deadline_s, _MOST_CONNECTIONS)
