# SPDX-License-Identifier: Apache-2.0
"""A gateway to hawkBit's Direct Device Integration (DDI) API, for terminals behind a TMS.

It asks hawkBit in the name of each terminal, puts what is deployed into a folder of offers, and
says that a deployment has succeeded when a genuine report in the lake says so: docs/hawkbit.md.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shutil
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar
from urllib.parse import quote, urlsplit

from tinyfin.data.transactions import EPOCH_UNIX_S
from tinyfin.documents import Document
from tinyfin.errors import InputError, LinkError, TinyfinError
from tinyfin.fleet import durable
from tinyfin.fleet.lake import Lake
from tinyfin.fleet.tables import HOUR_S
from tinyfin.fleet.views import connect
from tinyfin.output_claims import claimed
from tinyfin.pack.trust import require_trusted

__all__ = ["Gateway", "Offer", "Server", "read_tokens"]

_DEADLINE_S = 30.0
_MOST_BYTES = 1 << 24
_DAY_H = 24
_ENDED = (404, 410)
"""hawkBit's answers to feedback on an action that is over."""
_NEWEST = """SELECT terminal, hour, pack, phase, reason, active_tag, other_tag FROM report
    WHERE hour <= ? QUALIFY row_number() OVER (PARTITION BY terminal
        ORDER BY hour DESC, audit_sequence DESC, boot DESC, number DESC) = 1"""
_TAKEN = ("erasing", "loading", "staged", "shadow", "trial")
_NOT_GIVEN_UP = (None, "none", "journal_lost", "confirmed")
T = TypeVar("T")


class Offer(Document):
    """``TERMINAL/offer.json``: ``model.tfpack`` next to it is to be installed."""

    NAME: ClassVar[str] = "hawkbit_offer.json"
    terminal: str
    action: str
    """hawkBit's id of it."""
    pack: str
    offered_h: int
    """Hours since 2000-01-01."""
    told: str = "offered"
    """The stage that hawkBit knows."""


class _RefusedError(InputError):
    """hawkBit refuses a request; the next round makes it again."""


@dataclass(frozen=True)
class _Action:
    """What hawkBit wants of a terminal."""

    terminal: str
    id: str
    url: str
    said: Mapping[str, object]


class Server:
    """hawkBit, over HTTPS. No redirect is followed, and no token goes to another host."""

    def __init__(self, url: str, tenant: str, authorities: Path | None = None) -> None:
        """Raises InputError for a URL that is none, or not HTTPS to another machine."""
        parts = urlsplit(url)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if not parts.hostname or parts.scheme not in ("https", *["http"] * local):
            raise InputError(f"{url}: give https://HOST[:PORT], or http:// on this machine")
        self.root = f"{url.rstrip('/')}/{quote(tenant, safe='')}/controller/v1"
        try:
            self._tls = ssl.create_default_context(cafile=authorities and str(authorities))
        except (OSError, ssl.SSLError) as error:
            raise InputError(f"{authorities}: holds no certificates: {error}") from error

    def call(self, url: str, token: str, body: object = None) -> bytes:
        """GET, or POST of a body as JSON. Raises LinkError when the server cannot be reached or
        does not answer in time, InputError when it refuses."""
        parts, own = urlsplit(url), urlsplit(self.root)
        if (parts.scheme, parts.netloc) != (own.scheme, own.netloc):
            raise InputError(f"{url}: is not of {own.netloc}, and no other host gets the token")
        headers = {"Authorization": token, "Accept": "application/hal+json, */*"}
        data = None if body is None else json.dumps(body).encode()
        headers |= {} if data is None else {"Content-Type": "application/json"}
        line = http.client.HTTPConnection(parts.netloc, timeout=_DEADLINE_S)
        if parts.scheme == "https":
            line = http.client.HTTPSConnection(parts.netloc, timeout=_DEADLINE_S, context=self._tls)
        try:
            line.connect()
            late = threading.Timer(_DEADLINE_S, _cut, [line.sock, over := threading.Event()])
            late.start()
            try:
                target = parts._replace(scheme="", netloc="", fragment="").geturl()
                line.request("GET" if data is None else "POST", target, data, headers)
                answer = line.getresponse()
                found = answer.read(_MOST_BYTES + 1)
                if over.is_set():  # what was cut looks whole where no length was given
                    raise TimeoutError
            finally:
                late.cancel()
            if answer.length or len(found) > _MOST_BYTES:  # it ended early, or goes on
                raise http.client.IncompleteRead(found)
        except (OSError, http.client.HTTPException) as error:
            raise LinkError(f"{url}: gave no answer in {_DEADLINE_S:g} s: {error!r}") from error
        finally:
            line.close()
        if answer.status >= 300 and not (data is not None and answer.status in _ENDED):
            raise _RefusedError(f"{url}: answers {answer.status} {answer.reason}; see its token")
        return found

    def ask(self, url: str, token: str) -> Mapping[str, object]:
        """A document of hawkBit's. Raises as :meth:`call` does."""
        try:
            found = json.loads(self.call(url, token))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{url}: answers with no JSON: {error}") from error
        return _part({"": found}, dict, "")


