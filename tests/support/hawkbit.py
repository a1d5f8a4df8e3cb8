# SPDX-License-Identifier: Apache-2.0
"""A server that answers as hawkBit's documented DDI does, for one tenant. It is not hawkBit."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TENANT = "DEFAULT"


class Stub:
    """``deployments`` and ``cancels``: by controller, the open action and what it has."""

    def __init__(self) -> None:
        self.deployments: dict[str, dict[str, Any]] = {}
        self.cancels: dict[str, tuple[str, str]] = {}
        self.artifact = b""
        self.sha256: str | None = None
        self.feedback: list[tuple[str, dict[str, Any]]] = []
        self.tokens: set[str] = set()
        self.fails = 0
        self.url = ""
        self.elsewhere = ""
        """A host that links lead to in place of this one."""

    def deploy(self, controller: str, action: str, artifact: bytes, **plan: str) -> None:
        self.artifact = artifact
        self.deployments[controller] = {"id": action, **plan}

    @property
    def said(self) -> list[tuple[str, str]]:
        """Execution and result of all feedback, and forget it."""
        found = [
            (b["status"]["execution"], b["status"]["result"]["finished"]) for _, b in self.feedback
        ]
        self.feedback.clear()
        return found

    def get(self, parts: list[str]) -> object:
        match parts:
            case [tenant, "controller", "v1", name, *rest] if tenant == TENANT:
                base = f"{self.elsewhere or self.url}/{tenant}/controller/v1/{name}"
            case ["artifact"]:
                return self.artifact
            case _:
                return None
        links = {}
        if name in self.cancels:
            links["cancelAction"] = {"href": f"{base}/cancelAction/{self.cancels[name][0]}"}
        elif name in self.deployments:  # not while an action is to be cancelled
            number = self.deployments[name]["id"]
            links["deploymentBase"] = {"href": f"{base}/deploymentBase/{number}?c=-2129030598"}
        match rest:
            case []:
                return {"config": {"polling": {"sleep": "00:10:05"}}, "_links": links}
            case ["cancelAction", _]:
                number, stopped = self.cancels[name]
                return {"id": number, "cancelAction": {"stopId": stopped}}
            case ["deploymentBase", _]:
                plan = {"download": "forced", "update": "forced", **self.deployments[name]}
                sha256 = self.sha256 or hashlib.sha256(self.artifact).hexdigest()
                artifact = {
                    "filename": "model.tfpack",
                    "hashes": {"sha1": "", "md5": "", "sha256": sha256},
                    "size": len(self.artifact),
                    "_links": {"download-http": {"href": f"{self.url}/artifact"}},
                }
                chunk = {"part": "bApp", "version": "1", "name": "model", "artifacts": [artifact]}
                return {"id": plan.pop("id"), "deployment": {**plan, "chunks": [chunk]}}
        return None

    def post(self, parts: list[str], body: dict[str, Any]) -> int:
        _, _, _, name, kind, action, _ = parts
        held = self.cancels if kind == "cancelAction" else self.deployments
        number = held[name][0 if kind == "cancelAction" else "id"] if name in held else None  # type: ignore[index]
        if number != action:
            return 410
        self.feedback.append((name, body))
        if kind == "cancelAction" and body["status"]["execution"] == "closed":
            del self.cancels[name], self.deployments[name]
        elif body["status"]["execution"] in ("closed", "rejected"):
            del held[name]
        return 200


@contextlib.contextmanager
def hawkbit() -> Iterator[Stub]:
    """The stub, on a free port of this machine."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def parts(self) -> list[str]:
            return self.path.partition("?")[0].strip("/").split("/")

        def answer(self, status: int, data: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            stub.tokens.add(self.headers["Authorization"])
            found = stub.get(self.parts())
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.answer(404 if found is None else 200, data)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.fails -= 1
            self.answer(500 if stub.fails >= 0 else stub.post(self.parts(), body))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.url = f"http://127.0.0.1:{server.server_port}"
    running = threading.Thread(target=server.serve_forever, daemon=True)
    running.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
