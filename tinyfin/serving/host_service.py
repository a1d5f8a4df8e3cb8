# SPDX-License-Identifier: Apache-2.0
"""``tinyfin serve-host``: the host's fields of cards over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import numpy.typing as npt
from prometheus_client import Gauge

from tinyfin.data.transactions import RESULTS
from tinyfin.errors import InputError
from tinyfin.serving.answers import Result, fields_answer, result
from tinyfin.serving.bodies import CardEvent, CardTime, RefusedError, place, seconds
from tinyfin.serving.host_context import Events, HostContext
from tinyfin.serving.journal import Journal
from tinyfin.serving.service import Operation, Options, Service

__all__ = ["HostService"]

_KINDS = ("request", "outcome", "notice")
_ROW = np.dtype({"names": Events._fields, "formats": ["<u1", "<u8", "<u8", "<u4", "<i8", "<i2"]})


class HostService(Service):
    """A host context, and the events that it was sent."""

    title = "tinyfin serve-host"
    snapshot_name = "cards.tfhost"

    def __init__(self, context: HostContext, **options: Unpack[Options]) -> None:
        """Raises InputError for a state that is not this context's."""
        self.context = context
        super().__init__(context.program_id, **options)
        for name, what, value in (
            ("tinyfin_cards", "Cards with a state.", lambda: len(context)),
            ("tinyfin_cards_evicted", "Cards forgotten for others.", lambda: context.evicted),
        ):
            Gauge(name, what, registry=self.registry).set_function(value)

    def operations(self) -> Sequence[Operation]:
        answer = fields_answer(self.context.specs)
        fields, results = (answer, "fields", "fields_of_cards"), (Result, "result", "results")
        return (
            Operation("/fields", self.fields, CardTime, "cards", *fields),
            Operation("/events", self.events, CardEvent, "events", *results),
        )

    def identity(self) -> dict[str, str]:
        shard = f"{self.context.shard} of {self.context.shards}"
        return {"program_id": self.context.program_id.hex(), "shard": shard}

    def facts(self) -> dict[str, object]:
        return {
            "cards": len(self.context),
            "card_limit": self.context.cards,
            "evicted": self.context.evicted,
        }

    async def fields(self, items: Sequence[CardTime]) -> list[str]:
        """The host's fields of cards at a moment; changes nothing."""
        tokens = self._tokens(items)
        self.cards.require_none({"token": tokens.tolist()})
        times = seconds([item.time for item in items], "cards", "time")[0].astype(np.uint32)
        values = self.context.look_up(tokens, times)
        specs = self.context.specs
        return [
            json.dumps(
                {
                    spec.name: None if x == spec.missing else x
                    for spec, x in zip(specs, row, strict=True)
                }
            )
            for row in values.tolist()
        ]

    async def events(self, items: Sequence[CardEvent]) -> list[str]:
        """Requests, outcomes and notices of cards, in the order in which they happen."""
        tokens = self._tokens(items).tolist()
        times = seconds([item.time for item in items], "events", "time")[0].tolist()
        thens = [item.time for item in items]
        for i, item in enumerate(items):
            if item.kind == "notice":
                for name in ("transaction_time", "fraud"):
                    if getattr(item, name) is None:
                        where = place("events", len(items), i, name)
                        raise RefusedError.of(422, where, None, "is needed for a notice; add it")
                thens[i] = item.transaction_time or 0
        then = seconds(thens, "events", "transaction_time")[0].tolist()
        rows = []
        for item, t_s, t_tx_s in zip(items, times, then, strict=True):
            about, code = {
                "request": (item.amount_minor, 0),
                "outcome": (RESULTS.index(item.result), item.response),
                "notice": (t_tx_s, int(bool(item.fraud))),
            }[item.kind]
            row = (_KINDS.index(item.kind), item.token, item.id, t_s, about, code)
            rows.append(np.array(row, _ROW).tobytes())
        events = _events(rows)
        codes = await self.take(
            rows,
            lambda first: self.context.update_all(events, first),
            lambda: self.cards.require_none({"token": tokens}),
        )
        return [result(code) for code in codes.tolist()]

    def _tokens(self, items: Sequence[CardTime] | Sequence[CardEvent]) -> npt.NDArray[np.uint64]:
        tokens = np.array([item.token for item in items], np.uint64)
        try:
            self.context.require_own(tokens)
        except InputError as error:
            raise RefusedError.of(422, "token", None, str(error)) from error
        return tokens

    def restore(self, path: Path) -> int:
        return self.context.restore(path)

    def repeat(self, number: int, payload: bytes) -> None:
        self.context.update_all(_events([payload]), number)

    async def snapshot(self, path: Path, journal: Journal) -> int:
        """Some cards at a time; requests are answered in between."""
        async with self.lock:
            first = journal.rotate()
            steps = self.context.snapshot_in_steps(path, journal.sync_all)
        while await asyncio.to_thread(next, steps, True) is None:
            pass
        return first


def _events(rows: Sequence[bytes]) -> Events:
    if any(len(row) != _ROW.itemsize for row in rows):
        raise ValueError("a record of another length")
    table = np.frombuffer(b"".join(rows), _ROW)
    return Events(*(table[name] for name in Events._fields))