def _cut(line: socket.socket, over: threading.Event) -> None:
    over.set()
    line.shutdown(socket.SHUT_RDWR)


def _part(document: Mapping[str, object], kind: type[T], *path: str) -> T:
    """What stands at a place in a document of hawkBit's. Raises InputError."""
    found: object = document
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, kind):
        raise InputError(f"hawkBit's answer has no {kind.__name__} at {'.'.join(path)}")
    return found


def read_tokens(terminals: Path, gateway: Path | None) -> dict[str, str]:
    """By terminal id the header that proves who asks: a line is an id, and its target token unless
    the gateway's is used. Raises InputError."""
    found = {}
    shared = "" if gateway is None else f"GatewayToken {gateway.read_text('utf-8').strip()}"
    for number, line in enumerate(terminals.read_text("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-f]{16})(?:\s+(\S+))?\s*", line)
        token = shared if match is None or match[2] is None else f"TargetToken {match[2]}"
        if match is None or not token:
            raise InputError(
                f"{terminals}, line {number}: is no terminal id with its token; with --token-file "
                "an id is enough"
            )
        found[match[1]] = token
    return found


@dataclass
class Gateway:
    """Between hawkBit and the offers for the terminals of ``tokens`` (:func:`read_tokens`)."""

    lake: Lake
    server: Server
    tokens: Mapping[str, str]
    offers: Path
    keys: Sequence[bytes] = ()
    """Public keys that sign packs; without any, the development key, for a rig."""
    silent_days: float = 3.0
    """Without a report: the deployment has failed. hawkBit itself waits without end."""
    days: float = 30.0
    """Without an end: it has failed."""
    sleep_s: int = 300
    """When hawkBit wants to be asked again."""
    now_s: Callable[[], float] = time.time

    def poll(self, tell: Callable[[str], None] = lambda _: None) -> Counter[str]:
        """One round; how many terminals by what became of them. ``tell`` gets what went wrong with
        one. Killed at any moment, the next round goes on. Raises LinkError when hawkBit does not
        answer, InputError when another gateway uses the folder of offers."""
        with connect(self.lake) as base:
            newest = {row[0]: row[1:] for row in base.execute(_NEWEST, [self._hour]).fetchall()}
        done = Counter[str]()
        with claimed(self.offers, make_folder=True):
            for terminal in self.tokens:
                alias = self.lake.key.terminal(bytes.fromhex(terminal))
                self._report = newest.get(alias, (-1, *[None] * 5))
                try:
                    done[self._serve(terminal)] += 1
                except InputError as error:
                    tell(f"terminal {terminal}: {error}")
                    done["failed"] += 1
        return done

    @property
    def _hour(self) -> int:
        return int(self.now_s() - EPOCH_UNIX_S) // HOUR_S

    def _serve(self, terminal: str) -> str:
        """Ask for one terminal, and do what is to be done; in a word or two what that was."""
        home, token = f"{self.server.root}/{terminal}", self.tokens[terminal]
        asked = self.server.ask(home, token)
        sleep = _part(asked, str, "config", "polling", "sleep")
        if not re.fullmatch(r"\d\d:\d\d:\d\d", sleep):
            raise InputError(f"hawkBit's config.polling.sleep is {sleep!r}, and no HH:MM:SS")
        hours, minutes, seconds = map(int, sleep.split(":"))
        self.sleep_s = 3600 * hours + 60 * minutes + seconds
        path, links = self.offers / terminal / "offer.json", asked.get("_links") or {}
        offer = Offer.read(path) if path.is_file() else None
        for what, answer in (("cancelAction", self._cancel), ("deploymentBase", self._deploy)):
            if isinstance(links, dict) and what in links:
                said = self.server.ask(_part(links, str, what, "href"), token)
                id = _part(said, str, "id")
                return answer(
                    _Action(terminal, id, f"{home}/{what}/{quote(id, safe='')}", said), offer
                )
        if offer is None:
            return "nothing to do"
        self._withdraw(offer)  # hawkBit has ended it
        return "withdrawn"

    def _deploy(self, action: _Action, offer: Offer | None) -> str:
        if offer is not None and offer.action == action.id:
            return self._judge(action, offer)
        plan = _part(action.said, dict, "deployment")
        if "skip" in (plan.get("download"), plan.get("update")):
            return "not now"
        if plan.get("maintenanceWindow") == "unavailable":
            return "not now"
        try:
            data = self._artifact(plan, self.tokens[action.terminal])
            pack = require_trusted(data, self.keys, "the deployment", release=bool(self.keys))
        except LinkError as error:  # of this file: other terminals are served
            raise _RefusedError(str(error)) from error
        except _RefusedError:
            raise
        except TinyfinError as error:
            self._tell(action, "closed", "failure", str(error))
            return "refused"
        place = self.offers / action.terminal
        durable.folder(place.absolute())
        durable.remove([place / "offer.json"])  # of another action
        durable.write(place / "model.tfpack", data)
        id, who = pack.pack_id.hex(), action.terminal
        self._keep(Offer(terminal=who, action=action.id, pack=id, offered_h=self._hour))
        self._tell(action, "proceeding", "none", "offered")
        return "offered"

    def _artifact(self, plan: Mapping[str, object], token: str) -> bytes:
        chunks = [_part({"": chunk}, dict, "") for chunk in _part(plan, list, "chunks")]
        files = [a for chunk in chunks for a in _part(chunk, list, "artifacts")]
        named = [(a, a.get("filename")) for a in files if isinstance(a, dict)]
        packs = [a for a, name in named if str(name).endswith(".tfpack")]
        if len(packs) != 1:
            raise InputError(f"the deployment has {len(packs)} files .tfpack, and needs one")
        kind = "download" if "download" in _part(packs[0], dict, "_links") else "download-http"
        data = self.server.call(_part(packs[0], str, "_links", kind, "href"), token)
        if hashlib.sha256(data).hexdigest() != _part(packs[0], str, "hashes", "sha256").lower():
            raise InputError("the pack's SHA-256 is not the one that hawkBit gives")
        return data

    def _stage(self, offer: Offer) -> str:
        """What the terminal's newest report says of the pack."""
        hour, pack, phase, reason, active, other = self._report
        tag = offer.pack[:8]
        since = hour >= offer.offered_h
        if since and phase == "none" and active == tag and pack == offer.pack[:16]:
            return "confirmed"
        if other == tag and phase in _TAKEN:
            return str(phase)
        given_up = other == tag and phase == "none" and reason not in _NOT_GIVEN_UP
        if given_up and since:
            return "fell back"
        return "offered"

    def _judge(self, action: _Action, offer: Offer) -> str:
        stage, now = self._stage(offer), self._hour
        if stage not in ("confirmed", "fell back"):
            if now - max(self._report[0], offer.offered_h) > _DAY_H * self.silent_days:
                stage = "silent"
            elif now - offer.offered_h > _DAY_H * self.days:
                stage = "late"
        if stage in ("confirmed", "fell back", "silent", "late"):
            finished = "success" if stage == "confirmed" else "failure"
            self._tell(action, "closed", finished, f"{stage}: pack {offer.pack}")
            self._withdraw(offer)
        elif stage != offer.told:
            self._tell(action, "proceeding", "none", stage)
            self._keep(offer.model_copy(update={"told": stage}))
        return stage

    def _cancel(self, action: _Action, offer: Offer | None) -> str:
        if offer is not None and offer.action == _part(action.said, str, "cancelAction", "stopId"):
            if (stage := self._stage(offer)) in ("confirmed", "staged", "shadow", "trial"):
                self._tell(action, "rejected", "none", f"{stage}: too late; abort it by command")
                return "not cancelled"
            self._withdraw(offer)
        self._tell(action, "closed", "success", "withdrawn")
        return "cancelled"

    def _tell(self, action: _Action, execution: str, finished: str, what: str) -> None:
        """Feedback on an action, in the form of older and of newer versions of hawkBit."""
        now_s = int(self.now_s())
        status = {"execution": execution, "result": {"finished": finished}, "details": [what[:512]]}
        body = {
            "id": action.id,
            "time": time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_s)),
            "timestamp": 1000 * now_s,
            "status": status,
        }
        self.server.call(f"{action.url}/feedback", self.tokens[action.terminal], body)

    def _keep(self, offer: Offer) -> None:
        durable.write(self.offers / offer.terminal / "offer.json", offer.text().encode())

    def _withdraw(self, offer: Offer) -> None:
        durable.remove([self.offers / offer.terminal / "offer.json"])
        shutil.rmtree(self.offers / offer.terminal, ignore_errors=True)
